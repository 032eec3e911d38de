package dev.kv8;

import java.util.Arrays;

/**
 * Finds the entry that has a 64-bit fingerprint. Decision: open addressing with linear probing in one array, at most half
 * full; a removal moves later entries of its run forward instead of leaving a mark, so lookups never get slower. 32 bits of a
 * fingerprint's hash lie beside its entry and say where its search begins, so no other entry's fingerprint is read, and an
 * operation touches one or two cache lines of the table, however large it is.
 *
 * <p>The fingerprints are the owner's array, one for each entry, and must not change while an entry is in here.
 */
final class FingerprintIndex {
    /** No entry has the fingerprint. */
    static final int ABSENT = -1;

    /** 2^64 divided by the golden ratio: spreads fingerprints that differ in few bits (Knuth, volume 3, section 6.4). */
    private static final long SPREAD = 0x9E3779B97F4A7C15L;

    private static final long EMPTY = -1;

    private final long[] fingerprints;
    /** 32 bits of an entry's hash above the entry, or {@link #EMPTY}, which is entry -1. */
    private final long[] slots;
    /** From 32 bits of a hash to its home. */
    private final int shift;

    FingerprintIndex(long[] fingerprints) {
        this.fingerprints = fingerprints;
        int bits = Integer.SIZE - Integer.numberOfLeadingZeros(Math.max(1, 2 * fingerprints.length - 1));
        slots = new long[1 << bits];
        shift = Integer.SIZE - bits;
        Arrays.fill(slots, EMPTY);
    }

    /** The entry that has {@code fingerprint}, or {@link #ABSENT}. */
    int find(long fingerprint) {
        int hash = hash(fingerprint);
        for (int slot = home(hash); slots[slot] != EMPTY; slot = after(slot)) {
            if (hashAt(slot) == hash && fingerprints[entryAt(slot)] == fingerprint) {
                return entryAt(slot);
            }
        }
        return ABSENT;
    }

    /** Adds {@code entry}, whose fingerprint no other has. */
    void add(int entry) {
        int hash = hash(fingerprints[entry]);
        int slot = home(hash);
        while (slots[slot] != EMPTY) {
            slot = after(slot);
        }
        slots[slot] = (long) hash << 32 | entry;
    }

    /** Removes {@code entry}, which is in here. */
    void remove(int entry) {
        int gap = home(hash(fingerprints[entry]));
        while (entryAt(gap) != entry) {
            gap = after(gap);
        }
        for (int slot = after(gap); slots[slot] != EMPTY; slot = after(slot)) {
            // The entry may fill the gap unless its home lies behind it, in the cyclic order of the slots.
            if (distance(home(hashAt(slot)), slot) >= distance(gap, slot)) {
                slots[gap] = slots[slot];
                gap = slot;
            }
        }
        slots[gap] = EMPTY;
    }

    /** Reads what a search for {@code fingerprint} will read, and most removals; see {@link ReadAhead}. */
    long read(long fingerprint) {
        int home = home(hash(fingerprint));
        return slots[home] + slots[(home + ReadAhead.RUN) & (slots.length - 1)];
    }

    private static int hash(long fingerprint) {
        return (int) ((fingerprint * SPREAD) >>> 32);
    }

    private int home(int hash) {
        return hash >>> shift;
    }

    private int hashAt(int slot) {
        return (int) (slots[slot] >>> 32);
    }

    private int entryAt(int slot) {
        return (int) slots[slot];
    }

    private int after(int slot) {
        return (slot + 1) & (slots.length - 1);
    }

    private int distance(int from, int to) {
        return (to - from) & (slots.length - 1);
    }
}
