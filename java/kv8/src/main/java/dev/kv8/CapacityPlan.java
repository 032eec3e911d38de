package dev.kv8;

/**
 * What a cache of a given configuration holds.
 *
 * @param blocks in the pool
 * @param blockSize tokens in a block
 * @param blockBytes of one block over all layers, scales stored in it included
 */
public record CapacityPlan(int blocks, int blockSize, long blockBytes) {

    public static CapacityPlan of(KvCacheConfig config) {
        return new CapacityPlan(config.blocks(), config.blockSize(), config.blockBytes());
    }

    /** Tokens that fit. */
    public long tokens() {
        return (long) blocks * blockSize;
    }

    public double bytesPerToken() {
        return (double) blockBytes / blockSize;
    }

    /** Bytes of the whole pool. */
    public long poolBytes() {
        return blocks * blockBytes;
    }

    /** Sequences of {@code tokensPerSequence} tokens that fit beside each other when they share nothing. */
    public int sequences(int tokensPerSequence) {
        if (tokensPerSequence < 1) {
            throw new IllegalArgumentException("A sequence has at least one token, not " + tokensPerSequence + ".");
        }
        int blocksPerSequence = (tokensPerSequence - 1) / blockSize + 1;
        return blocks / blocksPerSequence;
    }
}
