package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.AttentionOptions;
import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import dev.kv8.Sequence;
import dev.kv8.SwappedSequence;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Layers with and without windows that have blocks of their own give, in real attention, the bits of a cache whose blocks have all
 * layers and which masks what is out of a window: whatever was shared, given back, copied or moved before.
 */
class GroupedAttentionTest extends CpuTest {
    /** Two layers in each of three groups. */
    private static final int[] WINDOWS = {0, 24, 40, 24, 0, 40};

    private static final int KV_HEADS = 2;
    private static final int QUERY_HEADS = 4;
    private static final int SIZE = 64;
    private static final int ROWS = 320;
    private static final int STEPS = 80;
    /** A seed whose first steps meet too little goes on up to here. */
    private static final int MOST_STEPS = 2000;

    record Storage(String name, KvCacheDType dtype, LayerScales scales, boolean twoSkipped) {
        @Override
        public String toString() {
            return name;
        }
    }

    static Stream<Storage> storages() {
        LayerScales perHead = new LayerScales(Side.head(0.01f, 0.02f), Side.head(0.03f, 0.015f));
        return Stream.of(
                new Storage("bfloat16", KvCacheDType.AUTO, LayerScales.NONE, false),
                new Storage("E4M3 by head, two layers skipped", KvCacheDType.FP8_E4M3, perHead, true),
                new Storage("E4M3 dynamic", KvCacheDType.FP8_E4M3, LayerScales.DYNAMIC, false));
    }

    /** A cache with a stand-in for a model: rows are noise that depends on all tokens up to theirs. */
    private static final class Model implements AutoCloseable {
        final KvCache cache;
        private final KvBackend backend;
        private final Batch batch;
        private final DeviceMemory memory;
        private final HeadRows q;
        private final HeadRows k;
        private final HeadRows v;
        private final HeadRows out;

        Model(KvBackend backend, Storage storage, boolean grouped, int blocks) {
            this.backend = backend;
            KvScales.Builder scales = KvScales.builder(WINDOWS.length, KV_HEADS, SIZE);
            for (int layer = 0; layer < WINDOWS.length; layer++) {
                scales.layer(layer, storage.scales());
            }
            KvCacheConfig.Builder config = KvCacheConfig.builder()
                    .layers(WINDOWS.length)
                    .kvHeads(KV_HEADS)
                    .headSize(SIZE)
                    .dtype(storage.dtype())
                    .skipLayers(storage.twoSkipped() ? new int[] {1, 4} : new int[0])
                    .scales(scales.build())
                    .prefixCaching(grouped)
                    .blocks(blocks);
            cache = KvCache.create(backend, (grouped ? config.layerWindows(WINDOWS) : config).build());
            batch = cache.batch();
            long row = SIZE * 4L;
            memory = backend.allocate(ROWS * row * (2 * KV_HEADS + 2 * QUERY_HEADS));
            k = rows(0, KV_HEADS);
            v = rows(ROWS * row * KV_HEADS, KV_HEADS);
            q = rows(2 * ROWS * row * KV_HEADS, QUERY_HEADS);
            out = rows(ROWS * row * (2 * KV_HEADS + QUERY_HEADS), QUERY_HEADS);
        }

        private HeadRows rows(long offset, int heads) {
            return HeadRows.of(memory.slice(offset, 4L * ROWS * heads * SIZE), DType.FLOAT32, heads, SIZE);
        }

        /** Whether the next {@code count} tokens fit; then their results of all layers are in {@code results}. */
        boolean compute(Sequence sequence, int count, List<float[]> results) {
            int from = sequence.computedTokens();
            if (!batch.add(sequence, count)) {
                return false;
            }
            for (int layer = 0; layer < WINDOWS.length; layer++) {
                fill(k, sequence, from, count, layer * 3);
                fill(v, sequence, from, count, layer * 3 + 1);
                fill(q, sequence, from, count, layer * 3 + 2);
                cache.write(layer, batch, k, v);
                cache.attend(layer, batch, q, out, AttentionOptions.causal(SIZE).withWindow(WINDOWS[layer]));
                float[] result = new float[count * QUERY_HEADS * SIZE];
                ByteBuffer bytes = Device.buffer(result.length * 4);
                backend.download(out.memory(), 0, bytes);
                bytes.asFloatBuffer().get(result);
                results.add(result);
            }
            batch.commit();
            return true;
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

    /** What {@code count} tokens of {@code sequence} from {@code from} on give when all before them is kept. */
    private static List<float[]> expected(Model whole, Sequence sequence, int from, int count) {
        int[] tokens = IntStream.range(0, from + count).map(sequence::token).toArray();
        List<float[]> results = new ArrayList<>();
        try (Sequence fresh = whole.cache.open(tokens)) {
            if (from > 0) {
                assertThat(whole.compute(fresh, from, new ArrayList<>())).isTrue();
            }
            assertThat(whole.compute(fresh, count, results)).isTrue();
        }
        return results;
    }

    /** A text of ten windows in chunks and single tokens, then a second one that shares its beginning. */
    @ParameterizedTest
    @MethodSource("storages")
    void aLongTextAndOneThatBeginsAlike(Storage storage) {
        int[] tokens = new Random(7).ints(300, 0, 1000).toArray();
        try (Model whole = new Model(backend, storage, false, 20);
                Model model = new Model(backend, storage, true, 38)) {
            assertThat(model.cache.config().layerGroups()).isEqualTo(3);
            Sequence sequence = model.cache.open(tokens);
            while (sequence.pendingTokens() > 0) {
                for (int chunk : new int[] {50, 1, 1, 31, 16}) {
                    int from = sequence.computedTokens();
                    int count = Math.min(chunk, sequence.pendingTokens());
                    List<float[]> results = new ArrayList<>();
                    if (count > 0) {
                        assertThat(model.compute(sequence, count, results)).isTrue();
                        assertSame(results, expected(whole, sequence, from, count));
                    }
                }
            }
            assertThat(model.cache.stats().usedBlocks())
                    .as("19 blocks of 16 tokens in one group, windows of 24 and 40 in the others")
                    .isLessThanOrEqualTo(19 + 4 + 6);
            Sequence fork = sequence.fork();
            sequence.close();
            fork.close();
            int[] alike = Arrays.copyOf(tokens, 310);
            Sequence second = model.cache.open(alike);
            assertThat(second.cachedTokens()).isEqualTo(288);
            List<float[]> results = new ArrayList<>();
            assertThat(model.compute(second, 22, results)).isTrue();
            assertSame(results, expected(whole, second, 288, 22));
        }
    }

    @ParameterizedTest
    @MethodSource("storages")
    void whateverWasDoneBefore(Storage storage) {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        List<Sequence> open = new ArrayList<>();
        int compared = 0;
        try (Model whole = new Model(backend, storage, false, 20);
                Model model = new Model(backend, storage, true, 60)) {
            for (int step = 0; step < STEPS || (step < MOST_STEPS && !metEnough(compared, model)); step++) {
                Sequence one = open.isEmpty() ? null : open.get(random.nextInt(open.size()));
                int operation = random.nextInt(10);
                if (one == null || (operation == 0 && open.size() < 5)) {
                    int[] prompt = IntStream.range(0, 1 + random.nextInt(180)).toArray();
                    Arrays.fill(prompt, Math.min(prompt.length, 16 * random.nextInt(10)), prompt.length, 7);
                    open.add(model.cache.open(prompt));
                } else if (operation == 1 && open.size() < 5) {
                    open.add(one.fork());
                } else if (operation == 2) {
                    SwappedSequence away = model.cache.swapOut(one);
                    open.remove(one);
                    model.cache.swapIn(away).ifPresent(open::add);
                    away.close();
                } else if (operation == 3) {
                    int[] parents = random.ints(open.size(), 0, open.size()).toArray();
                    model.cache.reorder(open.toArray(new Sequence[0]), parents);
                } else if (one.length() < ROWS - 20 && operation < 9) {
                    one.append(random.nextInt(3));
                    boolean ready = one.catchUp();
                    int from = one.computedTokens();
                    int count = 1 + random.nextInt(Math.min(50, one.pendingTokens()));
                    List<float[]> results = new ArrayList<>();
                    if (model.compute(one, count, results)) {
                        assertSame(results, expected(whole, one, from, count), seed, step, ready);
                        compared++;
                        continue;
                    }
                    open.remove(one);
                    one.close();
                } else {
                    open.remove(one);
                    one.close();
                }
            }
            assertThat(metEnough(compared, model)).as("seed %d", seed).isTrue();
        }
    }

    private static boolean metEnough(int compared, Model model) {
        return compared > 20 && model.cache.stats().prefixHitTokens() > 0;
    }

    private static void assertSame(List<float[]> got, List<float[]> expected, Object... where) {
        assertThat(got).hasSameSizeAs(expected);
        for (int layer = 0; layer < got.size(); layer++) {
            assertThat(got.get(layer))
                    .as("layer %d, %s", layer, Arrays.toString(where))
                    .isEqualTo(expected.get(layer));
        }
    }
}
