package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.Sequence;
import java.util.ArrayList;
import java.util.List;

/**
 * Sends samples through a model whose cache stores the model's own type, several in a batch, each from an empty cache, and
 * observes K and V of every token once.
 */
final class CalibrationPass implements AutoCloseable {
    private static final int BLOCK_SIZE = 16;

    private final LlamaModel model;
    private final RopeTables rope;
    private final int batchTokens;
    private final KvCache cache;
    private final Batch batch;
    private final KvWriter writer;

    CalibrationPass(
            KvBackend backend,
            ModelConfig config,
            LlamaModel model,
            RopeTables rope,
            MagnitudeObserver observer,
            int batchTokens,
            int length) {
        this.model = model;
        this.rope = rope;
        this.batchTokens = batchTokens;
        KvCacheConfig cacheConfig = config.cacheConfig()
                .dtype(KvCacheDType.AUTO)
                .blockSize(BLOCK_SIZE)
                .blocks((Math.max(batchTokens, length) + BLOCK_SIZE - 1) / BLOCK_SIZE)
                .prefixCaching(false) // every token is observed, so every token is computed
                .build();
        cache = KvCache.create(backend, cacheConfig);
        batch = cache.batch();
        writer = (layer, step, k, v) -> {
            observer.observe(layer, step, k, v);
            cache.write(layer, step, k, v);
        };
    }

    /** Whether a sample of that length may join samples that have {@code tokens} so far, in blocks of their own. */
    boolean joins(int tokens, int length) {
        return tokens == 0 || tokens + padded(length) <= batchTokens;
    }

    /** Tokens of the blocks that a sample takes. */
    static int padded(int length) {
        return (length + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
    }

    /** Computes samples that {@link #joins} has put together; a single one may be longer than a batch. */
    void compute(List<int[]> samples) {
        List<Sequence> sequences = new ArrayList<>();
        try {
            for (int[] tokens : samples) {
                sequences.add(cache.open(tokens));
            }
            while (schedule(sequences)) {
                model.forward(cache, batch, rope, writer);
                batch.commit();
            }
        } finally {
            batch.clear();
            sequences.forEach(Sequence::close);
        }
    }

    /** Fills the batch with the next pending tokens; false when there are none. */
    private boolean schedule(List<Sequence> sequences) {
        for (Sequence sequence : sequences) {
            int count = Math.min(sequence.pendingTokens(), batchTokens - batch.tokens());
            if (count > 0 && !batch.add(sequence, count)) {
                throw new IllegalStateException("A sample of " + sequence.length()
                        + " tokens does not fit a cache that was made for it: " + cache.stats());
            }
        }
        return batch.tokens() > 0;
    }

    @Override
    public void close() {
        batch.close();
        cache.close();
    }
}
