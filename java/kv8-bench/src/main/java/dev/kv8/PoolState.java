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
 * <p>Operations are timed by the {@link #BATCH}; before and after a batch the pool is put back into this state. Called together, they
 * come {@link ReadAhead#BLOCKS} at a time and what they need is read ahead, as a prompt's blocks are looked up, reserved, registered
 * and given back; called alone, as when a sequence that decodes needs one block.
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

    @Param({"together", "alone"})
    public String calls = "";

    BlockPool pool = new BlockPool(1, EvictionPolicyKind.LRU, System::nanoTime);
    final int[] batch = new int[BATCH];
    /** Keys that are not in the pool, and will be those of the batch. */
    final long[] newKeys = new long[BATCH * PrefixIndex.KEY];

    /** By block, the key that it is registered under. */
    long[] keys = {};

    private final SplittableRandom random = new SplittableRandom(7);

    private boolean together;

    @Setup(Level.Trial)
    public void fill() {
        together = calls.equals("together");
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
            noteKeys();
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
        for (int from = 0; from < BATCH; from += ReadAhead.BLOCKS) {
            if (together) {
                pool.readForAllocations(ReadAhead.BLOCKS);
            }
            for (int i = from; i < from + ReadAhead.BLOCKS; i++) {
                batch[i] = pool.allocate();
            }
        }
    }

    void register() {
        for (int from = 0; from < BATCH; from += ReadAhead.BLOCKS) {
            if (together) {
                for (int i = from; i < from + ReadAhead.BLOCKS; i++) {
                    pool.readForRegistration(batch[i], newKeys, i * PrefixIndex.KEY);
                }
            }
            for (int i = from; i < from + ReadAhead.BLOCKS; i++) {
                pool.register(batch[i], newKeys, i * PrefixIndex.KEY, SequenceOptions.DEFAULT);
            }
        }
    }

    /** After {@link #register}. */
    void noteKeys() {
        for (int i = 0; i < BATCH; i++) {
            System.arraycopy(newKeys, i * PrefixIndex.KEY, keys, batch[i] * PrefixIndex.KEY, PrefixIndex.KEY);
        }
    }

    /** As a table does, the last one first. */
    void release() {
        for (int end = BATCH; end > 0; end -= ReadAhead.BLOCKS) {
            if (together) {
                pool.readForReleases(batch, end - ReadAhead.BLOCKS, end);
            }
            for (int i = end - 1; i >= end - ReadAhead.BLOCKS; i--) {
                pool.release(batch[i]);
            }
        }
    }

    /** The blocks of {@link #newKeys}: found and held. */
    void takeCached() {
        for (int from = 0; from < BATCH; from += ReadAhead.BLOCKS) {
            readForTaking(from);
            for (int i = from; i < from + ReadAhead.BLOCKS; i++) {
                pool.take(newKeys, i * PrefixIndex.KEY, SequenceOptions.DEFAULT);
            }
        }
    }

    private void readForTaking(int from) {
        if (together) {
            pool.readForTaking(newKeys, from * PrefixIndex.KEY, ReadAhead.BLOCKS);
        }
    }

    /** Found only. */
    int find() {
        int sum = 0;
        for (int from = 0; from < BATCH; from += ReadAhead.BLOCKS) {
            readForTaking(from);
            for (int i = from; i < from + ReadAhead.BLOCKS; i++) {
                sum += pool.find(newKeys, i * PrefixIndex.KEY);
            }
        }
        return sum;
    }
}
