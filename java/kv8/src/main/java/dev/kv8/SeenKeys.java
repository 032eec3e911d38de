package dev.kv8;

/**
 * Which blocks have been used before, and which of them have been given to the tiers: a block goes there on its second use, because
 * most are used once. It remembers the last keys it met, by 64 bits; two keys that share them cost a needless or a missing write, never wrong
 * data. Flat arrays, nothing is allocated. For the writer thread only.
 */
final class SeenKeys {
    private final long[] fingerprints;
    private final boolean[] given;
    private final FingerprintIndex index;
    private int used;
    private int oldest;

    /** @param capacity keys that are remembered */
    SeenKeys(int capacity) {
        fingerprints = new long[capacity];
        given = new boolean[capacity];
        index = new FingerprintIndex(fingerprints);
    }

    /** A prompt shares the block, which is in the pool. True when it should be given to the tiers. */
    boolean shared(long fingerprint) {
        int entry = index.find(fingerprint);
        if (entry == FingerprintIndex.ABSENT) {
            add(fingerprint, false);
            return false;
        }
        return give(entry);
    }

    /** The block was computed, so neither pool nor tiers had it. True when it should be given to the tiers, again maybe. */
    boolean computed(long fingerprint) {
        int entry = index.find(fingerprint);
        if (entry == FingerprintIndex.ABSENT) {
            add(fingerprint, false);
            return false;
        }
        given[entry] = true;
        return true;
    }

    private boolean give(int entry) {
        boolean first = !given[entry];
        given[entry] = true;
        return first;
    }

    /** The tiers have the block. */
    void loaded(long fingerprint) {
        int entry = index.find(fingerprint);
        if (entry == FingerprintIndex.ABSENT) {
            add(fingerprint, true);
        } else {
            given[entry] = true;
        }
    }

    /** The tiers did not get the block after all: its next use tries again. */
    void notGiven(long fingerprint) {
        int entry = index.find(fingerprint);
        if (entry != FingerprintIndex.ABSENT) {
            given[entry] = false;
        }
    }

    private void add(long fingerprint, boolean isGiven) {
        int entry = oldest;
        if (used == fingerprints.length) {
            index.remove(entry);
        } else {
            used++;
        }
        oldest = (oldest + 1) % fingerprints.length;
        fingerprints[entry] = fingerprint;
        given[entry] = isGiven;
        index.add(entry);
    }
}
