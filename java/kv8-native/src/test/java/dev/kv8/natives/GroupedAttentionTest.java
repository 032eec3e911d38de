package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import dev.kv8.Sequence;
import dev.kv8.SwappedSequence;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
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

    private NoiseModel model(Storage storage, boolean grouped, int blocks) {
        KvCacheConfig.Builder config = NoiseModel.config(WINDOWS.length, storage.scales())
                .dtype(storage.dtype())
                .skipLayers(storage.twoSkipped() ? new int[] {1, 4} : new int[0])
                .prefixCaching(grouped)
                .blocks(blocks);
        return new NoiseModel(backend, (grouped ? config.layerWindows(WINDOWS) : config).build(), WINDOWS);
    }

    /** What {@code count} tokens of {@code sequence} from {@code from} on give when all before them is kept. */
    private static float[] expected(NoiseModel whole, Sequence sequence, int from, int count) {
        int[] tokens = IntStream.range(0, from + count).map(sequence::token).toArray();
        try (Sequence fresh = whole.cache.open(tokens)) {
            if (from > 0) {
                whole.compute(fresh, from);
            }
            return whole.compute(fresh, count);
        }
    }

    /** A text of ten windows in chunks and single tokens, then a second one that shares its beginning. */
    @ParameterizedTest
    @MethodSource("storages")
    void aLongTextAndOneThatBeginsAlike(Storage storage) {
        int[] tokens = new Random(7).ints(300, 0, 1000).toArray();
        try (NoiseModel whole = model(storage, false, 20);
                NoiseModel model = model(storage, true, 38)) {
            assertThat(model.cache.config().layerGroups()).isEqualTo(3);
            Sequence sequence = model.cache.open(tokens);
            while (sequence.pendingTokens() > 0) {
                for (int chunk : new int[] {50, 1, 1, 31, 16}) {
                    int from = sequence.computedTokens();
                    int count = Math.min(chunk, sequence.pendingTokens());
                    if (count > 0) {
                        assertThat(model.compute(sequence, count)).isEqualTo(expected(whole, sequence, from, count));
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
            assertThat(model.compute(second, 22)).isEqualTo(expected(whole, second, 288, 22));
        }
    }

    @ParameterizedTest
    @MethodSource("storages")
    void whateverWasDoneBefore(Storage storage) {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        List<Sequence> open = new ArrayList<>();
        int compared = 0;
        try (NoiseModel whole = model(storage, false, 20);
                NoiseModel model = model(storage, true, 60)) {
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
                } else if (one.length() < NoiseModel.ROWS - 20 && operation < 9) {
                    one.append(random.nextInt(3));
                    boolean ready = one.catchUp();
                    int from = one.computedTokens();
                    int count = 1 + random.nextInt(Math.min(50, one.pendingTokens()));
                    Optional<float[]> results = model.computeIfThereIsRoom(one, count);
                    if (results.isPresent()) {
                        assertThat(results.get())
                                .as("seed %d, step %d, ready: %s", seed, step, ready)
                                .isEqualTo(expected(whole, one, from, count));
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

    private static boolean metEnough(int compared, NoiseModel model) {
        return compared > 20 && model.cache.stats().prefixHitTokens() > 0;
    }
}
