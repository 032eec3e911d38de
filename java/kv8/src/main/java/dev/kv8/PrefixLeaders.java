package dev.kv8;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Who is about to compute a block, by the block's key: so that a sequence that needs the same block can wait for it instead. Of
 * each sequence only the next block is in here, and only when its tokens are all known: who follows shares every block before
 * that one already, and asks again when it is there. Decision: open addressing, as in {@link PrefixIndex}, that grows with the
 * number of sequences; all 256 bits are compared.
 *
 * <p>A table leads one block at a time, {@link BlockTable#leads} says whether it does. For the writer thread only.
 */
final class PrefixLeaders {
    private @Nullable BlockTable[] leaders = new BlockTable[16];
    /** By slot, {@link PrefixIndex#KEY} longs each. */
    private long[] keys = new long[16 * PrefixIndex.KEY];

    private int size;

    /** Who computes the block with that key; null when nobody does. */
    @Nullable
    BlockTable find(long[] key, int at) {
        int slot = home(key[at]);
        while (leaders[slot] != null && !hasKey(slot, key, at)) {
            slot = after(slot);
        }
        return leaders[slot];
    }

    private boolean hasKey(int slot, long[] key, int at) {
        int own = slot * PrefixIndex.KEY;
        return Arrays.equals(keys, own, own + PrefixIndex.KEY, key, at, at + PrefixIndex.KEY);
    }

    /** Enters a table that leads no block; nobody leads this one. */
    void add(BlockTable table, long[] key, int at) {
        if (2 * (size + 1) > leaders.length) {
            grow();
        }
        int slot = home(key[at]);
        while (leaders[slot] != null) {
            slot = after(slot);
        }
        leaders[slot] = table;
        System.arraycopy(key, at, keys, slot * PrefixIndex.KEY, PrefixIndex.KEY);
        table.leads = true;
        table.ledFingerprint = key[at];
        size++;
    }

    private void grow() {
        @Nullable BlockTable[] before = leaders;
        long[] keysBefore = keys;
        leaders = new BlockTable[2 * before.length];
        keys = new long[2 * keysBefore.length];
        size = 0;
        for (int slot = 0; slot < before.length; slot++) {
            BlockTable table = before[slot];
            if (table != null) {
                add(table, keysBefore, slot * PrefixIndex.KEY);
            }
        }
    }

    /** Removes a table, if it leads a block. */
    void remove(BlockTable table) {
        if (!table.leads) {
            return;
        }
        table.leads = false;
        size--;
        int gap = home(table.ledFingerprint);
        while (leaders[gap] != table) {
            gap = after(gap);
        }
        leaders[gap] = null;
        for (int slot = after(gap); leaders[slot] != null; slot = after(slot)) {
            int home = home(keys[slot * PrefixIndex.KEY]);
            // What began its search at or before the gap moves into it.
            if (((slot - home) & (leaders.length - 1)) >= ((slot - gap) & (leaders.length - 1))) {
                leaders[gap] = leaders[slot];
                leaders[slot] = null;
                System.arraycopy(keys, slot * PrefixIndex.KEY, keys, gap * PrefixIndex.KEY, PrefixIndex.KEY);
                gap = slot;
            }
        }
    }

    /** Removes all. */
    void clear() {
        for (int slot = 0; slot < leaders.length; slot++) {
            BlockTable table = leaders[slot];
            if (table != null) {
                table.leads = false;
                leaders[slot] = null;
            }
        }
        size = 0;
    }

    int size() {
        return size;
    }

    private int home(long fingerprint) {
        return (int) fingerprint & (leaders.length - 1);
    }

    private int after(int slot) {
        return (slot + 1) & (leaders.length - 1);
    }
}
