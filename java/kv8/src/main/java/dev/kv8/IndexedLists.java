package dev.kv8;

import java.util.Arrays;

/**
 * Several doubly linked lists over the numbers 0 to n - 1, each of which is in one list at most. Decision: two int arrays
 * with a sentinel for each list, so that every operation is a few memory accesses without a branch on the list's ends.
 */
final class IndexedLists {
    /** The list of an element that is in none. */
    static final int NONE = -1;

    private final int elements;
    private final int[] previous;
    private final int[] next;
    private final byte[] listOf;
    private final int[] sizes;

    IndexedLists(int elements, int lists) {
        this.elements = elements;
        previous = new int[elements + lists];
        next = new int[elements + lists];
        listOf = new byte[elements];
        sizes = new int[lists];
        Arrays.fill(listOf, (byte) NONE);
        for (int sentinel = elements; sentinel < elements + lists; sentinel++) {
            previous[sentinel] = sentinel;
            next[sentinel] = sentinel;
        }
    }

    /** Appends {@code element}, which is in no list. */
    void append(int list, int element) {
        int sentinel = elements + list;
        int last = previous[sentinel];
        previous[element] = last;
        next[element] = sentinel;
        next[last] = element;
        previous[sentinel] = element;
        listOf[element] = (byte) list;
        sizes[list]++;
    }

    /** Removes {@code element} from the list that it is in. */
    void remove(int element) {
        int before = previous[element];
        int after = next[element];
        next[before] = after;
        previous[after] = before;
        sizes[listOf[element]]--;
        listOf[element] = (byte) NONE;
    }

    /** Moves {@code element} from the list that it is in to the end of another one, or of the same. */
    void move(int list, int element) {
        remove(element);
        append(list, element);
    }

    /** The element appended before all others of {@code list}, which is not empty. */
    int first(int list) {
        return next[elements + list];
    }

    /** The element appended behind {@code element}; {@link #NONE} behind the last one. */
    int after(int element) {
        int after = next[element];
        return after < elements ? after : NONE;
    }

    /** Puts the elements at the front of {@code list} into {@code target}, {@code most} at most; their number. */
    int front(int list, int[] target, int from, int most) {
        int count = Math.min(most, sizes[list]);
        int at = elements + list;
        for (int i = 0; i < count; i++) {
            at = next[at];
            target[from + i] = at;
        }
        return count;
    }

    /** Reads what appending or removing the first {@code count} elements will read, of them and then of their neighbours; see {@link ReadAhead}. */
    long read(int[] some, int count) {
        long sum = 0;
        for (int i = 0; i < count; i++) {
            sum += previous[some[i]] + next[some[i]] + listOf[some[i]];
        }
        for (int i = 0; i < count; i++) {
            if (listOf[some[i]] != NONE) {
                sum += next[previous[some[i]]] + previous[next[some[i]]];
            }
        }
        return sum;
    }

    /** The list that {@code element} is in, or {@link #NONE}. */
    int listOf(int element) {
        return listOf[element];
    }

    int size(int list) {
        return sizes[list];
    }

    /**
     * Checks that links, memberships and sizes agree.
     *
     * @throws IllegalStateException naming the list where they do not
     */
    void checkInvariants() {
        int[] members = new int[sizes.length];
        for (int element = 0; element < elements; element++) {
            if (listOf[element] != NONE) {
                members[listOf[element]]++;
            }
        }
        for (int list = 0; list < sizes.length; list++) {
            int linked = 0;
            int last = elements + list;
            for (int at = next[last]; at != elements + list && linked <= elements; at = next[at]) {
                if (listOf[at] != list || previous[at] != last) {
                    throw new IllegalStateException("Element " + at + " is linked in list " + list + " after " + last
                            + ", but belongs to list " + listOf[at] + " after " + previous[at] + ".");
                }
                last = at;
                linked++;
            }
            if (linked != sizes[list] || members[list] != sizes[list]) {
                throw new IllegalStateException("List " + list + " counts " + sizes[list] + " elements, links " + linked
                        + " and has " + members[list] + ".");
            }
        }
    }
}
