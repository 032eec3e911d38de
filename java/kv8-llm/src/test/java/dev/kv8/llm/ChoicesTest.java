package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.KvScales.Granularity;
import java.nio.file.Path;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;

/** Choices by measured KL, on the plain tiny model and on the one with loud and quiet heads. */
class ChoicesTest extends CpuTest {
    private static final Path OUTLIER = TinyModel.MODELS.resolve("tiny-llama-outlier");
    private static final CacheSetting FP8 = CacheSetting.of(KvCacheDType.FP8, ScaleMode.NONE);
    private static final double BUDGET = 3e-3;
    private static final int LAYERS = 6;

    private static CacheEvaluation.Builder evaluation(Path model) {
        return CacheEvaluation.builder()
                .model(model)
                .backend(backend)
                .text(TinyModel.evaluationText())
                .maxTokens(1025);
    }

    /** What a calibration over the text's first window gives. */
    private static Map<Granularity, KvScales> candidates(Path model) {
        Map<Granularity, KvScales> candidates = new EnumMap<>(Granularity.class);
        try (EvaluationModel opened = EvaluationModel.open(backend, model, 512);
                Tokenizer tokenizer = Tokenizer.load(model)) {
            int[] tokens = tokenizer.encode(TinyModel.evaluationText());
            try (WindowScales scales = new WindowScales(opened, tokens, EvaluationWindows.cut(512, 512, 512))) {
                for (Granularity granularity : List.of(Granularity.TENSOR, Granularity.HEAD, Granularity.CHANNEL)) {
                    KvScaleCalculation how = KvScaleCalculation.firstPass().withGranularity(granularity);
                    candidates.put(granularity, scales.scales(FP8, how));
                }
            }
        }
        candidates.put(Granularity.DYNAMIC, KvScales.dynamic(LAYERS));
        return candidates;
    }

    private static StrategyChoice strategy(Path model, double budget) {
        return StrategyChoice.measure(evaluation(model), FP8, candidates(model), budget, (done, windows) -> {});
    }

    @Test
    void thePlainModelNeedsNoMoreThanScalesPerTensor() {
        StrategyChoice choice = strategy(TinyModel.FOLDER, BUDGET);
        assertThat(choice.chosen().orElseThrow().granularity())
                .as(choice.explanation())
                .isEqualTo(Granularity.TENSOR);
        assertThat(choice.candidates())
                .extracting(StrategyChoice.Candidate::granularity)
                .containsExactly(Granularity.TENSOR, Granularity.HEAD, Granularity.CHANNEL, Granularity.DYNAMIC);
    }

    @Test
    void loudAndQuietHeadsNeedScalesOfTheirOwn() {
        StrategyChoice choice = strategy(OUTLIER, BUDGET);
        assertThat(choice.chosen().orElseThrow().granularity())
                .as(choice.explanation())
                .isEqualTo(Granularity.HEAD);
        assertThat(choice.explanation())
                .containsPattern("tensor: KL 0\\.\\d+ ± 0\\.\\d+ exceeds 0\\.0030")
                .containsPattern("head: KL .* holds 0\\.0030")
                .endsWith("head is the coarsest granularity within the budget.");
    }

    @Test
    void nothingIsChosenWhenNothingHoldsTheBudget() {
        StrategyChoice choice = strategy(TinyModel.FOLDER, 1e-9);
        assertThat(choice.chosen()).isEmpty();
        assertThat(choice.explanation()).contains("No granularity holds the budget");
    }

    /** The outlier model's scales where its layers are loud, and dynamic ones elsewhere: only some layers are bad. */
    @Test
    void layersThatCostMostAreKeptAndNoOthers() {
        KvScales tensor = Objects.requireNonNull(candidates(OUTLIER).get(Granularity.TENSOR));
        KvScales.Builder mixed = KvScales.builder(LAYERS, 2, 64);
        List<Integer> bad = List.of(1, 4);
        for (int layer = 0; layer < LAYERS; layer++) {
            mixed.layer(layer, bad.contains(layer) ? tensor.layer(layer) : KvScales.LayerScales.DYNAMIC);
        }
        CacheSetting setting = FP8.withScales(new ScaleSource.Given("mixed", mixed.build()));
        SkipChoice choice = SkipChoice.measure(evaluation(OUTLIER), setting, BUDGET, (done, windows) -> {});
        assertThat(choice.layers()).as(choice.explanation()).isEqualTo(bad);
        assertThat(choice.before().klWithin(BUDGET)).isFalse();
        assertThat(choice.after().klWithin(BUDGET)).isTrue();
        assertThat(choice.byLayer()).hasSize(LAYERS);
        assertThat(choice.explanation())
                .contains("kept in 16 bits", "exceeds 0.0030", "without layers 1, 4 in FP8: KL");
    }

    @Test
    void noLayerIsKeptWhenAllHoldTheBudget() {
        SkipChoice choice = SkipChoice.measure(
                evaluation(TinyModel.FOLDER), FP8.withScales(ScaleMode.TENSOR), BUDGET, (done, windows) -> {});
        assertThat(choice.layers()).as(choice.explanation()).isEmpty();
        assertThat(choice.after()).isEqualTo(choice.before());
    }

    @Test
    void everyLayerIsKeptWhenNothingElseHelps() {
        SkipChoice choice = SkipChoice.measure(
                evaluation(TinyModel.FOLDER).maxTokens(129),
                FP8.withScales(ScaleMode.TENSOR),
                1e-12,
                (done, windows) -> {});
        assertThat(choice.layers()).as(choice.explanation()).containsExactly(0, 1, 2, 3, 4, 5);
        assertThat(choice.after().klMean()).isZero();
        assertThat(choice.explanation()).endsWith("so it saves nothing: use finer scales instead.");
    }

    @Test
    void whatLeavesNothingToChooseIsRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> strategy(TinyModel.FOLDER, 0))
                .withMessageContaining("The KL budget is 0.0; it must be a positive number");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> StrategyChoice.measure(
                        evaluation(TinyModel.FOLDER), FP8, Map.of(), BUDGET, (done, windows) -> {}))
                .withMessageContaining("no scales to choose from");
        CacheSetting auto = CacheSetting.of(KvCacheDType.AUTO, ScaleMode.NONE);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> SkipChoice.measure(evaluation(TinyModel.FOLDER), auto, BUDGET, (done, windows) -> {}))
                .withMessageContaining("auto has no scales");
    }
}
