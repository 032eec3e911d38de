package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.DeviceMemory;
import dev.kv8.KvCache;
import dev.kv8.Sequence;
import java.util.Arrays;

/** One cache setting under evaluation: its cache, and the hidden states of the window that it last computed. */
final class EvaluationRun implements AutoCloseable {
    private static final int MAX_BATCH_TOKENS = 512;

    private final CacheSetting setting;
    private final LlamaModel model;
    private final KvCache cache;
    private final RopeTables rope;
    private final Batch batch;
    private final KvWriter writer;
    private final DeviceMemory hidden;
    final LogitComparison comparison;

    /** Takes the cache over. */
    EvaluationRun(EvaluationModel opened, CacheSetting setting, KvCache cache) {
        this.setting = setting;
        this.model = opened.llama;
        this.cache = cache;
        this.rope = opened.rope;
        batch = cache.batch();
        writer = LlamaModel.writer(cache, rope);
        hidden = cache.backend().allocate(opened.context * opened.llama.hiddenBytes());
        comparison = new LogitComparison(opened.config.vocabularySize(), opened.context);
    }

    CacheSetting setting() {
        return setting;
    }

    KvCache cache() {
        return cache;
    }

    DeviceMemory hidden() {
        return hidden;
    }

    /** Computes a window from an empty cache. */
    void compute(int[] tokens, EvaluationWindows.Window window) {
        compute(tokens, window, writer);
    }

    void compute(int[] tokens, EvaluationWindows.Window window, KvWriter storing) {
        try (Sequence sequence = cache.open(Arrays.copyOfRange(tokens, window.begin(), window.end()))) {
            while (sequence.pendingTokens() > 0) {
                int first = sequence.computedTokens();
                int count = Math.min(MAX_BATCH_TOKENS, sequence.pendingTokens());
                if (!batch.add(sequence, count)) {
                    throw new IllegalStateException("A window of " + window.length()
                            + " tokens does not fit a cache that was made for it: " + cache.stats());
                }
                model.forward(cache, batch, rope, storing);
                model.copyHidden(count, hidden, first);
                batch.commit();
            }
        } finally {
            batch.clear();
        }
    }

    /** Bytes that the pool takes for each token that it can hold. */
    double cacheBytesPerToken() {
        return (double) cache.stats().poolBytes()
                / ((double) cache.config().blocks() * cache.config().blockSize());
    }

    @Override
    public void close() {
        hidden.close();
        batch.close();
        cache.close();
    }
}
