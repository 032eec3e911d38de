package dev.kv8.natives;

import dev.kv8.AttentionOptions;
import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvScales;
import dev.kv8.KvScales.LayerScales;
import dev.kv8.Sequence;
import java.nio.ByteBuffer;
import java.util.Optional;
import java.util.Random;

/** A cache with a stand-in for a model: rows are noise that depends on all tokens up to theirs. */
final class NoiseModel implements AutoCloseable {
    /** Tokens that a step may have. */
    static final int ROWS = 320;

    private static final int KV_HEADS = 2;
    private static final int QUERY_HEADS = 4;
    private static final int SIZE = 64;

    final KvCache cache;
    private final KvBackend backend;
    private final int[] windows;
    private final Batch batch;
    private final DeviceMemory memory;
    private final HeadRows q;
    private final HeadRows k;
    private final HeadRows v;
    private final HeadRows out;

    /** {@code windows}: keys that a query of each layer sees, 0 for all. */
    NoiseModel(KvBackend backend, KvCacheConfig config, int... windows) {
        this.backend = backend;
        this.windows = windows.clone();
        cache = KvCache.create(backend, config);
        batch = cache.batch();
        long row = SIZE * 4L;
        memory = backend.allocate(ROWS * row * (2 * KV_HEADS + 2 * QUERY_HEADS));
        k = rows(0, KV_HEADS);
        v = rows(ROWS * row * KV_HEADS, KV_HEADS);
        q = rows(2 * ROWS * row * KV_HEADS, QUERY_HEADS);
        out = rows(ROWS * row * (2 * KV_HEADS + QUERY_HEADS), QUERY_HEADS);
    }

    /** Of a cache for such a model, still without its types and its size. */
    static KvCacheConfig.Builder config(int layers, LayerScales scales) {
        KvScales.Builder all = KvScales.builder(layers, KV_HEADS, SIZE);
        for (int layer = 0; layer < layers; layer++) {
            all.layer(layer, scales);
        }
        return KvCacheConfig.builder()
                .layers(layers)
                .kvHeads(KV_HEADS)
                .headSize(SIZE)
                .scales(all.build())
                .modelId("noise");
    }

    private HeadRows rows(long offset, int heads) {
        return HeadRows.of(memory.slice(offset, 4L * ROWS * heads * SIZE), DType.FLOAT32, heads, SIZE);
    }

    /** Computes the next {@code count} tokens, for which there is room. */
    float[] compute(Sequence sequence, int count) {
        return computeIfThereIsRoom(sequence, count).orElseThrow();
    }

    /** The results of the next {@code count} tokens in all layers, one after the other; empty when there is no room for them. */
    Optional<float[]> computeIfThereIsRoom(Sequence sequence, int count) {
        int from = sequence.computedTokens();
        if (!batch.add(sequence, count)) {
            return Optional.empty();
        }
        int ofLayer = count * QUERY_HEADS * SIZE;
        float[] results = new float[windows.length * ofLayer];
        for (int layer = 0; layer < windows.length; layer++) {
            fill(k, sequence, from, count, layer * 3);
            fill(v, sequence, from, count, layer * 3 + 1);
            fill(q, sequence, from, count, layer * 3 + 2);
            cache.write(layer, batch, k, v);
            cache.attend(layer, batch, q, out, AttentionOptions.causal(SIZE).withWindow(windows[layer]));
            ByteBuffer bytes = Device.buffer(ofLayer * 4);
            backend.download(out.memory(), 0, bytes);
            bytes.asFloatBuffer().get(results, layer * ofLayer, ofLayer);
        }
        batch.commit();
        return Optional.of(results);
    }

    private void fill(HeadRows rows, Sequence sequence, int from, int count, int kind) {
        ByteBuffer bytes = Device.buffer(count * rows.heads() * SIZE * 4);
        long prefix = 1;
        for (int p = 0; p < from + count; p++) {
            prefix = prefix * 6364136223846793005L + sequence.token(p) + 1;
            if (p >= from) {
                Random random = new Random(prefix + kind);
                for (int i = 0; i < rows.heads() * SIZE; i++) {
                    bytes.putFloat(4 * random.nextFloat() - 2);
                }
            }
        }
        backend.upload(bytes.flip(), rows.memory(), 0);
    }

    @Override
    public void close() {
        cache.close();
        memory.close();
    }
}
