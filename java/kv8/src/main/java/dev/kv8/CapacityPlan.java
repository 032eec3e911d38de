package dev.kv8;

import java.util.List;

/**
 * What a cache of a given configuration holds.
 *
 * @param blocks in the pool
 * @param blockSize tokens in a block
 * @param blockBytes of one block, scales stored in it included: over all layers, or those of one group
 * @param groupWindows for each {@linkplain KvCacheConfig#layerGroups group of layers}, whose blocks hold the same tokens: keys that a
 *     query sees, 0 for all, the widest view first; one where a block has all layers
 */
public record CapacityPlan(int blocks, int blockSize, long blockBytes, List<Integer> groupWindows) {

    public CapacityPlan {
        groupWindows = List.copyOf(groupWindows);
        if (groupWindows.isEmpty()) {
            throw new IllegalArgumentException("groupWindows is empty; a cache has at least one group of layers.");
        }
    }

    /** What a cache of this configuration holds. */
    public static CapacityPlan of(KvCacheConfig config) {
        return new CapacityPlan(
                config.blocks(),
                config.blockSize(),
                config.blockBytes(),
                config.groups().windows());
    }

    /**
     * Tokens of one text that fit. Where some groups of layers have a window and others none, those hold the window and a step of one
     * block; a window that all layers have is not counted on.
     */
    public long tokens() {
        long most = (long) blocks / groupWindows.size();
        if (groupWindows.get(0) == 0) {
            long low = most;
            long high = blocks;
            while (low < high) { // blocks of a text grow with its length
                long middle = (low + high + 1) / 2;
                if (blocksOf(middle) <= blocks) {
                    low = middle;
                } else {
                    high = middle - 1;
                }
            }
            most = low;
        }
        return most * blockSize;
    }

    /** Blocks of all groups that a text of so many blocks holds at most, when it is computed a block at a time. */
    private long blocksOf(long textBlocks) {
        long all = 0;
        for (int window : groupWindows) {
            all += window == 0 ? textBlocks : Math.min(textBlocks, (window + 2L * (blockSize - 1) - 1) / blockSize + 1);
        }
        return all;
    }

    /** Of a token that no layer has forgotten. */
    public double bytesPerToken() {
        return (double) groupWindows.size() * blockBytes / blockSize;
    }

    /** Tokens, with all layers, that a tier of so many bytes keeps: a block has a header there. */
    public long tokensInTier(ByteSize size) {
        return size.bytes() / (BlockFrame.HEADER + blockBytes) / groupWindows.size() * blockSize;
    }

    /** Bytes of the whole pool. */
    public long poolBytes() {
        return blocks * blockBytes;
    }

    /**
     * Sequences of {@code tokensPerSequence} tokens that fit beside each other when they share nothing. As in {@link #tokens}, windows count
     * where layers differ.
     */
    public int sequences(int tokensPerSequence) {
        if (tokensPerSequence < 1) {
            throw new IllegalArgumentException("A sequence has at least one token, not " + tokensPerSequence + ".");
        }
        long textBlocks = (tokensPerSequence - 1L) / blockSize + 1;
        return (int) (blocks / (groupWindows.size() == 1 ? textBlocks : blocksOf(textBlocks)));
    }
}
