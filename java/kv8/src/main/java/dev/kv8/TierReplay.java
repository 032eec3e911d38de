package dev.kv8;

import java.util.Arrays;

/**
 * A tier without content below a {@link PrefixReplay}: what it would serve, and how much would be written to it. It decides what to
 * write as a cache does, by {@link SeenKeys}, and evicts by the policy that it is given.
 */
final class TierReplay {
    private final BlockPool pool;
    /** What the pool takes for a key. */
    private final long[] words = new long[PrefixIndex.KEY];

    private final boolean onFirstUse;
    private final SeenKeys seen;
    private int[] held = new int[256];
    private long hits;
    private long written;

    TierReplay(EvictionPolicyKind kind, int capacity, int rememberedKeys, boolean onFirstUse) {
        this.pool = new BlockPool(capacity, kind, System::nanoTime);
        this.seen = new SeenKeys(rememberedKeys);
        this.onFirstUse = onFirstUse;
    }

    /** A request of which the cache above served the keys before {@code missing}. */
    void request(long[] chain, int from, int missing, int to) {
        int count = 0;
        int at = missing;
        // What is found is held before anything is written, so that it is not evicted for the rest of its own prompt.
        for (int block; at < to && (block = pool.take(words(chain[at]), 0, SequenceOptions.DEFAULT)) >= 0; at++) {
            seen.loaded(chain[at]);
            count = hold(block, count);
            hits++;
        }
        for (int i = from; i < missing; i++) {
            if (seen.shared(chain[i])) {
                count = write(chain[i], count);
            }
        }
        for (int i = at; i < to; i++) {
            boolean again = seen.computed(chain[i]);
            if (again || (onFirstUse && seen.shared(chain[i]))) {
                count = write(chain[i], count);
            }
        }
        while (count > 0) {
            pool.release(held[--count]);
        }
    }

    private int write(long key, int count) {
        // None is available when the prompt is larger than the tier.
        if (pool.find(words(key), 0) >= 0 || pool.available() == 0) {
            return count;
        }
        int block = pool.allocate();
        pool.register(block, words, 0, SequenceOptions.DEFAULT);
        written++;
        return hold(block, count);
    }

    /** Keys may differ in their upper bits alone, and the pool looks where the lower ones say. */
    private long[] words(long key) {
        words[0] = key ^ key >>> 32;
        return words;
    }

    private int hold(int block, int count) {
        if (count == held.length) {
            held = Arrays.copyOf(held, 2 * count);
        }
        held[count] = block;
        return count + 1;
    }

    long hits() {
        return hits;
    }

    long written() {
        return written;
    }
}
