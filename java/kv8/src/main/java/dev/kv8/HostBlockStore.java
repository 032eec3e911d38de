package dev.kv8;

import static java.util.Objects.requireNonNull;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.function.IntFunction;
import org.jspecify.annotations.Nullable;

/**
 * A tier in this machine's memory, outside of the Java heap, evicted by a policy of the cache. Memory is allocated as it
 * fills, up to the size given; the JVM must allow that much ({@code -XX:MaxDirectMemorySize}, by default the heap's size). When it
 * gives no more, the tier stays as large as it is and logs that once. Several caches with blocks of one size may share it. For any
 * thread.
 */
public final class HostBlockStore implements BlockStore {
    private static final System.Logger LOG = System.getLogger("dev.kv8");
    private static final int CHUNK_BYTES = 64 << 20;

    private final ByteSize memory;
    private final EvictionPolicyKind eviction;
    private final int chunkBytes;
    private final IntFunction<ByteBuffer> allocator;
    private volatile @Nullable Slots slots;
    private volatile boolean closed;

    /** Everything that depends on the size of a frame. */
    private final class Slots {
        final int frameBytes;
        final KeyedSlots index;
        private final int count;
        private final int framesInChunk;
        private final @Nullable ByteBuffer[] chunks;
        private boolean exhausted;

        Slots(int frameBytes, int count) {
            this.frameBytes = frameBytes;
            this.count = count;
            this.framesInChunk = Math.max(1, chunkBytes / frameBytes);
            this.index = new KeyedSlots(count, eviction);
            this.chunks = new ByteBuffer[(count - 1) / framesInChunk + 1];
        }

        /**
         * Holds a place that has memory; -1 when there is none. One for which there is no memory stays held, so that no later write gets it:
         * before the JVM says that it has no more it collects garbage and waits, half a second each time.
         */
        int reserve() {
            int slot = index.reserve();
            while (slot >= 0 && !hasMemory(slot)) {
                slot = index.reserve();
            }
            return slot;
        }

        private boolean hasMemory(int slot) {
            int chunk = slot / framesInChunk;
            synchronized (chunks) {
                if (chunks[chunk] == null && !exhausted) {
                    chunks[chunk] = allocate(Math.min(framesInChunk, count - chunk * framesInChunk));
                }
                return chunks[chunk] != null;
            }
        }

        private @Nullable ByteBuffer allocate(int frames) {
            try {
                return allocator.apply(frames * frameBytes);
            } catch (OutOfMemoryError e) {
                exhausted = true;
                LOG.log(
                        System.Logger.Level.WARNING,
                        "The JVM has no more memory for the host tier of " + memory
                                + ", which goes on with what it has (see -XX:MaxDirectMemorySize): " + e.getMessage());
                return null;
            }
        }

        /** The memory of a place that is held and has some. */
        ByteBuffer at(int slot) {
            ByteBuffer chunk;
            synchronized (chunks) {
                chunk = requireNonNull(chunks[slot / framesInChunk]);
            }
            return chunk.slice(slot % framesInChunk * frameBytes, frameBytes);
        }
    }

    /**
     * @param chunkBytes that are allocated at once, or one block when that is larger
     * @param allocator of so many bytes; throws {@link OutOfMemoryError}
     */
    HostBlockStore(ByteSize memory, EvictionPolicyKind eviction, int chunkBytes, IntFunction<ByteBuffer> allocator) {
        this.memory = memory;
        this.eviction = eviction;
        this.chunkBytes = chunkBytes;
        this.allocator = allocator;
    }

    /** At most {@code memory}; the block idle for longest makes room, because what comes here has been used twice already. */
    public static HostBlockStore create(ByteSize memory) {
        return create(memory, EvictionPolicyKind.LRU);
    }

    /** As {@link #create(ByteSize)}, with another choice of which blocks make room. */
    public static HostBlockStore create(ByteSize memory, EvictionPolicyKind eviction) {
        return new HostBlockStore(memory, eviction, CHUNK_BYTES, ByteBuffer::allocateDirect);
    }

    @Override
    public String name() {
        return "host";
    }

    @Override
    public synchronized void prepare(int frameBytes) {
        if (closed) {
            throw new IllegalStateException("This host tier has been closed.");
        }
        Slots known = slots;
        if (known != null && known.frameBytes != frameBytes) {
            throw new IllegalArgumentException("This host tier keeps blocks of " + known.frameBytes
                    + " bytes for another cache; one of " + frameBytes + " bytes needs a tier of its own.");
        }
        if (known == null) {
            long count = memory.bytes() / frameBytes;
            if (count < 1) {
                throw new IllegalArgumentException(
                        "The host tier has " + memory + ", but one block takes " + frameBytes + " bytes there.");
            }
            slots = new Slots(frameBytes, (int) Math.min(count, BlockPool.MAX_BLOCKS));
        }
    }

    private Slots prepared() {
        Slots known = slots;
        if (known == null || closed) {
            throw new IllegalStateException(closed ? "This host tier has been closed." : "prepare(...) comes first.");
        }
        return known;
    }

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) {
        return prepared().index.leading(keys);
    }

    @Override
    public void load(BlockTransfer transfer) {
        Slots from = prepared();
        for (int i = 0; i < transfer.size(); i++) {
            int slot = from.index.hold(transfer.key(i));
            if (slot < 0) {
                transfer.absent(i);
                continue;
            }
            try {
                transfer.frame(i).put(from.at(slot));
            } finally {
                from.index.used(slot);
            }
            transfer.done(i, from.frameBytes);
        }
    }

    @Override
    public void store(BlockTransfer transfer) {
        Slots to = prepared();
        for (int i = 0; i < transfer.size(); i++) {
            if (to.index.contains(transfer.key(i))) {
                transfer.done(i, to.frameBytes);
                continue;
            }
            int slot = transfer.frame(i).remaining() == to.frameBytes ? to.reserve() : -1;
            if (slot < 0) {
                transfer.refused(i);
                continue;
            }
            to.at(slot).put(transfer.frame(i));
            to.index.keep(slot, transfer.key(i));
            transfer.done(i, to.frameBytes);
        }
    }

    @Override
    public void forget(BlockKey key) {
        prepared().index.forget(key);
    }

    /** Blocks that are here. */
    public int blocks() {
        Slots known = slots;
        return known == null ? 0 : known.index.size();
    }

    /** Forgets everything; its memory goes back with the next garbage collection. */
    @Override
    public synchronized void close() {
        closed = true;
        slots = null;
    }
}
