package dev.kv8;

import java.time.Duration;
import java.util.function.LongSupplier;

/**
 * Which cached block makes room when some matter more than others: ranks around one {@link EvictionPolicy}. Demoted blocks go
 * first, then those of class low, then the normal ones as the policy says, then high and critical. Every method takes constant
 * time (expiry: amortised, see {@link Deadlines}) and allocates nothing. For the writer thread only.
 *
 * <p>Decision: every cached block is in the policy; while an idle one is not normal, the policy believes it held. So the policy
 * needs to know nothing of ranks, has its statistics of all blocks, and there is one policy, not one for each rank: ARC's memory
 * of evicted keys is most of what a block costs. Among blocks of another rank than normal the one idle for longest goes first,
 * and leaves no trace in the policy: its rank was the reason, not the policy's guess.
 */
final class RankedEviction {
    /** The rank below all {@link CachePriority#rank}s. */
    static final int DEMOTED = 0;

    static final long NO_LIMIT = Long.MAX_VALUE;
    static final Duration LONGEST_LIMIT = Duration.ofDays(290L * 365);

    private static final int NORMAL = CachePriority.NORMAL.rank();
    private static final int LIMITED = 8;

    /** Bits of {@link #ranks} below {@link #child}. */
    private static final int CHILD_SHIFT = 4;

    /** The child that {@link #child} gives of a block whose only one is not known. */
    static final int SEVERAL = -1 >>> CHILD_SHIFT;

    /** The child of a block without one. */
    static final int CHILDLESS = 0;

    private static final int RANKS = CachePriority.values().length + 1;

    /** A step of time is 2^20 ns: fewer moves between the buckets of {@link Deadlines}, and nobody waits for a deadline. */
    private static final int TICK_SHIFT = 20;

    private final EvictionPolicy policy;
    /** Idle blocks that are not normal, by rank. */
    private final IndexedLists others;

    private int idleOthers;
    /**
     * By block its rank, {@link #LIMITED} where {@link #limits} says for how long (most have none, and cost no look there), and above
     * these its {@link #child}, which is here because whoever writes it has the rank at hand.
     */
    private final int[] ranks;

    /** How many ticks a block keeps its rank while it is idle; only for limited ones. */
    private final long[] limits;
    /** Of idle blocks with a limit. */
    private final Deadlines deadlines;

    private final LongSupplier clock;
    private final long start;

    /** {@code clock} gives nanoseconds that never decrease. */
    RankedEviction(EvictionPolicy policy, int blocks, LongSupplier clock) {
        this.policy = policy;
        this.clock = clock;
        start = clock.getAsLong();
        others = new IndexedLists(blocks, RANKS);
        ranks = new int[blocks];
        limits = new long[blocks];
        deadlines = new Deadlines(blocks);
    }

    /** Rounded up. */
    static long ticks(Duration duration) {
        long nanos = duration.toNanos();
        return (nanos >>> TICK_SHIFT) + ((nanos & ((1L << TICK_SHIFT) - 1)) == 0 ? 0 : 1);
    }

    private long now() {
        return (clock.getAsLong() - start) >>> TICK_SHIFT;
    }

    /** See {@link EvictionPolicy#admit}; {@code limit} in ticks. */
    void admit(int block, int rank, long limit) {
        policy.admit(block);
        ranks[block] = CHILDLESS;
        set(block, rank, limit);
    }

    /** See {@link EvictionPolicy#hit}; the block is of {@code rank} at least from now on. */
    void hit(int block, int rank, long limit) {
        wake(block);
        policy.hit(block);
        raise(block, rank, limit);
    }

    /** A held block is asked for in another class too: it takes the higher one, and of equal ones the longer limit. */
    void raise(int block, int rank, long limit) {
        int old = rank(block);
        if (rank > old) {
            set(block, rank, limit);
        } else if (rank == old && isLimited(block)) {
            set(block, rank, Math.max(limits[block], limit));
        }
    }

    private void set(int block, int rank, long limit) {
        int child = ranks[block] & -(1 << CHILD_SHIFT);
        if (limit == NO_LIMIT) {
            ranks[block] = child | rank;
        } else {
            ranks[block] = child | LIMITED | rank;
            limits[block] = limit;
        }
    }

    private boolean isLimited(int block) {
        return (ranks[block] & LIMITED) != 0;
    }

    /** See {@link EvictionPolicy#release}. */
    void release(int block) {
        if (rank(block) == NORMAL) {
            policy.release(block);
        } else {
            appendOther(block);
        }
        if (isLimited(block)) {
            deadlines.add(block, now() + limits[block]);
        }
    }

    /** A held block is released, and no longer worth what it was. */
    void releaseDemoted(int block) {
        set(block, DEMOTED, NO_LIMIT);
        release(block);
    }

    private void appendOther(int block) {
        if (others.listOf(block) != IndexedLists.NONE) {
            throw PolicyMisuse.releasedTwice(block);
        }
        others.append(rank(block), block);
        idleOthers++;
    }

    private void removeOther(int block) {
        others.remove(block);
        idleOthers--;
    }

    /** See {@link EvictionPolicy#evict}; first blocks over their limit lose their rank. */
    int evict() {
        if (!deadlines.isEmpty()) {
            expire();
        }
        int rank = evictedRank();
        if (rank == RANKS) {
            throw PolicyMisuse.nothingIdle();
        }
        int block;
        if (rank == NORMAL) {
            block = policy.evict();
        } else {
            block = others.first(rank);
            removeOther(block);
            policy.forget(block);
        }
        if (isLimited(block)) {
            deadlines.remove(block);
        }
        return block;
    }

    /** {@link #RANKS} when nothing is idle. */
    private int evictedRank() {
        int rank = DEMOTED;
        while (rank < RANKS && (rank == NORMAL ? policy.idle() : others.size(rank)) == 0) {
            rank++;
        }
        return rank;
    }

    private void expire() {
        long now = now();
        for (int block = deadlines.poll(now); block != Deadlines.NONE; block = deadlines.poll(now)) {
            if (rank(block) == NORMAL) {
                policy.hold(block);
            } else {
                removeOther(block);
            }
            fall(block);
            release(block);
        }
    }

    /** What a block becomes that was idle for too long. */
    private void fall(int block) {
        set(block, rank(block) > NORMAL ? NORMAL : DEMOTED, NO_LIMIT);
    }

    /** An idle block leaves the lists of this class; one that was over its limit has fallen. */
    private void wake(int block) {
        if (rank(block) != NORMAL && others.listOf(block) != IndexedLists.NONE) {
            removeOther(block);
        }
        if (isLimited(block) && deadlines.contains(block)) {
            if (deadlines.time(block) <= now()) {
                fall(block);
            }
            deadlines.remove(block);
        }
    }

    /** See {@link EvictionPolicy#forget}. */
    void forget(int block) {
        wake(block);
        policy.forget(block);
    }

    // ---- see ReadAhead

    /** See {@link EvictionPolicy#readEvictions}; those of one rank only. */
    int readEvictions(ReadAhead ahead, int most) {
        int rank = evictedRank();
        int[] blocks = ahead.blocks;
        int count = rank == NORMAL
                ? policy.readEvictions(ahead, most)
                : rank == RANKS ? 0 : others.front(rank, blocks, 0, most);
        long sum = 0;
        for (int i = 0; i < count; i++) {
            sum += ranks[blocks[i]];
        }
        ahead.add(sum);
        return count;
    }

    /** See {@link EvictionPolicy#readAdmission}. */
    long readAdmission(int block, long fingerprint) {
        return policy.readAdmission(block, fingerprint) + ranks[block];
    }

    /** See {@link EvictionPolicy#readUses}. */
    long readUses(int[] blocks, int count) {
        long sum = 0;
        for (int i = 0; i < count; i++) {
            sum += ranks[blocks[i]];
        }
        return sum + policy.readUses(blocks, count);
    }

    /** What was said by {@link #setChild} of a cached block since it was admitted; {@link #CHILDLESS} before. */
    int child(int block) {
        return ranks[block] >>> CHILD_SHIFT;
    }

    /** Which block hangs on a cached one: bits of its key, or {@link #SEVERAL}. */
    void setChild(int block, int child) {
        ranks[block] = (child << CHILD_SHIFT) | (ranks[block] & ((1 << CHILD_SHIFT) - 1));
    }

    /** The rank of a cached block, its limit left aside. */
    int rank(int block) {
        return ranks[block] & (LIMITED - 1);
    }

    /** See {@link EvictionPolicy#isUsedOften}. */
    boolean isUsedOften(int block) {
        return policy.isUsedOften(block);
    }

    /** See {@link EvictionPolicy#idle}. */
    int idle() {
        return policy.idle() + idleOthers;
    }

    /** See {@link EvictionPolicy#checkInvariants}; also that ranks and deadlines agree with the lists. */
    void checkInvariants() {
        policy.checkInvariants();
        others.checkInvariants();
        deadlines.checkInvariants();
        int counted = 0;
        for (int block = 0; block < ranks.length; block++) {
            int list = others.listOf(block);
            if (list != IndexedLists.NONE) {
                counted++;
                if (list != rank(block) || list == NORMAL) {
                    throw new IllegalStateException(
                            "Block " + block + " of rank " + rank(block) + " is in the list of rank " + list + ".");
                }
            }
        }
        if (counted != idleOthers) {
            throw new IllegalStateException(
                    counted + " blocks are idle and not normal, " + idleOthers + " are counted.");
        }
    }
}
