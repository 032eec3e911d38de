package dev.kv8;

import java.util.SplittableRandom;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/**
 * A pool whose blocks have all been used: every one is cached. In chains, they are evicted in runs of neighbours, because a
 * prompt's blocks are given back together and taken by another together; so it is in a cache that serves prompts. In random order
 * nothing is near anything, the worst there can be: at a million blocks an operation then pays for memory and not for caches.
 *
 * <p>Operations are timed by the {@link #BATCH}; before and after a batch the pool is put back into this state.
 */
@State(Scope.Thread)
public class PoolState {
    static final int BATCH = 1024;
    private static final int CHAIN = 32;

    @Param({"10000", "1000000"})
    public int blocks;

    @Param({"arc", "lru"})
    public String policy = "";

    @Param({"chains", "random"})
    public String order = "";

    BlockPool pool = new BlockPool(1, EvictionPolicyKind.LRU, System::nanoTime);
    final int[] batch = new int[BATCH];
    /** Keys that are not in the pool, and will be those of the batch. */
    final long[] newKeys = new long[BATCH * PrefixIndex.KEY];

    /** By block, the key that it is registered under. */
    long[] keys = {};

    private final SplittableRandom random = new SplittableRandom(7);

    @Setup(Level.Trial)
    public void fill() {
        pool = new BlockPool(blocks, EvictionPolicyKind.parse(policy), System::nanoTime);
        keys = new long[blocks * PrefixIndex.KEY];
        int[] blocksInOrder = new int[blocks];
        for (int i = 0; i < blocks; i++) {
            int block = pool.allocate();
            int j = order.equals("random") ? random.nextInt(i + 1) : i;
            blocksInOrder[i] = blocksInOrder[j];
            blocksInOrder[j] = block;
            drawKey(keys, block * PrefixIndex.KEY);
            pool.register(block, keys, block * PrefixIndex.KEY, SequenceOptions.DEFAULT);
        }
        if (order.equals("chains")) {
            swapChains(blocksInOrder);
        }
        for (int block : blocksInOrder) {
            pool.release(block);
        }
        // Everything is replaced once, so that ARC remembers as many keys as it can.
        for (int i = 0; i < 5 * blocks / BATCH; i++) {
            allocate();
            drawNewKeys();
            register();
            release();
        }
    }

    /** Shuffles runs of {@link #CHAIN} blocks. */
    private void swapChains(int[] inOrder) {
        int[] chain = new int[CHAIN];
        for (int i = inOrder.length / CHAIN - 1; i > 0; i--) {
            int j = random.nextInt(i + 1);
            System.arraycopy(inOrder, i * CHAIN, chain, 0, CHAIN);
            System.arraycopy(inOrder, j * CHAIN, inOrder, i * CHAIN, CHAIN);
            System.arraycopy(chain, 0, inOrder, j * CHAIN, CHAIN);
        }
    }

    void drawNewKeys() {
        for (int i = 0; i < newKeys.length; i += PrefixIndex.KEY) {
            drawKey(newKeys, i);
        }
    }

    private void drawKey(long[] target, int at) {
        for (int i = 0; i < PrefixIndex.KEY; i++) {
            target[at + i] = random.nextLong();
        }
    }

    /** Some of the registered blocks, in {@link #batch}, each once: chains, or one here and one there. */
    void chooseCached() {
        int run = order.equals("chains") ? CHAIN : 1;
        int runs = BATCH / run;
        int stride = blocks / run / runs;
        int first = random.nextInt(stride);
        for (int i = 0; i < runs; i++) {
            int j = random.nextInt(i + 1);
            System.arraycopy(batch, j * run, batch, i * run, run);
            for (int k = 0; k < run; k++) {
                batch[j * run + k] = (first + i * stride) * run + k;
            }
        }
    }

    /** The keys of {@link #batch} into {@link #newKeys}. */
    void copyKeys() {
        for (int i = 0; i < BATCH; i++) {
            System.arraycopy(keys, batch[i] * PrefixIndex.KEY, newKeys, i * PrefixIndex.KEY, PrefixIndex.KEY);
        }
    }

    // ---- the operations, as often as a batch has blocks

    void allocate() {
        for (int i = 0; i < BATCH; i++) {
            batch[i] = pool.allocate();
        }
    }

    void register() {
        for (int i = 0; i < BATCH; i++) {
            pool.register(batch[i], newKeys, i * PrefixIndex.KEY, SequenceOptions.DEFAULT);
            System.arraycopy(newKeys, i * PrefixIndex.KEY, keys, batch[i] * PrefixIndex.KEY, PrefixIndex.KEY);
        }
    }

    void release() {
        for (int i = 0; i < BATCH; i++) {
            pool.release(batch[i]);
        }
    }
}
