package dev.kv8;

/**
 * From the key of a full block to the block that holds it. Decision: flat arrays, sized once. 32 bits of a key lie in {@link TaggedSlots}
 * and say where to look, so other keys are seldom read; all 256 are compared, so a wrong block is never found.
 *
 * <p>A key is four longs of a longer array, beginning at {@code at}. For the writer thread only.
 */
final class PrefixIndex {
    /** Longs of a key. */
    static final int KEY = 4;

    /** By block, {@link #KEY} longs each. */
    private final long[] keys;

    private final boolean[] present;

    private final TaggedSlots slots;
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
        present = new boolean[blocks];
        slots = new TaggedSlots(blocks);
    }

    /** The block with that key; -1 when there is none. */
    int find(long[] key, int at) {
        return slots.entry(slotFor(key, at));
    }

    /** A block whose key's first bits, those of {@code mask}, are {@code bits}; -1 when there is none. The mask has 28 bits at least. */
    int find(int bits, int mask) {
        int slot = slots.home(bits & tagMask);
        while (!slots.isEmpty(slot) && ((int) keys[KEY * slots.entry(slot)] & mask) != bits) {
            slot = slots.after(slot);
        }
        return slots.entry(slot);
    }

    /** The slot of the key's block, or the empty one where it would be. */
    private int slotFor(long[] key, int at) {
        int tag = tag(key, at);
        int slot = slots.home(tag);
        while (!slots.isEmpty(slot) && !(slots.tag(slot) == tag && hasKey(slots.entry(slot), key, at))) {
            slot = slots.after(slot);
        }
        return slot;
    }

    private int tag(long[] key, int at) {
        return (int) key[at] & tagMask;
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
        return slots.read(tag(key, at));
    }

    /** Reads what removing a block will read. */
    long read(int block) {
        return slots.read(tag(keys, KEY * block));
    }

    /** Reads where {@link #add} will write a block's key. */
    long readKey(int block) {
        return keys[KEY * block] + (present[block] ? 1 : 0);
    }

    /** The block that {@link #find} will compare with a key first; any when it will find none. */
    int candidate(long[] key, int at) {
        int tag = tag(key, at);
        int slot = slots.home(tag);
        while (!slots.isEmpty(slot) && slots.tag(slot) != tag) {
            slot = slots.after(slot);
        }
        return Math.max(0, slots.entry(slot));
    }

    /** Adds a block that is not in the index; false, and nothing changes, when another one has its key. */
    boolean add(int block, long[] key, int at) {
        int slot = slotFor(key, at);
        if (!slots.isEmpty(slot)) {
            return false;
        }
        System.arraycopy(key, at, keys, KEY * block, KEY);
        slots.put(slot, tag(key, at), block);
        present[block] = true;
        size++;
        return true;
    }

    /** The first 64 bits of the key under which the block is in the index, or was last. */
    long fingerprint(int block) {
        return keys[KEY * block];
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
        slots.remove(tag(keys, KEY * block), block);
        present[block] = false;
        size--;
    }
}
