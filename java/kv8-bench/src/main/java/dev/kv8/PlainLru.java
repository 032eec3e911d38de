package dev.kv8;

import java.util.Arrays;

/**
 * The least that a pool of cached blocks does, to tell what of an operation's time is the machine's: one list in the order of use, int arrays,
 * keys of 64 bits in an open-addressing table a quarter full. No check, no priority, no second kind of block, nothing read ahead.
 */
final class PlainLru {
    private static final int EMPTY = -1;

    /** By block, and for the list's ends by the number of blocks. */
    private final int[] previous;

    private final int[] next;
    private final int[] references;
    private final long[] keys;
    private final long[] slotKeys;
    private final int[] slotBlocks;
    private final int end;
    private final int mask;

    PlainLru(int blocks) {
        end = blocks;
        previous = new int[blocks + 1];
        next = new int[blocks + 1];
        previous[end] = end;
        next[end] = end;
        references = new int[blocks];
        keys = new long[blocks];
        int slots = Integer.highestOneBit(8 * blocks - 1);
        mask = slots - 1;
        slotKeys = new long[slots];
        slotBlocks = new int[slots];
        Arrays.fill(slotBlocks, EMPTY);
    }

    /** Registers a block that is not idle, holds it once and gives it back. */
    void fill(int block, long key) {
        register(block, key);
        references[block] = 1;
        release(block);
    }

    /** Evicts the block that was idle for longest. */
    int allocate() {
        int block = next[end];
        unlink(block);
        forget(keys[block]);
        references[block] = 1;
        return block;
    }

    void register(int block, long key) {
        int slot = slotFor(key);
        if (slotBlocks[slot] == EMPTY) {
            slotKeys[slot] = key;
            slotBlocks[slot] = block;
            keys[block] = key;
        }
    }

    void release(int block) {
        if (--references[block] == 0) {
            int last = previous[end];
            next[last] = block;
            previous[block] = last;
            next[block] = end;
            previous[end] = block;
        }
    }

    int find(long key) {
        return slotBlocks[slotFor(key)];
    }

    int take(long key) {
        int block = find(key);
        if (references[block]++ == 0) {
            unlink(block);
        }
        return block;
    }

    long key(int block) {
        return keys[block];
    }

    private void unlink(int block) {
        int before = previous[block];
        int after = next[block];
        next[before] = after;
        previous[after] = before;
    }

    private int home(long key) {
        return (int) (key >>> 20) & mask;
    }

    private int slotFor(long key) {
        int slot = home(key);
        while (slotBlocks[slot] != EMPTY && slotKeys[slot] != key) {
            slot = (slot + 1) & mask;
        }
        return slot;
    }

    /** Keys behind the one that goes move up, so that none is behind a gap (Knuth, volume 3, section 6.4, algorithm R). */
    private void forget(long key) {
        int gap = slotFor(key);
        for (int slot = (gap + 1) & mask; slotBlocks[slot] != EMPTY; slot = (slot + 1) & mask) {
            int distance = (slot - home(slotKeys[slot])) & mask;
            if (distance >= ((slot - gap) & mask)) {
                slotKeys[gap] = slotKeys[slot];
                slotBlocks[gap] = slotBlocks[slot];
                gap = slot;
            }
        }
        slotBlocks[gap] = EMPTY;
    }
}
