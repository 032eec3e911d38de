package dev.kv8;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * What a sequence holds in the pool: the blocks in token order, how many tokens are stored in them, and whether it may be
 * released. It is apart from {@link Sequence} so that it outlives a sequence that was closed in the middle of a step, or
 * dropped without close.
 *
 * <p>Outside of a batch it has exactly the blocks that {@code computed} tokens need; in one, those of {@code computed +
 * scheduled}. All but {@code closed} is for the writer thread only.
 */
final class BlockTable {
    private static final VarHandle CLOSED;

    static {
        try {
            CLOSED = MethodHandles.lookup().findVarHandle(BlockTable.class, "closed", boolean.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private int[] blocks = new int[8];
    private int size;

    /** The keys of the first {@link #keyCount} full blocks, {@link PrefixIndex#KEY} longs each. */
    private long[] keys = {};

    /** Blocks whose keys are known; those of blocks not computed yet can be. */
    int keyCount;

    /** The {@link PrefixCache} epoch that the content and the keys belong to. */
    long epoch;

    /** Tokens whose K and V are stored. */
    int computed;

    /** Tokens of the open batch that this table is in; 0 when it is in none. */
    int scheduled;

    /** Its blocks have been given back; happens once. */
    boolean released;

    /** The next in {@link ReleaseQueue}; a table enters it once. */
    @Nullable
    BlockTable nextReleased;

    @SuppressWarnings("UnusedVariable") // by CLOSED
    private volatile boolean closed;

    int size() {
        return size;
    }

    int block(int index) {
        return blocks[index];
    }

    int[] blocks() {
        return blocks;
    }

    void ensureCapacity(int capacity) {
        if (capacity > blocks.length) {
            blocks = Arrays.copyOf(blocks, Math.max(capacity, 2 * blocks.length));
        }
    }

    long[] keys() {
        return keys;
    }

    /** Makes room for the keys of {@code count} blocks. */
    void ensureKeys(int count) {
        int longs = count * PrefixIndex.KEY;
        if (longs > keys.length) {
            keys = Arrays.copyOf(keys, Math.max(longs, 2 * keys.length));
        }
    }

    /** Capacity must have been ensured. */
    void add(int block) {
        blocks[size++] = block;
    }

    void replace(int index, int block) {
        blocks[index] = block;
    }

    /** Gives back the blocks behind the first {@code kept}, the last one first. */
    void shrink(int kept, BlockPool pool) {
        while (size > kept) {
            pool.release(blocks[--size]);
        }
    }

    /** Holds the blocks of {@code other} too. */
    void share(BlockTable other, BlockPool pool) {
        ensureCapacity(other.size);
        for (int i = 0; i < other.size; i++) {
            pool.share(other.blocks[i]);
            add(other.blocks[i]);
        }
        computed = other.computed;
        keys = other.keys.clone();
        keyCount = other.keyCount;
        epoch = other.epoch;
    }

    boolean isClosed() {
        return closed;
    }

    /** Marks it closed, from any thread; true for the first caller only. */
    boolean close() {
        return CLOSED.compareAndSet(this, false, true);
    }
}
