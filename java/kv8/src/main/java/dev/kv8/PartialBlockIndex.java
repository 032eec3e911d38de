package dev.kv8;

import java.util.Arrays;

/**
 * Finds registered blocks that begin with the same tokens as a prompt goes on with: candidates for a copy of their beginning.
 * Decision: a part is worth a copy from 8 tokens or half a block on, so all candidates have these first tokens of the prompt in
 * common, and the hash of the parent's key and of them finds them at once, whatever the number of blocks behind one parent. Blocks of one hash
 * are linked through int arrays; the newest {@link #MOST_COMPARED} of them are looked at, so nobody's prompts make others slow. Those
 * of another parent do not count, or one with more tokens in common would hide the right one.
 *
 * <p>What it finds is a guess: two parents' keys may begin alike. Whoever uses it makes the candidate's key from the parent's key
 * and {@link #tokens}, and asks the {@link PrefixIndex} for that. For the writer thread only.
 */
final class PartialBlockIndex implements BlockPool.Unregistered {
    /** Nothing found. */
    static final int NONE = -1;

    /** Candidates that one search compares. */
    static final int MOST_COMPARED = 16;

    /** Of larger blocks half would be too much to ask: at 128 tokens, 63 would be computed again. */
    private static final int MOST_HASHED = 8;

    private static final int UNLINKED = Integer.MIN_VALUE;
    private static final int BLOCKS_PER_PAGE = 4096;
    private static final long SPREAD = 0x9E3779B97F4A7C15L;

    private final int blockSize;
    /** By page, then by block: its tokens. Pages, because those of all blocks may be more than one array holds. */
    private final int[][] tokens;

    /** By block: what its parent's key begins with. */
    private final long[] parents;

    private final int[] heads;
    /** By block: the next of its hash, or NONE. */
    private final int[] next;
    /** By block: the one before, the complement of its place in {@link #heads} when it is the first, or UNLINKED. */
    private final int[] previous;

    private final int shift;

    PartialBlockIndex(int blocks, int blockSize) {
        this.blockSize = blockSize;
        tokens = new int[(blocks - 1) / BLOCKS_PER_PAGE + 1][];
        for (int page = 0; page < tokens.length; page++) {
            tokens[page] = new int[Math.min(BLOCKS_PER_PAGE, blocks - page * BLOCKS_PER_PAGE) * blockSize];
        }
        int bits = Math.max(1, Integer.SIZE - Integer.numberOfLeadingZeros(blocks - 1));
        heads = new int[1 << bits];
        shift = Long.SIZE - bits;
        parents = new long[blocks];
        next = new int[blocks];
        previous = new int[blocks];
        Arrays.fill(heads, NONE);
        Arrays.fill(previous, UNLINKED);
    }

    /** Fewest tokens that a copy is made for. */
    int leastRun() {
        return Math.min(MOST_HASHED, blockSize / 2);
    }

    /** Adds a block that holds the tokens from {@code from} on; {@code parent} is of its parent's key. */
    void add(int block, long parent, int[] source, int from) {
        remove(block);
        System.arraycopy(source, from, page(block), at(block), blockSize);
        parents[block] = parent;
        int place = place(parent, source, from);
        int second = heads[place];
        next[block] = second;
        previous[block] = ~place;
        if (second != NONE) {
            previous[second] = block;
        }
        heads[place] = block;
    }

    /** Removes a block, if it is in here. */
    @Override
    public void remove(int block) {
        int before = previous[block];
        if (before == UNLINKED) {
            return;
        }
        if (before >= 0) {
            next[before] = next[block];
        } else {
            heads[~before] = next[block];
        }
        if (next[block] != NONE) {
            previous[next[block]] = before;
        }
        previous[block] = UNLINKED;
    }

    /** The first step: a place in {@link #heads}, or another block's, is read next. */
    @Override
    public long read(int block) {
        int before = previous[block];
        return (long) next[block] + (before >= 0 ? next[before] : before == UNLINKED ? 0 : heads[~before]);
    }

    /** Reads what adding a block will read; see {@link ReadAhead}. */
    long read(int block, long parent, int[] source, int from) {
        return (long) heads[place(parent, source, from)]
                + previous[block]
                + next[block]
                + parents[block]
                + page(block)[at(block)];
    }

    /**
     * The block of that parent with the longest run of the tokens from {@code from} on, {@link #leastRun} of them at least, which must be
     * there; the newest of equals, or NONE.
     */
    int find(long parent, int[] wanted, int from, int most) {
        int best = NONE;
        int longest = leastRun() - 1;
        int compared = 0;
        for (int block = heads[place(parent, wanted, from)];
                block != NONE && compared < MOST_COMPARED;
                block = next[block], compared++) {
            int run = parents[block] == parent ? run(block, wanted, from, most) : 0;
            if (run > longest) {
                longest = run;
                best = block;
            }
        }
        return best;
    }

    /** How many of the {@code most} tokens from {@code from} on the block begins with. */
    int run(int block, int[] wanted, int from, int most) {
        int mismatch = Arrays.mismatch(
                page(block), at(block), at(block) + blockSize, wanted, from, from + Math.min(most, blockSize));
        return mismatch < 0 ? blockSize : mismatch;
    }

    /** The array that a block's tokens are in, from {@link #at} on. */
    int[] page(int block) {
        return tokens[block / BLOCKS_PER_PAGE];
    }

    int at(int block) {
        return block % BLOCKS_PER_PAGE * blockSize;
    }

    private int place(long parent, int[] source, int from) {
        long hash = parent;
        for (int i = from; i < from + leastRun(); i++) {
            hash = (hash ^ source[i]) * SPREAD;
            hash ^= hash >>> 32;
        }
        return (int) ((hash * SPREAD) >>> shift);
    }
}
