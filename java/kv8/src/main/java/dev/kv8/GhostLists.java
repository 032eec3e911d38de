package dev.kv8;

/**
 * Fingerprints of keys that were evicted, in two lists by the kind that they were evicted as, each in the order of eviction. It holds a fixed number in
 * both together, for 33 bytes each: remembering four keys for a block costs far less than any block.
 */
final class GhostLists {
    /** What {@link #remove} answers for a fingerprint that is not here. */
    static final int NONE = -1;

    private final int capacity;
    private final NumberedList[] lists;
    private final FingerprintBuckets fingerprints;

    GhostLists(int capacity) {
        this.capacity = capacity;
        lists = lists(capacity);
        fingerprints = new FingerprintBuckets(capacity, lists[0], lists[1]);
    }

    /** See {@link FingerprintBuckets#FingerprintBuckets(NumberedList, NumberedList, int)}. */
    GhostLists(int capacity, int buckets) {
        this.capacity = capacity;
        lists = lists(capacity);
        fingerprints = new FingerprintBuckets(lists[0], lists[1], buckets);
    }

    private static NumberedList[] lists(int capacity) {
        return new NumberedList[] {new NumberedList(capacity), new NumberedList(capacity)};
    }

    boolean isFull() {
        return lists[0].size() + lists[1].size() >= capacity;
    }

    int size(int list) {
        return lists[list].size();
    }

    /** Remembers {@code fingerprint} as the newest of {@code list}; there must be room. */
    void add(int list, long fingerprint) {
        fingerprints.add(fingerprint, list);
    }

    /** Forgets the oldest of {@code list}, which is not empty. */
    void removeOldest(int list) {
        lists[list].removeOldest();
    }

    /** Forgets {@code fingerprint}: the list that it was in, or {@link #NONE}. */
    int remove(long fingerprint) {
        int entry = fingerprints.find(fingerprint);
        if (entry == FingerprintBuckets.ABSENT) {
            return NONE;
        }
        int list = fingerprints.list(entry);
        fingerprints.remove(entry);
        return list;
    }

    /** Reads what adding and removing {@code fingerprint} will read; see {@link ReadAhead}. */
    long read(long fingerprint) {
        return fingerprints.read(fingerprint);
    }

    /** See {@link FingerprintBuckets#checkInvariants}. */
    void checkInvariants() {
        fingerprints.checkInvariants();
    }
}
