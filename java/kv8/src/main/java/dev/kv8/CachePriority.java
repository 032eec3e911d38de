package dev.kv8;

/**
 * How much the cached blocks of a sequence matter once nobody holds them: those of a lower class are evicted before all of a
 * higher one. A block that several sequences used is of the highest class that one of them asked for.
 */
public enum CachePriority {
    /** Makes room first: batch jobs, prompts that are not expected again. */
    LOW(1),
    /** Unless told otherwise; the cache's {@link EvictionPolicyKind} chooses among these. */
    NORMAL(2),
    /** Makes room when nothing below is left: conversations that go on. */
    HIGH(3),
    /** Makes room last: what every prompt begins with. A block that must never go is pinned, {@link Sequence#pin()}. */
    CRITICAL(4);

    private final int rank;

    CachePriority(int rank) {
        this.rank = rank;
    }

    /** Above {@link RankedEviction#DEMOTED}. */
    int rank() {
        return rank;
    }
}
