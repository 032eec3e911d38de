package dev.kv8;

/**
 * Finds the entry that has a 64-bit fingerprint. Half of a fingerprint's hash lies in {@link TaggedSlots}, so no other entry's
 * fingerprint is read.
 *
 * <p>The fingerprints are the owner's array, one for each entry, and must not change while an entry is in here.
 */
final class FingerprintIndex {
    /** No entry has the fingerprint. */
    static final int ABSENT = -1;

    /** 2^64 divided by the golden ratio: spreads fingerprints that differ in few bits (Knuth, volume 3, section 6.4). */
    private static final long SPREAD = 0x9E3779B97F4A7C15L;

    private final long[] fingerprints;
    private final TaggedSlots slots;

    FingerprintIndex(long[] fingerprints) {
        this.fingerprints = fingerprints;
        slots = new TaggedSlots(fingerprints.length);
    }

    /** The entry that has {@code fingerprint}, or {@link #ABSENT}. */
    int find(long fingerprint) {
        return slots.entry(slotFor(fingerprint, tag(fingerprint)));
    }

    /** The slot of the fingerprint's entry, or the empty one where it would be. */
    private int slotFor(long fingerprint, int tag) {
        int slot = slots.home(tag);
        while (!slots.isEmpty(slot) && !(slots.tag(slot) == tag && fingerprints[slots.entry(slot)] == fingerprint)) {
            slot = slots.after(slot);
        }
        return slot;
    }

    /** Adds {@code entry} instead of the one that had its fingerprint; that one, or {@link #ABSENT}. */
    int add(int entry) {
        long fingerprint = fingerprints[entry];
        int tag = tag(fingerprint);
        int slot = slotFor(fingerprint, tag);
        int before = slots.entry(slot);
        slots.put(slot, tag, entry);
        return before;
    }

    /** Removes {@code entry}, which is in here. */
    void remove(int entry) {
        slots.remove(tag(fingerprints[entry]), entry);
    }

    /** Reads what most searches for {@code fingerprint} will read, and most removals; see {@link ReadAhead}. */
    long read(long fingerprint) {
        return slots.read(tag(fingerprint));
    }

    private static int tag(long fingerprint) {
        return (int) ((fingerprint * SPREAD) >>> 32);
    }
}
