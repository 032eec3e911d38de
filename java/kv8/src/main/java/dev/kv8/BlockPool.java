package dev.kv8;

/**
 * Which blocks are free, which are cached, and how many tables hold each of the others. Decision: flat int arrays, a stack of
 * free blocks and a list of cached ones, so handing one out or taking it back is a few memory accesses; no object per block.
 *
 * <p>A block is in one of three states: free (on the stack), held (by one table or several), or cached: held by nobody, but
 * registered under the key of its content, to be shared again until its space is needed. A registered block is never written.
 *
 * <p>A fresh pool hands out block 0 first, and cached blocks only when none is free, the one given up longest ago first. Tables
 * give their blocks back tail first, so the next taker gets them in ascending order again, and of a cached chain the tail goes
 * before what it hangs on. For the writer thread only.
 */
final class BlockPool {
    /** What the index's arrays can address. */
    static final int MAX_BLOCKS = Integer.MAX_VALUE / (2 * PrefixIndex.KEY) + 1;

    private final int[] references;
    private final int[] freeStack;
    private final PrefixIndex index;
    private final LruList cached;
    private int free;
    private long allocated;
    private long evicted;
    private long generation;

    /** At most {@link #MAX_BLOCKS}. */
    BlockPool(int blocks) {
        references = new int[blocks];
        freeStack = new int[blocks];
        index = new PrefixIndex(blocks);
        cached = new LruList(blocks);
        free = blocks;
        for (int i = 0; i < blocks; i++) {
            freeStack[i] = blocks - 1 - i;
        }
    }

    /** A block with one reference; {@link #available} must be above 0. */
    int allocate() {
        int block = free > 0 ? freeStack[--free] : evict();
        references[block] = 1;
        allocated++;
        return block;
    }

    private int evict() {
        int block = cached.oldest();
        cached.remove(block);
        index.remove(block);
        evicted++;
        return block;
    }

    /** One more table holds {@code block}, which is held or cached. */
    void share(int block) {
        if (references[block] < 1) {
            if (!cached.contains(block)) {
                throw new IllegalStateException("Block " + block + " is free; it can't be shared.");
            }
            cached.remove(block);
        }
        references[block]++;
    }

    /** One table less holds {@code block}; the last one caches it when it is registered, else frees it. */
    void release(int block) {
        if (references[block] < 1) {
            throw new IllegalStateException("Block " + block + " is free; it can't be given back twice.");
        }
        if (--references[block] == 0) {
            if (index.contains(block)) {
                cached.addNewest(block);
            } else {
                free(block);
            }
        }
    }

    private void free(int block) {
        freeStack[free++] = block;
        if (free == references.length) {
            generation++;
        }
    }

    // ---- prefixes

    /** The block registered under a key; -1 when there is none. */
    int find(long[] key, int at) {
        return index.find(key, at);
    }

    /** Registers a held block under the key of its content, unless another one has the same. It must not be written after. */
    void register(int block, long[] key, int at) {
        index.add(block, key, at);
    }

    boolean isRegistered(int block) {
        return index.contains(block);
    }

    /** Forgets the key of a held block, which may be written then. */
    void unregister(int block) {
        index.remove(block);
    }

    /** Forgets all keys: cached blocks become free. */
    void unregisterAll() {
        for (int block = 0; index.size() > 0; block++) {
            if (index.contains(block)) {
                index.remove(block);
                if (references[block] == 0) {
                    cached.remove(block);
                    free(block);
                }
            }
        }
    }

    // ---- what there is

    int references(int block) {
        return references[block];
    }

    /** Blocks that {@link #allocate} can hand out: free and cached ones. */
    int available() {
        return free + cached.size();
    }

    int cached() {
        return cached.size();
    }

    int total() {
        return references.length;
    }

    /** Blocks ever handed out. */
    long allocated() {
        return allocated;
    }

    /** Cached blocks ever handed out. */
    long evicted() {
        return evicted;
    }

    /** Counts how often the pool became wholly free: nothing stored in an earlier generation exists any more. */
    long generation() {
        return generation;
    }

    /**
     * Checks that every block is in one state: on the free stack, once and not registered, or in the list of cached ones and
     * registered, or referenced.
     *
     * @throws IllegalStateException naming the block that is not
     */
    void checkInvariants() {
        boolean[] seen = new boolean[references.length];
        for (int i = 0; i < free; i++) {
            int block = freeStack[i];
            if (seen[block]) {
                throw new IllegalStateException("Block " + block + " is on the free stack twice.");
            }
            seen[block] = true;
        }
        int unreferenced = 0;
        for (int block = 0; block < references.length; block++) {
            int states = (seen[block] ? 1 : 0) + (cached.contains(block) ? 1 : 0) + (references[block] > 0 ? 1 : 0);
            if (states != 1) {
                throw new IllegalStateException("Block " + block + " has " + references[block] + " references and is "
                        + (seen[block] ? "" : "not ") + "on the free stack and "
                        + (cached.contains(block) ? "" : "not ") + "cached.");
            }
            if (references[block] == 0) {
                unreferenced++;
                if (index.contains(block) == seen[block]) {
                    throw new IllegalStateException("Block " + block + " is " + (seen[block] ? "free" : "cached")
                            + " and is " + (index.contains(block) ? "" : "not ") + "registered.");
                }
            }
        }
        if (unreferenced != available()) {
            throw new IllegalStateException(
                    unreferenced + " blocks have no reference, but " + available() + " can be handed out.");
        }
    }
}
