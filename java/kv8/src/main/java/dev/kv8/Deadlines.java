package dev.kv8;

/**
 * Which of the numbers 0 to n - 1 are due, in the order of their times. Decision: a radix heap (Ahuja, Mehlhorn, Orlin and
 * Tarjan, "Faster algorithms for the shortest path problem", 1990), because time only moves on: a number lies in the bucket of
 * the highest bit in which its time differs from the present, and moves to a lower bucket when the present reaches that bit. So
 * adding and removing are a few memory accesses, a number moves at most once for each bit of its time ahead, and numbers of
 * equal time stay in the order in which they were added.
 */
final class Deadlines {
    static final int NONE = -1;

    /** Bucket 0 is for what is due; bucket b for times that differ from {@link #now} in bit b - 1 and none above. */
    private static final int BUCKETS = Long.SIZE;

    private final long[] times;
    private final IndexedLists buckets;
    private long now;
    private int size;

    Deadlines(int elements) {
        times = new long[elements];
        buckets = new IndexedLists(elements, BUCKETS);
    }

    boolean isEmpty() {
        return size == 0;
    }

    boolean contains(int element) {
        return buckets.listOf(element) != IndexedLists.NONE;
    }

    /** When {@code element}, which is in here, is due. */
    long time(int element) {
        return times[element];
    }

    /** Adds an element that is not in here; {@code time} is not negative. */
    void add(int element, long time) {
        times[element] = time;
        buckets.append(bucket(time), element);
        size++;
    }

    /** Removes an element that is in here. */
    void remove(int element) {
        buckets.remove(element);
        size--;
    }

    /** Takes out the element that is due first; {@link #NONE} when none is due at {@code time} or before. */
    int poll(long time) {
        while (buckets.size(0) == 0) {
            int reached = bucket(time);
            int nearest = 1;
            while (nearest <= reached && buckets.size(nearest) == 0) {
                nearest++;
            }
            if (nearest > reached) {
                return NONE; // all others differ from the present in a bit that time has not reached
            }
            moveTo(Math.min(time, earliest(nearest)), nearest);
        }
        int element = buckets.first(0);
        remove(element);
        return element;
    }

    private long earliest(int bucket) {
        long earliest = Long.MAX_VALUE;
        for (int at = buckets.first(bucket); at != IndexedLists.NONE; at = buckets.after(at)) {
            earliest = Math.min(earliest, times[at]);
        }
        return earliest;
    }

    /** Makes {@code time} the present; it differs from the one before in the bit of {@code bucket} and none above. */
    private void moveTo(long time, int bucket) {
        now = time;
        for (int count = buckets.size(bucket); count > 0; count--) {
            int element = buckets.first(bucket);
            buckets.remove(element);
            buckets.append(bucket(times[element]), element);
        }
    }

    private int bucket(long time) {
        return time <= now ? 0 : Long.SIZE - Long.numberOfLeadingZeros(time ^ now);
    }

    /**
     * Checks that every element is in the bucket of its time.
     *
     * @throws IllegalStateException naming one that is not
     */
    void checkInvariants() {
        buckets.checkInvariants();
        int counted = 0;
        for (int element = 0; element < times.length; element++) {
            int bucket = buckets.listOf(element);
            if (bucket != IndexedLists.NONE) {
                counted++;
                if (bucket != bucket(times[element])) {
                    throw new IllegalStateException("Element " + element + ", due at " + times[element]
                            + ", is in bucket " + bucket + " instead of " + bucket(times[element]) + ".");
                }
            }
        }
        if (counted != size) {
            throw new IllegalStateException(counted + " elements have a deadline, " + size + " are counted.");
        }
    }
}
