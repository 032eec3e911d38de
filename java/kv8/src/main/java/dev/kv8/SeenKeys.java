package dev.kv8;

/**
 * Which blocks have been used before, and which of them have been given to the tiers: a block goes there on its second use, because
 * most are used once. It remembers the last keys it met, by bits of theirs; two keys that share them cost a needless or a missing write, never wrong
 * data. Flat arrays, nothing is allocated. For the writer thread only.
 */
final class SeenKeys {
    private static final int NOT_GIVEN = 0;
    private static final int GIVEN = 1;

    private final int capacity;
    /** In the order in which they were met first. */
    private final NumberedList keys;

    private final FingerprintBuckets fingerprints;

    /** @param capacity keys that are remembered */
    SeenKeys(int capacity) {
        this.capacity = capacity;
        keys = new NumberedList(capacity);
        fingerprints = new FingerprintBuckets(capacity, keys, keys);
    }

    /** A prompt shares the block, which is in the pool. True when it should be given to the tiers. */
    boolean shared(long fingerprint) {
        int entry = fingerprints.find(fingerprint);
        if (entry == FingerprintBuckets.ABSENT) {
            add(fingerprint, NOT_GIVEN);
            return false;
        }
        boolean first = fingerprints.list(entry) == NOT_GIVEN;
        fingerprints.mark(entry, GIVEN);
        return first;
    }

    /** The block was computed, so neither pool nor tiers had it. True when it should be given to the tiers, again maybe. */
    boolean computed(long fingerprint) {
        return markOrAdd(fingerprint, GIVEN, NOT_GIVEN);
    }

    /** The tiers have the block. */
    void loaded(long fingerprint) {
        markOrAdd(fingerprint, GIVEN, GIVEN);
    }

    /** Whether the key was there; else it is added. */
    private boolean markOrAdd(long fingerprint, int known, int unknown) {
        int entry = fingerprints.find(fingerprint);
        if (entry == FingerprintBuckets.ABSENT) {
            add(fingerprint, unknown);
            return false;
        }
        fingerprints.mark(entry, known);
        return true;
    }

    /** The tiers did not get the block after all: its next use tries again. */
    void notGiven(long fingerprint) {
        int entry = fingerprints.find(fingerprint);
        if (entry != FingerprintBuckets.ABSENT) {
            fingerprints.mark(entry, NOT_GIVEN);
        }
    }

    private void add(long fingerprint, int given) {
        if (keys.size() == capacity) {
            keys.removeOldest();
        }
        fingerprints.add(fingerprint, given);
    }
}
