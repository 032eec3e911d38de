package dev.kv8;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * Counters that one thread publishes and any thread reads as of one moment: a sequence lock, so publishing is a few stores and
 * never waits, and reading allocates only its result.
 */
final class StatsBoard {
    private static final VarHandle VERSION;

    static {
        try {
            VERSION = MethodHandles.lookup().findVarHandle(StatsBoard.class, "version", int.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private final int totalBlocks;
    private final long poolBytes;

    /** Odd while the counters change. */
    private int version;

    private int freeBlocks;
    private int cachedBlocks;
    private int pinnedBlocks;
    private long storedTokens;
    private int openSequences;
    private long allocatedBlocks;
    private long copiedBlocks;
    private long evictedBlocks;
    private long prefixQueryTokens;
    private long prefixHitTokens;
    private long prefixPartialTokens;
    private long saturatedValues;

    StatsBoard(int totalBlocks, long poolBytes) {
        this.totalBlocks = totalBlocks;
        this.poolBytes = poolBytes;
        this.freeBlocks = totalBlocks;
    }

    void publish(BlockPool pool, PrefixCache prefixes, long stored, int sequences, long copied, long saturated) {
        int before = version;
        VERSION.setOpaque(this, before + 1);
        VarHandle.storeStoreFence();
        freeBlocks = pool.available();
        cachedBlocks = pool.cached();
        pinnedBlocks = pool.pinned();
        storedTokens = stored;
        openSequences = sequences;
        allocatedBlocks = pool.allocated();
        copiedBlocks = copied;
        evictedBlocks = pool.evicted();
        prefixQueryTokens = prefixes.queryTokens();
        prefixHitTokens = prefixes.hitTokens();
        prefixPartialTokens = prefixes.partialHitTokens();
        saturatedValues = saturated;
        VERSION.setRelease(this, before + 2);
    }

    CacheStats read() {
        while (true) {
            int before = (int) VERSION.getAcquire(this);
            int free = freeBlocks;
            CacheStats stats = new CacheStats(
                    totalBlocks,
                    free,
                    cachedBlocks,
                    totalBlocks - free,
                    pinnedBlocks,
                    storedTokens,
                    openSequences,
                    allocatedBlocks,
                    copiedBlocks,
                    evictedBlocks,
                    prefixQueryTokens,
                    prefixHitTokens,
                    prefixPartialTokens,
                    saturatedValues,
                    poolBytes);
            VarHandle.loadLoadFence();
            if ((before & 1) == 0 && (int) VERSION.getOpaque(this) == before) {
                return stats;
            }
            Thread.onSpinWait();
        }
    }
}
