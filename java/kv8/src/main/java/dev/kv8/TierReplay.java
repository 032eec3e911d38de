package dev.kv8;

import java.util.Arrays;

/**
 * A tier without content below a {@link PrefixReplay}: what it would serve, and how much would be written to it. It decides what to
 * write as a cache does, by {@link SeenKeys}, and evicts by the policy that it is given.
 */
final class TierReplay {
    private final EvictionPolicy policy;
    private final long[] keys;
    private final FingerprintIndex index;
    private final boolean onFirstUse;
    private final SeenKeys seen;
    private int[] held = new int[256];
    private int used;
    private long hits;
    private long written;

    TierReplay(EvictionPolicyKind kind, int capacity, int rememberedKeys, boolean onFirstUse) {
        this.policy = kind.create(capacity);
        this.keys = new long[capacity];
        this.index = new FingerprintIndex(keys);
        this.seen = new SeenKeys(rememberedKeys);
        this.onFirstUse = onFirstUse;
    }

    /** A request of which the cache above served the keys before {@code missing}. */
    void request(long[] chain, int from, int missing, int to) {
        int count = 0;
        int at = missing;
        // What is found is held before anything is written, so that it is not evicted for the rest of its own prompt.
        for (int block; at < to && (block = index.find(chain[at])) != FingerprintIndex.ABSENT; at++) {
            policy.hit(block);
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
            policy.release(held[--count]);
        }
    }

    private int write(long key, int count) {
        if (index.find(key) != FingerprintIndex.ABSENT) {
            return count;
        }
        if (used == keys.length && policy.idle() == 0) {
            return count; // the prompt is larger than the tier
        }
        int block = used;
        if (used < keys.length) {
            used++;
        } else {
            block = policy.evict();
            index.remove(block);
        }
        keys[block] = key;
        index.add(block);
        policy.admit(block, key);
        written++;
        return hold(block, count);
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
