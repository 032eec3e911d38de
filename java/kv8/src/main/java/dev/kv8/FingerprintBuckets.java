package dev.kv8;

/**
 * Fingerprints that are remembered until they are the oldest, in one or two {@link NumberedList}s, and found by their bits. Decision: a table of
 * buckets that are a cache line each, eight entries of one long: 30 bits of the fingerprint's hash, which of the lists, and its number there. So
 * finding, adding and removing read one line that is in no cache, and forgetting the oldest of a list reads none: the list's window moves on, and the entry
 * that it leaves behind is free to be overwritten.
 *
 * <p>A small table has a fixed number of buckets, so many that none is ever full; of a large one no more than a quarter is, so by Poisson's law one of 900 fingerprints that are added finds a bucket with eight others. The oldest of these is
 * forgotten then, which had about a ninth of its time left. Two fingerprints of one bucket whose 30 bits are equal (one of 500 million searches meets such a
 * pair) are one here. For the writer thread only.
 *
 * <p>A number that has left its list's window comes into it again after 2^32 additions. An entry is overwritten long before, in a place of its bucket that goes
 * round with the numbers; one that was not would be an old fingerprint too many.
 */
final class FingerprintBuckets {
    /** No entry has the fingerprint. */
    static final int ABSENT = -1;

    /** Entries of a bucket. */
    private static final int BUCKET = 8;

    /** Places in the table for each fingerprint. */
    private static final int ROOM = 4;

    /**
     * Longs before the first bucket. An array's longs begin 16 bytes behind its beginning, and a large one begins with a line in the default collector, so
     * that buckets do with these.
     */
    private static final int OFFSET = 6;

    /** 64 KiB: not worth less, and what some hundred fingerprints leave to chance would be the small caches' luck. */
    private static final int LEAST_BUCKETS = 1 << 10;

    private static final int MOST_BUCKETS = (Integer.MAX_VALUE - BUCKET) / BUCKET;

    /** 2^64 divided by the golden ratio: spreads fingerprints that differ in few bits (Knuth, volume 3, section 6.4). */
    private static final long SPREAD = 0x9E3779B97F4A7C15L;

    /** In every entry that is not empty. */
    private static final long USED = 1L << 63;

    /** The entry's list is the second one. */
    private static final long SECOND = 1L << 32;

    /** The lowest of an entry's bits that are of the fingerprint's hash. */
    private static final int TAG_SHIFT = 33;

    private final long[] entries;
    private final int buckets;
    private final NumberedList first;
    private final NumberedList second;

    /** For {@code capacity} fingerprints in two lists; with one given twice, which of them is a mark that can be changed. */
    FingerprintBuckets(int capacity, NumberedList first, NumberedList second) {
        this(first, second, buckets(capacity));
    }

    /** With another number of buckets, for tests: all then meet, or none. */
    FingerprintBuckets(NumberedList first, NumberedList second, int buckets) {
        this.first = first;
        this.second = second;
        this.buckets = buckets;
        entries = new long[OFFSET + BUCKET * buckets];
    }

    private static int buckets(int capacity) {
        long needed = ((long) ROOM * capacity + BUCKET - 1) / BUCKET;
        return (int) Math.max(LEAST_BUCKETS, Math.min(MOST_BUCKETS, needed));
    }

    /** The entry that has {@code fingerprint}, or {@link #ABSENT}. */
    int find(long fingerprint) {
        long hash = hash(fingerprint);
        return find(hash, bucket(hash));
    }

    private int find(long hash, int bucket) {
        for (int i = 0; i < BUCKET; i++) {
            if ((entries[bucket + i] ^ hash) >>> TAG_SHIFT == 0 && isRemembered(bucket + i)) {
                return bucket + i;
            }
        }
        return ABSENT;
    }

    /** Which list an entry is in: 0 for the first, 1 for the second. */
    int list(int entry) {
        return (int) (entries[entry] >>> 32) & 1;
    }

    /** Where both lists are one: marks the entry as of the first or of the second. */
    void mark(int entry, int list) {
        entries[entry] = (entries[entry] & ~SECOND) | list * SECOND;
    }

    /** Remembers {@code fingerprint} as the newest of a list, and no longer where else it was. */
    void add(long fingerprint, int list) {
        long hash = hash(fingerprint);
        int bucket = bucket(hash);
        NumberedList to = list == 0 ? first : second;
        int entry = find(hash, bucket);
        if (entry == ABSENT) {
            entry = free(bucket, to);
        }
        if (entry == ABSENT) {
            entry = oldest(bucket);
        }
        if (isRemembered(entry)) {
            listOf(entry).remove((int) entries[entry]);
        }
        entries[entry] = hash >>> TAG_SHIFT << TAG_SHIFT | list * SECOND | Integer.toUnsignedLong(to.add());
    }

    /** Forgets an entry. */
    void remove(int entry) {
        listOf(entry).remove((int) entries[entry]);
        entries[entry] = 0;
    }

    private int free(int bucket, NumberedList to) {
        int begin = to.newestNumber() & (BUCKET - 1);
        for (int i = begin; i < begin + BUCKET; i++) {
            int entry = bucket + (i & (BUCKET - 1));
            if (!isRemembered(entry)) {
                return entry;
            }
        }
        return ABSENT;
    }

    /** Of a bucket that is full, what most additions to its own list followed. */
    private int oldest(int bucket) {
        int oldest = bucket;
        for (int entry = bucket + 1; entry < bucket + BUCKET; entry++) {
            if (age(entry) > age(oldest)) {
                oldest = entry;
            }
        }
        return oldest;
    }

    private int age(int entry) {
        return listOf(entry).age((int) entries[entry]);
    }

    private boolean isRemembered(int entry) {
        return entries[entry] < 0 && listOf(entry).isYoung((int) entries[entry]);
    }

    private NumberedList listOf(int entry) {
        return (entries[entry] & SECOND) == 0 ? first : second;
    }

    /** Reads what all that is done with {@code fingerprint} will read; see {@link ReadAhead}. */
    long read(long fingerprint) {
        int bucket = bucket(hash(fingerprint));
        return entries[bucket] + entries[bucket + BUCKET - 1]; // two lines where the array does not begin as it should
    }

    private static long hash(long fingerprint) {
        long spread = fingerprint * SPREAD;
        return USED | (spread ^ (spread >>> 32));
    }

    /** The first entry of the bucket of a hash: of its low half, because the high one lies in the entry. */
    private int bucket(long hash) {
        return OFFSET + BUCKET * (int) (((hash & 0xFFFFFFFFL) * buckets) >>> 32);
    }

    /**
     * Checks that the lists' members are those of the entries.
     *
     * @throws IllegalStateException saying how many are not
     */
    void checkInvariants() {
        first.checkInvariants();
        second.checkInvariants();
        int found = 0;
        for (int entry = OFFSET; entry < entries.length; entry++) {
            if (isRemembered(entry)) {
                found++;
                if (!listOf(entry).contains((int) entries[entry])) {
                    throw new IllegalStateException("Entry " + entry + " is of no member of its list.");
                }
            }
        }
        int members = first == second ? first.size() : first.size() + second.size();
        if (found != members) {
            throw new IllegalStateException("The lists have " + members + " members, the buckets " + found + ".");
        }
    }
}
