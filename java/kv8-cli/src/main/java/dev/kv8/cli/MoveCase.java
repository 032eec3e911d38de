package dev.kv8.cli;

import dev.kv8.Batch;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.Sequence;
import dev.kv8.SwappedSequence;
import org.jspecify.annotations.Nullable;

/** A sequence that goes to host memory and comes back, out of a cache that holds nothing else but what may part its blocks. */
final class MoveCase implements AutoCloseable {
    /**
     * What is measured.
     *
     * @param scattered whether another sequence has each second block, so that none of them are neighbours
     */
    record Shape(int tokens, int layers, int kvHeads, int headSize, boolean scattered) {}

    private static final int BLOCK_SIZE = 16;

    private final KvCache cache;
    private Sequence sequence;
    private @Nullable SwappedSequence away;

    MoveCase(KvBackend backend, Shape shape, KvCacheDType dtype) {
        int blocks = (shape.tokens() + BLOCK_SIZE - 1) / BLOCK_SIZE;
        cache = KvCache.create(
                backend,
                KvCacheConfig.builder()
                        .layers(shape.layers())
                        .kvHeads(shape.kvHeads())
                        .headSize(shape.headSize())
                        .dtype(dtype)
                        .blockSize(BLOCK_SIZE)
                        .blocks(2 * blocks)
                        .prefixCaching(false)
                        .build());
        int[] tokens = new int[shape.tokens()];
        sequence = cache.open(tokens);
        Sequence other = cache.open(tokens);
        try (Batch batch = cache.batch()) {
            int step = shape.scattered() ? BLOCK_SIZE : tokens.length;
            while (sequence.pendingTokens() > 0) {
                for (Sequence next : new Sequence[] {sequence, other}) {
                    if (!batch.add(next, Math.min(step, next.pendingTokens()))) {
                        throw new IllegalStateException(
                                "A cache that was made for " + shape + " is full: " + cache.stats());
                    }
                    batch.commit();
                }
            }
        }
    }

    void out() {
        away = cache.swapOut(sequence);
    }

    void back() {
        if (away == null) {
            throw new IllegalStateException("The sequence is in the cache.");
        }
        sequence = cache.swapIn(away).orElseThrow();
        away = null;
    }

    /** Of the blocks, which are read and written. */
    long bytes() {
        return cache.stats().usedBlocks() / 2 * cache.config().blockBytes();
    }

    @Override
    public void close() {
        cache.close();
    }
}
