package dev.kv8;

/**
 * Which blocks are free and how many tables hold each of the others. Decision: flat int arrays and a stack of free blocks, so
 * handing one out or taking it back is a few memory accesses; no object per block.
 *
 * <p>A fresh pool hands out block 0 first. Tables give their blocks back tail first, so the next taker gets them in
 * ascending order again. For the writer thread only.
 */
final class BlockPool {
    private final int[] references;
    private final int[] freeStack;
    private int free;
    private long allocated;
    private long generation;

    BlockPool(int blocks) {
        references = new int[blocks];
        freeStack = new int[blocks];
        free = blocks;
        for (int i = 0; i < blocks; i++) {
            freeStack[i] = blocks - 1 - i;
        }
    }

    /** A block with one reference; {@link #free} must be above 0. */
    int allocate() {
        int block = freeStack[--free];
        references[block] = 1;
        allocated++;
        return block;
    }

    /** One more table holds {@code block}. */
    void share(int block) {
        if (references[block] < 1) {
            throw new IllegalStateException("Block " + block + " is free; it can't be shared.");
        }
        references[block]++;
    }

    /** One table less holds {@code block}; the last one frees it. */
    void release(int block) {
        if (references[block] < 1) {
            throw new IllegalStateException("Block " + block + " is free; it can't be given back twice.");
        }
        if (--references[block] == 0) {
            freeStack[free++] = block;
            if (free == references.length) {
                generation++;
            }
        }
    }

    int references(int block) {
        return references[block];
    }

    int free() {
        return free;
    }

    int total() {
        return references.length;
    }

    /** Blocks ever handed out. */
    long allocated() {
        return allocated;
    }

    /** Counts how often the pool became wholly free: nothing stored in an earlier generation exists any more. */
    long generation() {
        return generation;
    }

    /**
     * Checks that every block is either on the free stack, once, or referenced.
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
        for (int block = 0; block < references.length; block++) {
            if (seen[block] != (references[block] == 0)) {
                throw new IllegalStateException("Block " + block + " has " + references[block] + " references and is "
                        + (seen[block] ? "" : "not ") + "on the free stack.");
            }
        }
    }
}
