package dev.kv8;

import java.util.Arrays;

/**
 * From the key of a full block to the block that holds it. Decision: open addressing with linear probing over flat arrays, at
 * most half full, sized once; a removal moves later entries back instead of leaving a mark, so the index never wears out. 32
 * bits of a key lie in its slot and say where to look, so other keys are seldom read; all 256 are compared, so a wrong block is
 * never found.
 *
 * <p>A key is four longs of a longer array, beginning at {@code at}. For the writer thread only.
 */
final class PrefixIndex {
    /** Longs of a key. */
    static final int KEY = 4;

    private static final int EMPTY = -1;

    /** By block, {@link #KEY} longs each. */
    private final long[] keys;
    /** By block: the bits of its key that lie in its slot. */
    private final int[] tags;

    private final boolean[] present;

    /** The first 32 bits of a key above its block, or {@link #EMPTY}, which is block -1. */
    private final long[] slots;

    private final int mask;
    /** Which bits of a key's first 32 lie in the slot. */
    private final int tagMask;

    private int size;

    PrefixIndex(int blocks) {
        this(blocks, Integer.SIZE);
    }

    /** With fewer than 32 bits of a key in a slot, for tests: nearly every key then meets others of the same hash. */
    PrefixIndex(int blocks, int hashBits) {
        tagMask = hashBits == Integer.SIZE ? -1 : (1 << hashBits) - 1;
        keys = new long[KEY * blocks];
        tags = new int[blocks];
        present = new boolean[blocks];
        slots = new long[Math.max(2, Integer.highestOneBit(2 * blocks - 1) << 1)];
        mask = slots.length - 1;
        Arrays.fill(slots, EMPTY);
    }

    /** The block with that key; -1 when there is none. */
    int find(long[] key, int at) {
        return block(slotFor(key, at));
    }

    /** The slot of the key's block, or the empty one where it would be. */
    private int slotFor(long[] key, int at) {
        int tag = (int) key[at] & tagMask;
        int slot = tag & mask;
        while (slots[slot] != EMPTY && !(tag(slot) == tag && hasKey(block(slot), key, at))) {
            slot = (slot + 1) & mask;
        }
        return slot;
    }

    private static long entry(int tag, int block) {
        return (long) tag << 32 | block;
    }

    private int block(int slot) {
        return (int) slots[slot];
    }

    private int tag(int slot) {
        return (int) (slots[slot] >>> 32);
    }

    private boolean hasKey(int block, long[] key, int at) {
        int own = KEY * block;
        return keys[own] == key[at]
                && keys[own + 1] == key[at + 1]
                && keys[own + 2] == key[at + 2]
                && keys[own + 3] == key[at + 3];
    }

    /** Reads what a search for a key will read first; see {@link ReadAhead}. */
    long read(long[] key, int at) {
        return readRun((int) key[at] & tagMask & mask);
    }

    /** Reads what removing a block will read. */
    long read(int block) {
        return readRun(tags[block] & mask);
    }

    private long readRun(int home) {
        return slots[home] + slots[(home + ReadAhead.RUN) & mask];
    }

    /** Reads where {@link #add} will write a block's key. */
    long readKey(int block) {
        return keys[KEY * block] + tags[block] + (present[block] ? 1 : 0);
    }

    /** The block that {@link #find} will compare with a key first; any when it will find none. */
    int candidate(long[] key, int at) {
        int tag = (int) key[at] & tagMask;
        int slot = tag & mask;
        while (slots[slot] != EMPTY && tag(slot) != tag) {
            slot = (slot + 1) & mask;
        }
        return Math.max(0, block(slot));
    }

    /** Adds a block that is not in the index; false, and nothing changes, when another one has its key. */
    boolean add(int block, long[] key, int at) {
        int slot = slotFor(key, at);
        if (slots[slot] != EMPTY) {
            return false;
        }
        System.arraycopy(key, at, keys, KEY * block, KEY);
        int tag = (int) key[at] & tagMask;
        slots[slot] = entry(tag, block);
        tags[block] = tag;
        present[block] = true;
        size++;
        return true;
    }

    /** The key under which the block is in the index, or was last. */
    BlockKey key(int block) {
        return BlockKey.of(keys, KEY * block);
    }

    boolean contains(int block) {
        return present[block];
    }

    /** Blocks in the index. */
    int size() {
        return size;
    }

    /** {@code block} must be in the index. */
    void remove(int block) {
        long removed = entry(tags[block], block);
        int hole = tags[block] & mask;
        while (slots[hole] != removed) {
            hole = (hole + 1) & mask;
        }
        present[block] = false;
        size--;
        // What lies behind and began its search at or before the hole moves into it.
        for (int slot = (hole + 1) & mask; slots[slot] != EMPTY; slot = (slot + 1) & mask) {
            int home = tag(slot) & mask;
            if (((slot - home) & mask) >= ((slot - hole) & mask)) {
                slots[hole] = slots[slot];
                hole = slot;
            }
        }
        slots[hole] = EMPTY;
    }
}
