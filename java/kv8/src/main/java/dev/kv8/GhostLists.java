package dev.kv8;

/**
 * Fingerprints of keys that were evicted, in two lists by the list that they were evicted from, each in the order of
 * eviction. It holds a fixed number in both together, for at most 81 bytes each: remembering four keys for a block costs far less
 * than any block.
 */
final class GhostLists {
    private static final int UNUSED = 2;

    private final long[] fingerprints;
    private final IndexedLists lists;
    private final FingerprintIndex index;

    GhostLists(int capacity) {
        fingerprints = new long[capacity];
        lists = new IndexedLists(capacity, 3);
        index = new FingerprintIndex(fingerprints);
        for (int ghost = 0; ghost < capacity; ghost++) {
            lists.append(UNUSED, ghost);
        }
    }

    boolean isFull() {
        return lists.size(UNUSED) == 0;
    }

    int size(int list) {
        return lists.size(list);
    }

    /** Remembers {@code fingerprint} as the newest of {@code list}; there must be room. */
    void add(int list, long fingerprint) {
        put(lists.first(UNUSED), list, fingerprint);
    }

    /** Remembers {@code fingerprint} as the newest of {@code list} instead of the oldest of {@code old}, which is not empty. */
    void replaceOldest(int old, int list, long fingerprint) {
        int ghost = lists.first(old);
        index.remove(ghost);
        put(ghost, list, fingerprint);
    }

    private void put(int ghost, int list, long fingerprint) {
        fingerprints[ghost] = fingerprint;
        lists.move(list, ghost);
        int twin = index.add(ghost); // two keys with one fingerprint
        if (twin != FingerprintIndex.ABSENT) {
            lists.move(UNUSED, twin);
        }
    }

    /** Forgets {@code fingerprint}: the list that it was in, or {@link IndexedLists#NONE}. */
    int remove(long fingerprint) {
        int ghost = index.find(fingerprint);
        if (ghost == FingerprintIndex.ABSENT) {
            return IndexedLists.NONE;
        }
        int list = lists.listOf(ghost);
        index.remove(ghost);
        lists.move(UNUSED, ghost);
        return list;
    }

    /** Reads what a search for {@code fingerprint} will read; see {@link ReadAhead}. */
    long read(long fingerprint) {
        return index.read(fingerprint);
    }

    /** Reads what forgetting the {@code count} oldest of {@code list} will read. */
    long readOldest(int list, int count) {
        long sum = 0;
        int ghost = lists.size(list) == 0 ? IndexedLists.NONE : lists.first(list);
        for (int i = 0; i < count && ghost != IndexedLists.NONE; i++) {
            sum += index.read(fingerprints[ghost]);
            ghost = lists.after(ghost);
        }
        return sum;
    }

    /**
     * Checks that every ghost is found by its fingerprint.
     *
     * @throws IllegalStateException naming one that is not
     */
    void checkInvariants() {
        lists.checkInvariants();
        for (int ghost = 0; ghost < fingerprints.length; ghost++) {
            int list = lists.listOf(ghost);
            if (list == IndexedLists.NONE) {
                throw new IllegalStateException("Ghost " + ghost + " is in no list.");
            }
            if (list != UNUSED && index.find(fingerprints[ghost]) != ghost) {
                throw new IllegalStateException("Ghost " + ghost + " is not found by its fingerprint.");
            }
        }
    }
}
