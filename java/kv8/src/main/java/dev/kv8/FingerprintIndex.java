package dev.kv8;

import java.util.Arrays;

/**
 * Finds the entry that has a 64-bit fingerprint. Decision: open addressing with linear probing in one int array, at most half
 * full; a removal moves later entries of its run forward instead of leaving a mark, so lookups never get slower.
 *
 * <p>The fingerprints are the owner's array, one for each entry, and must not change while an entry is in here.
 */
final class FingerprintIndex {
    /** No entry has the fingerprint. */
    static final int ABSENT = -1;

    /** 2^64 divided by the golden ratio: spreads fingerprints that differ in few bits (Knuth, volume 3, section 6.4). */
    private static final long SPREAD = 0x9E3779B97F4A7C15L;

    private final long[] fingerprints;
    private final int[] slots;
    private final int shift;

    FingerprintIndex(long[] fingerprints) {
        this.fingerprints = fingerprints;
        int bits = Integer.SIZE - Integer.numberOfLeadingZeros(Math.max(1, 2 * fingerprints.length - 1));
        slots = new int[1 << bits];
        shift = Long.SIZE - bits;
        Arrays.fill(slots, ABSENT);
    }

    /** The entry that has {@code fingerprint}, or {@link #ABSENT}. */
    int find(long fingerprint) {
        for (int slot = home(fingerprint); slots[slot] != ABSENT; slot = after(slot)) {
            if (fingerprints[slots[slot]] == fingerprint) {
                return slots[slot];
            }
        }
        return ABSENT;
    }

    /** Adds {@code entry}, whose fingerprint no other has. */
    void add(int entry) {
        int slot = home(fingerprints[entry]);
        while (slots[slot] != ABSENT) {
            slot = after(slot);
        }
        slots[slot] = entry;
    }

    /** Removes {@code entry}, which is in here. */
    void remove(int entry) {
        int gap = home(fingerprints[entry]);
        while (slots[gap] != entry) {
            gap = after(gap);
        }
        for (int slot = after(gap); slots[slot] != ABSENT; slot = after(slot)) {
            int home = home(fingerprints[slots[slot]]);
            // The entry may fill the gap unless its home lies behind it, in the cyclic order of the slots.
            if (distance(home, slot) >= distance(gap, slot)) {
                slots[gap] = slots[slot];
                gap = slot;
            }
        }
        slots[gap] = ABSENT;
    }

    private int home(long fingerprint) {
        return (int) ((fingerprint * SPREAD) >>> shift);
    }

    private int after(int slot) {
        return (slot + 1) & (slots.length - 1);
    }

    private int distance(int from, int to) {
        return (to - from) & (slots.length - 1);
    }
}
