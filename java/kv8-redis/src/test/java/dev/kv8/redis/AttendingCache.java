package dev.kv8.redis;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.Sequence;
import dev.kv8.Tiers;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Random;

/**
 * A cache on the CPU backend, two layers in FP8 with row scales, that computes prompts with real attention. K, V and Q of a token are
 * made from all tokens before it, so the output tells every wrong byte of the prefix.
 */
final class AttendingCache implements AutoCloseable {
    private static final int LAYERS = 2;
    private static final int KV_HEADS = 2;
    private static final int QUERY_HEADS = 4;
    private static final int SIZE = 64;
    private static final int ROWS = 256;

    private final KvBackend backend;
    private final KvCache cache;
    private final Batch batch;
    private final HeadRows q;
    private final HeadRows k;
    private final HeadRows v;
    private final HeadRows out;

    AttendingCache(KvBackend backend, Tiers tiers) {
        this.backend = backend;
        KvScales.Builder scales = KvScales.builder(LAYERS, KV_HEADS, SIZE);
        for (int layer = 0; layer < LAYERS; layer++) {
            scales.layer(layer, KvScales.LayerScales.DYNAMIC);
        }
        cache = KvCache.create(
                backend,
                KvCacheConfig.builder()
                        .layers(LAYERS)
                        .kvHeads(KV_HEADS)
                        .headSize(SIZE)
                        .dtype(KvCacheDType.FP8_E4M3)
                        .scales(scales.build())
                        .blocks(24)
                        .modelId("attending")
                        .tiers(tiers)
                        .build());
        batch = cache.batch();
        q = rows(QUERY_HEADS);
        k = rows(KV_HEADS);
        v = rows(KV_HEADS);
        out = rows(QUERY_HEADS);
    }

    private HeadRows rows(int heads) {
        DeviceMemory memory = backend.allocate((long) ROWS * heads * SIZE * Float.BYTES);
        return HeadRows.of(memory, DType.FLOAT32, heads, SIZE);
    }

    KvCache cache() {
        return cache;
    }

    /** What was computed of a prompt, and how much of it was not. */
    static final class Answer {
        final float[] lastRow;
        final int cachedTokens;

        Answer(float[] lastRow, int cachedTokens) {
            this.lastRow = lastRow;
            this.cachedTokens = cachedTokens;
        }
    }

    static int[] prompt(int seed, int tokens) {
        return new Random(seed).ints(tokens, 0, 1000).toArray();
    }

    /** Both layers' attention of the prompt's last token. */
    Answer answer(int[] prompt) {
        try (Sequence sequence = cache.open(prompt)) {
            sequence.awaitLoaded();
            return compute(sequence, prompt);
        }
    }

    Answer compute(Sequence sequence, int[] prompt) {
        float[] last = new float[LAYERS * QUERY_HEADS * SIZE];
        if (!batch.add(sequence)) {
            throw new AssertionError("no room: " + cache.stats());
        }
        int from = sequence.computedTokens();
        for (int layer = 0; layer < LAYERS; layer++) {
            fill(q, QUERY_HEADS, prompt, from, layer);
            fill(k, KV_HEADS, prompt, from, 10 + layer);
            fill(v, KV_HEADS, prompt, from, 20 + layer);
            cache.write(layer, batch, k, v);
            cache.attend(layer, batch, q, out);
            ByteBuffer row = buffer(QUERY_HEADS);
            backend.download(out.memory(), (long) (batch.tokens() - 1) * row.capacity(), row);
            row.asFloatBuffer().get(last, layer * QUERY_HEADS * SIZE, QUERY_HEADS * SIZE);
        }
        batch.commit();
        return new Answer(last, sequence.cachedTokens());
    }

    private static ByteBuffer buffer(int rows) {
        return ByteBuffer.allocateDirect(rows * SIZE * Float.BYTES).order(ByteOrder.nativeOrder());
    }

    private void fill(HeadRows rows, int heads, int[] prompt, int from, int what) {
        ByteBuffer values = buffer((prompt.length - from) * heads);
        long prefix = what;
        for (int position = 0; position < prompt.length; position++) {
            prefix = 31 * prefix + prompt[position];
            if (position >= from) {
                Random random = new Random(prefix);
                for (int i = 0; i < heads * SIZE; i++) {
                    values.putFloat((float) random.nextGaussian());
                }
            }
        }
        backend.upload(values.flip(), rows.memory(), 0);
    }

    /** Lets everything that is noted or under way end. */
    void settle() {
        long end = System.nanoTime() + 20_000_000_000L;
        while (cache.poll()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("transfers do not end: " + cache.tierStats());
            }
        }
    }

    @Override
    public void close() {
        cache.close();
        for (HeadRows rows : new HeadRows[] {q, k, v, out}) {
            rows.memory().close();
        }
    }
}
