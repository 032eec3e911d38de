package dev.kv8;

import java.util.function.IntToLongFunction;

/**
 * Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache" (FAST 2003). Cached blocks are of one of two kinds:
 * used once recently (T1 in the paper), or more than once (T2). Keys of evicted blocks are remembered as ghosts (B1, B2); a
 * ghost that is asked for again says that its kind was evicted too early, and moves the target for the number of T1's blocks.
 *
 * <p>Decisions that differ from the paper:
 *
 * <ul>
 *   <li>The directory of cached and remembered keys is five times the cache, not twice: what prompts share comes back after
 *       far more blocks than a small cache holds. As in the paper, T1 and B1 get half of it when it is full.
 *   <li>Only idle blocks are in the lists, since held ones can't be evicted. A held block counts for its kind all the same.
 *   <li>A key is told when its block is complete, which is after room was made for it. So the paper's choice between equals
 *       by where the wanted key is remembered does not exist, and a target moves for the evictions after it.
 *   <li>Ghosts are bits of fingerprints; see {@link FingerprintBuckets}. A collision moves the target wrongly once.
 * </ul>
 */
final class ArcPolicy implements EvictionPolicy {
    /** Keys remembered for each block. */
    static final int GHOSTS_PER_BLOCK = 4;

    private static final int ONCE = 0;
    private static final int OFTEN = 1;
    private static final int UNCACHED = -1;

    /** A block's note is its kind, idle or held. */
    private final IndexedLists idle;

    private final int blocks;
    private final IntToLongFunction fingerprints;
    private final GhostLists ghosts;
    /** Cached blocks of each kind, idle or held. */
    private final int[] cached = new int[2];

    /** How many blocks used once to keep; p in the paper. Between 0 and the number of blocks. */
    private double target;

    /** See {@link EvictionPolicyKind#create} for {@code fingerprints}. */
    ArcPolicy(int blocks, IntToLongFunction fingerprints) {
        this(blocks, fingerprints, new GhostLists(Math.multiplyExact(GHOSTS_PER_BLOCK, blocks)));
    }

    ArcPolicy(int blocks, IntToLongFunction fingerprints, GhostLists ghosts) {
        this.blocks = blocks;
        this.fingerprints = fingerprints;
        this.ghosts = ghosts;
        idle = new IndexedLists(blocks, 2);
        for (int block = 0; block < blocks; block++) {
            idle.setNote(block, UNCACHED);
        }
    }

    @Override
    public void admit(int block) {
        if (kind(block) != UNCACHED) {
            throw PolicyMisuse.admittedTwice(block);
        }
        double once = ghosts.size(ONCE);
        double often = ghosts.size(OFTEN);
        int ghost = ghosts.remove(fingerprints.applyAsLong(block));
        if (ghost == ONCE) {
            target = Math.min(blocks, target + Math.max(1, often / once));
        } else if (ghost == OFTEN) {
            target = Math.max(0, target - Math.max(1, once / often));
        }
        setKind(block, ghost == GhostLists.NONE ? ONCE : OFTEN);
    }

    @Override
    public void hit(int block) {
        requireCached(block);
        if (isIdle(block)) {
            idle.remove(block);
        }
        cached[kind(block)]--;
        setKind(block, OFTEN);
    }

    @Override
    public void hold(int block) {
        requireCached(block);
        if (isIdle(block)) {
            idle.remove(block);
        }
    }

    @Override
    public void release(int block) {
        requireCached(block);
        if (isIdle(block)) {
            throw PolicyMisuse.releasedTwice(block);
        }
        idle.append(kind(block), block);
    }

    @Override
    public int evict() {
        if (idle() == 0) {
            throw PolicyMisuse.nothingIdle();
        }
        int kind = evictedKind();
        int block = idle.first(kind);
        idle.remove(block);
        remember(kind, fingerprints.applyAsLong(block));
        uncache(block);
        return block;
    }

    private int evictedKind() {
        return idle.size(ONCE) > 0 && (cached[ONCE] > target || idle.size(OFTEN) == 0) ? ONCE : OFTEN;
    }

    private void remember(int kind, long fingerprint) {
        if (ghosts.isFull()) {
            ghosts.removeOldest(forgottenKind());
        }
        ghosts.add(kind, fingerprint);
    }

    private int forgottenKind() {
        long half = (GHOSTS_PER_BLOCK + 1L) * blocks / 2;
        return cached[ONCE] + ghosts.size(ONCE) > half ? ONCE : OFTEN;
    }

    @Override
    public void forget(int block) {
        requireCached(block);
        if (isIdle(block)) {
            idle.remove(block);
        }
        uncache(block);
    }

    private void uncache(int block) {
        cached[kind(block)]--;
        idle.setNote(block, UNCACHED);
    }

    @Override
    public boolean isUsedOften(int block) {
        return kind(block) == OFTEN;
    }

    @Override
    public int idle() {
        return idle.size(ONCE) + idle.size(OFTEN);
    }

    @Override
    public int readEvictions(ReadAhead ahead, int most) {
        int[] chosen = ahead.blocks;
        int kind = evictedKind();
        int count = idle.front(kind, chosen, 0, most);
        count += idle.front(1 - kind, chosen, count, most - count);
        long sum = 0;
        for (int i = 0; i < count; i++) {
            sum += ghosts.read(fingerprints.applyAsLong(chosen[i]));
        }
        ahead.add(sum);
        return count;
    }

    @Override
    public long readAdmission(int block, long fingerprint) {
        return ghosts.read(fingerprint) + idle.note(block);
    }

    @Override
    public long readUses(int[] some, int count) {
        return idle.read(some, count);
    }

    private void setKind(int block, int kind) {
        idle.setNote(block, kind);
        cached[kind]++;
    }

    private int kind(int block) {
        return idle.note(block);
    }

    private boolean isIdle(int block) {
        return idle.listOf(block) != IndexedLists.NONE;
    }

    private void requireCached(int block) {
        if (kind(block) == UNCACHED) {
            throw PolicyMisuse.notCached(block);
        }
    }

    /** See the paper's p. */
    double target() {
        return target;
    }

    int ghosts() {
        return ghosts.size(ONCE) + ghosts.size(OFTEN);
    }

    @Override
    public void checkInvariants() {
        idle.checkInvariants();
        ghosts.checkInvariants();
        int[] counted = new int[2];
        for (int block = 0; block < blocks; block++) {
            if (kind(block) != UNCACHED) {
                counted[kind(block)]++;
            }
            if (isIdle(block) && idle.listOf(block) != kind(block)) {
                throw new IllegalStateException("Block " + block + " of kind " + kind(block)
                        + " is in the list of kind " + idle.listOf(block) + ".");
            }
        }
        if (counted[ONCE] != cached[ONCE] || counted[OFTEN] != cached[OFTEN]) {
            throw new IllegalStateException("Cached are " + counted[ONCE] + " blocks used once and " + counted[OFTEN]
                    + " used more often; counted were " + cached[ONCE] + " and " + cached[OFTEN] + ".");
        }
        if (!(target >= 0 && target <= blocks)) {
            throw new IllegalStateException("The target is " + target + ", of " + blocks + " blocks.");
        }
    }
}
