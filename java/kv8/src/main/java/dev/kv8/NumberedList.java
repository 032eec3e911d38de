package dev.kv8;

/**
 * A list that knows its members by numbers: who is added gets the next one, so numbers are the order of age, and whoever keeps a member's number
 * can take it out anywhere. Decision: no links but a bit for each number from the oldest on, in a ring. Adding and removing the oldest touch two
 * places that move on bit by bit, so they stay in the nearest cache; links would be written wherever the members lie.
 *
 * <p>A member that as many others follow as the ring has bits is removed, even where most of these were taken out again. So of the 32 bits that
 * numbers have, no two members' are equal, though numbers come again after 2^32 additions. For the writer thread only.
 */
final class NumberedList {
    private static final int LARGEST_RING = 1 << 30;

    /** By a number's low bits: whether it is a member's. */
    private final long[] members;

    private final int mask;
    /** Members' numbers are from this one on, and before {@link #next}. */
    private int oldest;

    private int next;
    private int size;

    /** See {@link #ring} for {@code capacity}. */
    NumberedList(int capacity) {
        this(capacity, 0);
    }

    /** The first member will have the number {@code first}. */
    NumberedList(int capacity, int first) {
        int ring = ring(capacity);
        members = new long[ring / Long.SIZE];
        mask = ring - 1;
        oldest = first;
        next = first;
    }

    /** How many members may be added after one before it goes: twice as many as {@code capacity} at least, but 2^30 at most. */
    static int ring(int capacity) {
        long twice = 2 * Long.highestOneBit(2L * capacity - 1);
        return (int) Math.max(Long.SIZE, Math.min(LARGEST_RING, twice));
    }

    int size() {
        return size;
    }

    /** Adds a member, the newest; its number. */
    int add() {
        if (next - oldest > mask) {
            skipRemoved();
            if (next - oldest > mask) {
                removeOldest();
            }
        }
        int number = next++;
        members[word(number)] |= 1L << number;
        size++;
        return number;
    }

    /** Removes the oldest member; there must be one. */
    void removeOldest() {
        skipRemoved();
        remove(oldest++);
    }

    private void skipRemoved() {
        if (size == 0) {
            oldest = next;
            return;
        }
        int number = oldest;
        long rest = members[word(number)] >>> number;
        while (rest == 0) {
            number = (number | (Long.SIZE - 1)) + 1;
            rest = members[word(number)];
        }
        oldest = number + Long.numberOfTrailingZeros(rest);
    }

    /** Removes a member. */
    void remove(int number) {
        members[word(number)] &= ~(1L << number);
        size--;
    }

    /** Whether a number that was a member's, and not {@linkplain #remove removed}, still is. */
    boolean isYoung(int number) {
        return Integer.compareUnsigned(number - oldest, next - oldest) < 0;
    }

    boolean contains(int number) {
        return isYoung(number) && (members[word(number)] >>> number & 1) != 0;
    }

    /** That of the member added last; the one before the first when there was none. */
    int newestNumber() {
        return next - 1;
    }

    /** How many members were added since the one with this number. */
    int age(int number) {
        return next - number;
    }

    private int word(int number) {
        return (number & mask) / Long.SIZE;
    }

    /**
     * Checks that as many members are in the window as are counted, and none outside.
     *
     * @throws IllegalStateException saying how many there are
     */
    void checkInvariants() {
        int inWindow = 0;
        for (int number = oldest; number != next; number++) {
            inWindow += contains(number) ? 1 : 0;
        }
        int all = 0;
        for (long word : members) {
            all += Long.bitCount(word);
        }
        if (inWindow != size || all != size) {
            throw new IllegalStateException("A list counts " + size + " members, has " + inWindow
                    + " between its oldest and newest, and " + all + " in its ring.");
        }
    }
}
