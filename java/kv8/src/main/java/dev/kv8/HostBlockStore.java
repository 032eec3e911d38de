package dev.kv8;

import java.nio.ByteBuffer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A tier in this machine's memory, outside of the Java heap, evicted by a policy of the cache. Memory is allocated as it
 * fills, up to the size given; the JVM must allow that much ({@code -XX:MaxDirectMemorySize}, by default the heap's size). Several
 * caches with blocks of one size may share it. For any thread.
 */
public final class HostBlockStore implements BlockStore {
    private static final int CHUNK_BYTES = 64 << 20;

    private final ByteSize memory;
    private final EvictionPolicyKind eviction;
    private volatile @Nullable Slots slots;
    private volatile boolean closed;

    /** Everything that depends on the size of a frame. */
    private static final class Slots {
        final int frameBytes;
        final int framesInChunk;
        final KeyedSlots index;
        final @Nullable ByteBuffer[] chunks;

        Slots(int frameBytes, int count, EvictionPolicyKind eviction) {
            this.frameBytes = frameBytes;
            this.framesInChunk = Math.max(1, CHUNK_BYTES / frameBytes);
            this.index = new KeyedSlots(count, eviction);
            this.chunks = new ByteBuffer[(count - 1) / framesInChunk + 1];
        }

        /** The place's memory; it is held. */
        ByteBuffer at(int slot) {
            int chunk = slot / framesInChunk;
            ByteBuffer memory;
            synchronized (chunks) {
                memory = chunks[chunk];
                if (memory == null) {
                    memory = ByteBuffer.allocateDirect(framesInChunk * frameBytes);
                    chunks[chunk] = memory;
                }
            }
            return memory.slice(slot % framesInChunk * frameBytes, frameBytes);
        }
    }

    private HostBlockStore(ByteSize memory, EvictionPolicyKind eviction) {
        this.memory = memory;
        this.eviction = eviction;
    }

    /** At most {@code memory}; the block idle for longest makes room, because what comes here has been used twice already. */
    public static HostBlockStore create(ByteSize memory) {
        return create(memory, EvictionPolicyKind.LRU);
    }

    public static HostBlockStore create(ByteSize memory, EvictionPolicyKind eviction) {
        return new HostBlockStore(memory, eviction);
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
            slots = new Slots(frameBytes, (int) Math.min(count, BlockPool.MAX_BLOCKS), eviction);
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
                from.index.release(slot);
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
            int slot = transfer.frame(i).remaining() == to.frameBytes ? to.index.reserve() : -1;
            if (slot < 0) {
                transfer.refused(i);
                continue;
            }
            try {
                to.at(slot).put(transfer.frame(i));
            } catch (OutOfMemoryError e) {
                to.index.release(slot);
                transfer.failed(i, e);
                continue;
            }
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
