package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.DType;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every format with every granularity, on the beginning of the evaluation text, at context 512. */
class CacheSettingsMeasuredTest extends CpuTest {
    private static final Path OUTLIER = TinyModel.MODELS.resolve("tiny-llama-outlier");
    private static final int TOKENS = 2049;
    private static final List<ScaleMode> MODES =
            List.of(ScaleMode.NONE, ScaleMode.TENSOR, ScaleMode.HEAD, ScaleMode.CHANNEL, ScaleMode.DYNAMIC);
    private static final double KL_BOUND = 3e-3;

    private static CacheEvaluation.Builder evaluation(Path model) {
        return CacheEvaluation.builder()
                .model(model)
                .backend(backend)
                .text(TinyModel.evaluationText())
                .maxTokens(TOKENS);
    }

    private static List<CacheEvaluation.Result> everyFormatAndGranularity(Path model) {
        CacheEvaluation.Builder evaluation = evaluation(model);
        for (KvCacheDType dtype : List.of(KvCacheDType.FP8_E4M3, KvCacheDType.FP8_E5M2)) {
            MODES.forEach(mode -> evaluation.setting(dtype, mode));
        }
        return evaluation.setting(KvCacheDType.AUTO, ScaleMode.NONE).build().run();
    }

    @Test
    void calibratedE4m3HoldsTheBoundOnThePlainModelAndE5m2IsCoarser() {
        List<CacheEvaluation.Result> results = everyFormatAndGranularity(TinyModel.FOLDER);
        for (int i = 0; i < MODES.size(); i++) {
            PredictionQuality e4m3 = results.get(i).quality();
            PredictionQuality e5m2 = results.get(i + MODES.size()).quality();
            assertThat(e4m3.klMean()).as(MODES.get(i).label()).isPositive().isLessThanOrEqualTo(KL_BOUND);
            assertThat(e5m2.klMean()).as(MODES.get(i).label()).isGreaterThan(2 * e4m3.klMean());
        }
    }

    @Test
    void scalesFoundOnTheFlyHoldTheBoundAndVllmsConstantsLeaveRangeUnused() {
        List<CacheEvaluation.Result> results = evaluation(TinyModel.FOLDER)
                .setting(KvCacheDType.FP8, ScaleMode.TENSOR)
                .setting(KvCacheDType.FP8, ScaleMode.VLLM)
                .setting(KvCacheDType.FP8, ScaleMode.RANDOM_TOKENS)
                .build()
                .run();
        for (CacheEvaluation.Result result : results) {
            assertThat(result.quality().klMean()).as(result.setting().label()).isLessThanOrEqualTo(KL_BOUND);
        }
        for (int layer = 0; layer < results.get(0).scales().layers(); layer++) {
            KvScales.LayerScales tensor = results.get(0).scales().layer(layer);
            KvScales.LayerScales vllm = results.get(1).scales().layer(layer);
            KvScales.LayerScales random = results.get(2).scales().layer(layer);
            assertThat(vllm.k().values()[0] / tensor.k().values()[0]).isCloseTo(448f / 200, within(1e-5f));
            assertThat(vllm.v().values()[0] / tensor.v().values()[0]).isCloseTo(448f / 100, within(1e-5f));
            assertThat(random.k().values()[0])
                    .isPositive()
                    .isNotEqualTo(tensor.k().values()[0]);
        }
    }

    @Test
    void loudAndQuietHeadsNeedScalesOfTheirOwn() {
        List<CacheEvaluation.Result> results = everyFormatAndGranularity(OUTLIER);
        double auto = results.get(results.size() - 1).quality().perplexity();
        for (int i = 0; i < MODES.size(); i++) {
            PredictionQuality quality = results.get(i).quality();
            boolean clips = MODES.get(i) == ScaleMode.NONE;
            assertThat(results.get(i).saturatedValues() > 100_000)
                    .as(MODES.get(i).label())
                    .isEqualTo(clips);
            boolean shared = Set.of(ScaleMode.NONE, ScaleMode.TENSOR).contains(MODES.get(i));
            if (shared) {
                assertThat(quality.klMean()).as(MODES.get(i).label()).isGreaterThan(10 * KL_BOUND);
                assertThat(quality.nllDelta()).as(MODES.get(i).label()).isGreaterThan(5 * quality.nllDeltaSe());
            } else {
                assertThat(quality.klMean()).as(MODES.get(i).label()).isLessThanOrEqualTo(KL_BOUND);
                assertThat(quality.perplexity()).as(MODES.get(i).label()).isLessThanOrEqualTo(1.004 * auto);
            }
        }
    }

    @Test
    void positionsAddUpToTheWhole() {
        CacheEvaluation.Result result = evaluation(TinyModel.FOLDER)
                .setting(KvCacheDType.FP8, ScaleMode.TENSOR)
                .build()
                .run()
                .get(0);
        assertThat(result.byPosition())
                .extracting(PositionBucket::firstPosition)
                .containsExactly(0, 128, 256);
        assertThat(result.byPosition())
                .extracting(bucket -> bucket.quality().tokens())
                .containsExactly(127L, 128L, TOKENS - 256L);
        double nll = 0;
        double kl = 0;
        for (PositionBucket bucket : result.byPosition()) {
            nll += bucket.quality().tokens() * Math.log(bucket.quality().perplexity());
            kl += bucket.quality().tokens() * bucket.quality().klMean();
        }
        PredictionQuality whole = result.quality();
        assertThat(whole.tokens()).isEqualTo(TOKENS - 1);
        assertThat(nll / whole.tokens()).isCloseTo(Math.log(whole.perplexity()), within(1e-12));
        assertThat(kl / whole.tokens()).isCloseTo(whole.klMean(), within(1e-15));
    }

    @Test
    void kAndVCanBeStoredApart() {
        List<CacheEvaluation.Result> results = evaluation(TinyModel.FOLDER)
                .setting(CacheSetting.of(KvCacheDType.FP8, KvCacheDType.AUTO, ScaleMode.TENSOR))
                .setting(CacheSetting.of(KvCacheDType.AUTO, KvCacheDType.FP8, ScaleMode.TENSOR))
                .setting(CacheSetting.of(KvCacheDType.FP8, KvCacheDType.FP8, ScaleMode.TENSOR))
                .build()
                .run();
        assertThat(results)
                .extracting(CacheEvaluation.Result::cacheBytesPerToken)
                .containsExactly(2304.0, 2304.0, 1536.0);
        double k = results.get(0).quality().klMean();
        double v = results.get(1).quality().klMean();
        assertThat(v).isPositive().isLessThan(k);
        assertThat(results.get(2).quality().klMean()).isGreaterThan(k);
    }

    @Test
    void skippedLayersCostBytesAndNothingElse() {
        List<Integer> all = List.of(0, 1, 2, 3, 4, 5);
        CacheSetting none = CacheSetting.of(KvCacheDType.FP8, ScaleMode.NONE);
        List<CacheEvaluation.Result> results = evaluation(OUTLIER)
                .maxTokens(257)
                .setting(none.withSkippedLayers(all))
                .setting(none.withSkippedLayers(all.subList(0, 5)))
                .setting(none)
                .build()
                .run();
        assertThat(results.get(0).quality().klMean()).isZero();
        assertThat(results.get(0).cacheBytesPerToken()).isEqualTo(3072);
        assertThat(results.get(1).cacheBytesPerToken()).isEqualTo(3072 - 256);
        assertThat(results.get(1).quality().klMean())
                .isPositive()
                .isLessThan(results.get(2).quality().klMean());
    }

    @Test
    void theCheckpointsScalesComeWithTheLayersThatTheySkip(@TempDir Path folder) {
        Path calibrated = folder.resolve("calibrated");
        KvScales.Builder scales = KvScales.builder(6, 2, 64);
        KvScales.Side half = KvScales.Side.tensor(0.5f);
        for (int layer = 0; layer < 6; layer++) {
            scales.layer(layer, new KvScales.LayerScales(half, half));
        }
        CalibratedCheckpoint.write(
                TinyModel.FOLDER,
                calibrated,
                scales.build(),
                Set.of(2),
                KvCacheScheme.of(KvScales.Granularity.TENSOR, KvCacheScheme.Observer.MINMAX),
                DType.FLOAT32,
                "{}");
        List<CacheEvaluation.Result> results = evaluation(calibrated)
                .maxTokens(129)
                .setting(KvCacheDType.FP8, ScaleMode.CHECKPOINT)
                .setting(CacheSetting.of(KvCacheDType.FP8, new ScaleSource.Given("halves", scales.build()))
                        .withSkippedLayers(List.of(2)))
                .build()
                .run();
        assertThat(results.get(0).setting().skippedLayers()).containsExactly(2);
        assertThat(results.get(0).cacheBytesPerToken()).isEqualTo(5 * 256 + 512);
        assertThat(results.get(0).quality()).isEqualTo(results.get(1).quality());
    }

    @Test
    void channelsThatAShortCalibrationSawTooLittleOfSaturate() {
        List<CacheEvaluation.Result> results = new ArrayList<>();
        for (int tokens : List.of(16, 512, TOKENS)) {
            results.addAll(evaluation(TinyModel.FOLDER)
                    .calibrationTokens(tokens)
                    .setting(KvCacheDType.FP8, ScaleMode.CHANNEL)
                    .build()
                    .run());
        }
        for (int i = 1; i < results.size(); i++) {
            CacheEvaluation.Result longer = results.get(i);
            CacheEvaluation.Result shorter = results.get(i - 1);
            assertThat(longer.quality().klMean()).isLessThan(shorter.quality().klMean());
            assertThat(longer.saturatedValues()).isLessThan(shorter.saturatedValues());
        }
    }
}
