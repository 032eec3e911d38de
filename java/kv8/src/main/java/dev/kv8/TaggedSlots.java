package dev.kv8;

import java.util.Arrays;

/**
 * The table of a hash index: entries, each with 32 bits of its hash beside it, its tag. Decision: open addressing with linear probing in one
 * array, at most a quarter full, so that three of four searches end where they begin: what is not there costs a processor more
 * by branches that it can't foresee than the slots cost memory. A removal moves later entries back instead of leaving a mark, so
 * searches never get slower.
 *
 * <p>A search goes from {@link #home} by {@link #after} to the first empty slot. For the writer thread only.
 */
final class TaggedSlots {
    private static final long EMPTY = -1;

    /** The tag above the entry. */
    private final long[] slots;

    private final int mask;

    /** For the entries 0 to {@code entries} - 1. */
    TaggedSlots(int entries) {
        slots = new long[Math.multiplyExact(4, Integer.highestOneBit(2 * entries - 1))];
        mask = slots.length - 1;
        Arrays.fill(slots, EMPTY);
    }

    int home(int tag) {
        return tag & mask;
    }

    int after(int slot) {
        return (slot + 1) & mask;
    }

    boolean isEmpty(int slot) {
        return slots[slot] == EMPTY;
    }

    int tag(int slot) {
        return (int) (slots[slot] >>> 32);
    }

    /** -1 when the slot is empty. */
    int entry(int slot) {
        return (int) slots[slot];
    }

    /** {@code slot} is the first empty one of the tag's search, or has an entry of this tag that goes. */
    void put(int slot, int tag, int entry) {
        slots[slot] = value(tag, entry);
    }

    private static long value(int tag, int entry) {
        return (long) tag << 32 | entry;
    }

    /** Removes an entry that is in here. */
    void remove(int tag, int entry) {
        long removed = value(tag, entry);
        int gap = home(tag);
        while (slots[gap] != removed) {
            gap = after(gap);
        }
        for (int slot = after(gap); !isEmpty(slot); slot = after(slot)) {
            // An entry may fill the gap unless its home lies behind it, in the cyclic order of the slots.
            if (((slot - home(tag(slot))) & mask) >= ((slot - gap) & mask)) {
                slots[gap] = slots[slot];
                gap = slot;
            }
        }
        slots[gap] = EMPTY;
    }

    /** Reads what most operations on a tag will read; see {@link ReadAhead}. */
    long read(int tag) {
        return slots[home(tag)];
    }
}
