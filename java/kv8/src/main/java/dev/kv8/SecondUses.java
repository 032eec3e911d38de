package dev.kv8;

import java.util.List;

/**
 * Gives blocks to the tiers on their second use. A block that should go there is only noted at first; between steps, as many as
 * time and free frames allow are copied out of the pool, those that are still there. For the writer thread only; noting allocates
 * nothing.
 */
final class SecondUses implements PrefixCache.UseListener {
    private static final int NOTED = 4096;

    private final BlockPool pool;
    private final PrefixCache prefixes;
    private final List<Tier> tiers;
    private final PoolCopies copies;
    private final FramePool frames;
    private final SeenKeys seen;
    private final boolean onFirstUse;

    /** Keys of noted blocks, a ring. */
    private final long[] noted = new long[NOTED * PrefixIndex.KEY];

    private final byte[] notedGroups = new byte[NOTED];
    private final long[] notedParents = new long[NOTED];

    private int first;
    private int count;

    SecondUses(
            BlockPool pool,
            PrefixCache prefixes,
            List<Tier> tiers,
            PoolCopies copies,
            FramePool frames,
            int rememberedKeys,
            boolean onFirstUse) {
        this.pool = pool;
        this.prefixes = prefixes;
        this.tiers = tiers;
        this.copies = copies;
        this.frames = frames;
        this.seen = new SeenKeys(rememberedKeys);
        this.onFirstUse = onFirstUse;
    }

    @Override
    public void computed(long[] keys, int at, int group, long parent) {
        boolean again = seen.computed(keys[at]);
        if (again || (onFirstUse && seen.shared(keys[at]))) {
            note(keys, at, group, parent);
        }
    }

    @Override
    public void shared(long[] keys, int at, int group, long parent) {
        if (seen.shared(keys[at])) {
            note(keys, at, group, parent);
        }
    }

    private void note(long[] keys, int at, int group, long parent) {
        if (count == NOTED) {
            seen.notGiven(keys[at]);
            dropped(tiers);
            return;
        }
        int place = (first + count) % NOTED;
        System.arraycopy(keys, at, noted, place * PrefixIndex.KEY, PrefixIndex.KEY);
        notedGroups[place] = (byte) group;
        notedParents[place] = parent;
        count++;
    }

    /** A block came from a tier: it need not go there, but to the {@code faster} ones. True when they took the frame over. */
    boolean loaded(long[] key, Frame frame, List<Tier> faster) {
        seen.loaded(key[0]);
        boolean kept = false;
        boolean lent = !faster.isEmpty() && frame.lend();
        if (lent) {
            for (Tier tier : faster) {
                kept |= offer(tier, frame);
            }
        } else {
            dropped(faster);
        }
        if (kept) {
            frame.release(); // the caller's hold; the tiers have their own
        }
        return kept;
    }

    /** A block never gets to these tiers. */
    private static void dropped(List<Tier> from) {
        from.forEach(tier -> tier.counters().add(TierCounters.Kind.DROPPED, 1));
    }

    private static boolean offer(Tier tier, Frame frame) {
        frame.hold();
        if (!tier.offer(frame)) {
            frame.release();
            return false;
        }
        return true;
    }

    boolean isEmpty() {
        return count == 0;
    }

    /** Forgets what is noted: the keys are of an epoch that has ended. */
    void clear() {
        count = 0;
    }

    /** Copies noted blocks out of the pool and hands them to the tiers; stops after {@code nanos}, but not before one block. */
    void advance(long nanos, BlockFrame form) {
        if (count == 0) {
            return;
        }
        long start = System.nanoTime();
        while (count > 0 && System.nanoTime() - start <= nanos) {
            int at = first * PrefixIndex.KEY;
            if (tiers.stream().noneMatch(Tier::takesWrites) || tiers.stream().anyMatch(Tier::isBehind)) {
                return;
            }
            int block = pool.find(noted, at);
            if (block >= 0) {
                Frame frame = frames.tryTake();
                if (frame == null) {
                    return;
                }
                BlockKey key = BlockKey.of(noted, at);
                if (write(block, key, notedGroups[first], frame, form)) {
                    prefixes.tiersHave(block, notedParents[first]);
                } else {
                    seen.notGiven(key.word0());
                }
            } else { // evicted while it waited; if it is computed again, it is noted again
                dropped(tiers);
            }
            first = (first + 1) % NOTED;
            count--;
        }
    }

    /** False when no tier takes it. */
    private boolean write(int block, BlockKey key, int group, Frame frame, BlockFrame form) {
        boolean taken = false;
        try {
            copies.toFrame(block, frame);
            frame.filled(key, group, form);
            for (Tier tier : tiers) {
                taken |= offer(tier, frame);
            }
        } finally {
            frame.release();
        }
        return taken;
    }
}
