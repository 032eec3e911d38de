package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import dev.kv8.Sequence;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * However a sequence came to its blocks, by a copy of a part, a file, or a reordered beam, real attention over them gives the bits
 * that computing the whole sequence gives.
 */
class SequenceContinuityTest extends CpuTest {
    @TempDir
    Path folder;

    record Storage(String name, KvCacheDType k, KvCacheDType v, LayerScales scales) {
        @Override
        public String toString() {
            return name;
        }
    }

    static Stream<Storage> storages() {
        LayerScales perHead = new LayerScales(Side.head(0.01f, 0.02f), Side.head(0.03f, 0.015f));
        LayerScales dynamicK = new LayerScales(Side.DYNAMIC, Side.NONE);
        return Stream.of(
                new Storage("bfloat16", KvCacheDType.AUTO, KvCacheDType.AUTO, LayerScales.NONE),
                new Storage("E4M3 by head", KvCacheDType.FP8_E4M3, KvCacheDType.FP8_E4M3, perHead),
                new Storage("E4M3 dynamic", KvCacheDType.FP8_E4M3, KvCacheDType.FP8_E4M3, LayerScales.DYNAMIC),
                new Storage("E5M2 dynamic K", KvCacheDType.FP8_E5M2, KvCacheDType.AUTO, dynamicK));
    }

    private NoiseModel model(Storage storage, boolean reuse, int blocks) {
        return model(storage, reuse, blocks, 0, 0);
    }

    /** {@code kept}: the window that the cache knows of. */
    private NoiseModel model(Storage storage, boolean reuse, int blocks, int window, int kept) {
        KvCacheConfig config = NoiseModel.config(2, storage.scales())
                .kDtype(storage.k())
                .vDtype(storage.v())
                .prefixCaching(reuse)
                .window(kept)
                .blocks(blocks)
                .build();
        return new NoiseModel(backend, config, window, window);
    }

    private static int[] tokens(int seed, int count) {
        return new Random(seed).ints(count, 0, 1000).toArray();
    }

    /** What a cache without reuse gives for the last {@code count} of {@code tokens}. */
    private float[] expected(Storage storage, int[] tokens, int count) {
        try (NoiseModel fresh = model(storage, false, 8)) {
            Sequence sequence = fresh.cache.open(tokens);
            fresh.compute(sequence, tokens.length - count);
            return fresh.compute(sequence, count);
        }
    }

    @ParameterizedTest
    @MethodSource("storages")
    void aPartThatWasCopied(Storage storage) {
        int[] known = tokens(1, 48);
        for (int same : new int[] {8, 13, 24, 31, 40, 47}) {
            int[] wanted = tokens(2, 60);
            System.arraycopy(known, 0, wanted, 0, same);
            try (NoiseModel model = model(storage, true, 8)) {
                Sequence first = model.cache.open(known);
                model.compute(first, 48);
                Sequence second = model.cache.open(wanted);
                assertThat(second.cachedTokens()).isEqualTo(same);
                float[] got = model.compute(second, 60 - same);
                assertThat(got).as("%d tokens in common", same).isEqualTo(expected(storage, wanted, 60 - same));
                first.append(7);
                assertThat(model.compute(first, 1))
                        .as("the one that was copied from")
                        .isEqualTo(expected(
                                storage,
                                IntStream.concat(Arrays.stream(known), IntStream.of(7))
                                        .toArray(),
                                1));
            }
        }
    }

    @ParameterizedTest
    @MethodSource("storages")
    void aRestoredSequence(Storage storage) throws IOException {
        int[] tokens = tokens(3, 60);
        Path file = folder.resolve("sequence");
        try (NoiseModel model = model(storage, true, 4)) {
            Sequence sequence = model.cache.open(tokens);
            model.compute(sequence, 41);
            model.cache.save(sequence, file);
        }
        try (NoiseModel model = model(storage, true, 9)) {
            model.compute(model.cache.open(tokens(4, 60)), 60); // other ids, and content that was there before
            Sequence restored = model.cache.restore(file);
            assertThat(restored.computedTokens()).isEqualTo(41);
            assertThat(model.compute(restored, 19)).isEqualTo(expected(storage, tokens, 19));
            Sequence reusing = model.cache.open(tokens);
            assertThat(reusing.cachedTokens()).as("its full blocks").isEqualTo(48);
            assertThat(model.compute(reusing, 12)).isEqualTo(expected(storage, tokens, 12));
        }
    }

    @ParameterizedTest
    @MethodSource("storages")
    void aReorderedBeam(Storage storage) {
        int[] prompt = tokens(5, 21);
        Random random = new Random(6);
        try (NoiseModel model = model(storage, true, 12)) {
            Sequence[] beam = new Sequence[4];
            beam[0] = model.cache.open(prompt);
            model.compute(beam[0], 21);
            for (int i = 1; i < beam.length; i++) {
                beam[i] = beam[0].fork();
            }
            for (int step = 0; step < 14; step++) {
                for (Sequence sequence : beam) {
                    sequence.append(random.nextInt(1000));
                    float[] got = model.compute(sequence, 1);
                    int[] all = IntStream.range(0, sequence.length())
                            .map(sequence::token)
                            .toArray();
                    assertThat(got).as("step %d", step).isEqualTo(expected(storage, all, 1));
                }
                model.cache.reorder(
                        beam,
                        IntStream.range(0, beam.length)
                                .map(i -> random.nextInt(beam.length))
                                .toArray());
            }
        }
    }

    /** A pool of five blocks holds a window of 40 tokens and what a step adds, however long the text becomes. */
    @ParameterizedTest
    @MethodSource("storages")
    void aWindowWhoseBlocksWereGivenBack(Storage storage) throws IOException {
        int[] tokens = tokens(7, 200);
        Path file = folder.resolve("windowed");
        try (NoiseModel whole = model(storage, false, 13, 40, 0);
                NoiseModel model = model(storage, true, 5, 40, 40);
                NoiseModel third = model(storage, true, 5, 40, 40)) {
            Sequence expected = whole.cache.open(tokens);
            Sequence sequence = model.cache.open(tokens);
            for (int chunk : new int[] {16, 1, 15, 32, 7, 1, 1, 24, 16, 9}) {
                assertThat(model.compute(sequence, chunk)).isEqualTo(whole.compute(expected, chunk));
            }
            model.cache.save(sequence, file);
            Sequence restored = third.cache.restore(file);
            float[] next = whole.compute(expected, 30);
            assertThat(model.compute(sequence, 30)).isEqualTo(next);
            assertThat(third.compute(restored, 30)).isEqualTo(next);

            sequence.close();
            Sequence again = model.cache.open(tokens);
            assertThat(again.cachedTokens()).as("its beginning is gone").isEqualTo(144);
            expected.truncate(144);
            expected.append(Arrays.copyOfRange(tokens, 144, 200));
            assertThat(model.compute(again, 24)).isEqualTo(whole.compute(expected, 24));
        }
    }
}
