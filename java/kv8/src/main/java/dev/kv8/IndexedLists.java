package dev.kv8;

/**
 * Several doubly linked lists over the numbers 0 to n - 1, each of which is in one list at most. Decision: one int array with a record of 16 bytes
 * for each element, so that what an operation needs of it is in one cache line, and a sentinel for each list, so that every operation is a few memory
 * accesses without a branch on the list's ends. A record's fourth int is for whoever knows more about the element: its note.
 */
final class IndexedLists {
    /** The list of an element that is in none. */
    static final int NONE = -1;

    private static final int RECORD = 4;
    private static final int PREVIOUS = 0;
    private static final int NEXT = 1;
    private static final int LIST = 2;
    private static final int NOTE = 3;

    private final int elements;
    /** Of the elements, then of the sentinels. */
    private final int[] records;

    private final int[] sizes;

    /** All notes are 0. */
    IndexedLists(int elements, int lists) {
        this.elements = elements;
        records = new int[Math.multiplyExact(RECORD, elements + lists)];
        sizes = new int[lists];
        for (int element = 0; element < elements + lists; element++) {
            link(element, element);
            records[RECORD * element + LIST] = NONE;
        }
    }

    private int previous(int element) {
        return records[RECORD * element + PREVIOUS];
    }

    private int next(int element) {
        return records[RECORD * element + NEXT];
    }

    private void link(int before, int after) {
        records[RECORD * before + NEXT] = after;
        records[RECORD * after + PREVIOUS] = before;
    }

    /** Appends {@code element}, which is in no list. */
    void append(int list, int element) {
        int sentinel = elements + list;
        link(previous(sentinel), element);
        link(element, sentinel);
        records[RECORD * element + LIST] = list;
        sizes[list]++;
    }

    /** Removes {@code element} from the list that it is in. */
    void remove(int element) {
        link(previous(element), next(element));
        sizes[listOf(element)]--;
        records[RECORD * element + LIST] = NONE;
    }

    /** The element appended before all others of {@code list}, which is not empty. */
    int first(int list) {
        return next(elements + list);
    }

    /** The element appended behind {@code element}; {@link #NONE} behind the last one. */
    int after(int element) {
        int after = next(element);
        return after < elements ? after : NONE;
    }

    /** Puts the elements at the front of {@code list} into {@code target}, {@code most} at most; their number. */
    int front(int list, int[] target, int from, int most) {
        int count = Math.min(most, sizes[list]);
        int at = elements + list;
        for (int i = 0; i < count; i++) {
            at = next(at);
            target[from + i] = at;
        }
        return count;
    }

    /** Reads what appending or removing the first {@code count} elements will read, of them and then of their neighbours; see {@link ReadAhead}. */
    long read(int[] some, int count) {
        long sum = 0;
        for (int i = 0; i < count; i++) {
            sum += listOf(some[i]);
        }
        for (int i = 0; i < count; i++) {
            sum += next(previous(some[i])) + previous(next(some[i]));
        }
        return sum;
    }

    /** The list that {@code element} is in, or {@link #NONE}. */
    int listOf(int element) {
        return records[RECORD * element + LIST];
    }

    int note(int element) {
        return records[RECORD * element + NOTE];
    }

    void setNote(int element, int note) {
        records[RECORD * element + NOTE] = note;
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
            if (listOf(element) != NONE) {
                members[listOf(element)]++;
            }
        }
        for (int list = 0; list < sizes.length; list++) {
            int linked = 0;
            int last = elements + list;
            for (int at = next(last); at != elements + list && linked <= elements; at = next(at)) {
                if (listOf(at) != list || previous(at) != last) {
                    throw new IllegalStateException("Element " + at + " is linked in list " + list + " after " + last
                            + ", but belongs to list " + listOf(at) + " after " + previous(at) + ".");
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
