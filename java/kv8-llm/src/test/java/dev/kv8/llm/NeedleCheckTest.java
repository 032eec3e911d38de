package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.DoubleStream;
import org.junit.jupiter.api.Test;

class NeedleCheckTest {
    private static final CacheSetting AUTO = CacheSetting.of(KvCacheDType.AUTO, ScaleMode.NONE);
    private static final CacheSetting FP8 = CacheSetting.of(KvCacheDType.FP8, ScaleMode.TENSOR);

    private static NeedleReport.Found found(CacheSetting setting, int retrieved, double... lifts) {
        List<NeedleReport.Needle> needles = new ArrayList<>();
        for (double lift : lifts) {
            needles.add(new NeedleReport.Needle(512, 0.5, needles.size() < retrieved, -2, -2 - lift));
        }
        return new NeedleReport.Found(setting, needles);
    }

    @Test
    void aModelThatRetrievesIsCounted() {
        NeedleReport report = new NeedleReport(found(AUTO, 3, 7, 8, 9, 1), List.of(found(FP8, 1, 3, 1, 1, 1)));
        assertThat(report.ability()).isEqualTo(NeedleReport.Ability.RETRIEVES);
        assertThat(report.results().get(0).retrieved()).isEqualTo(0.25);
        assertThat(report.explanation())
                .contains("retrieves 75 % of 4 statements", "compare what the settings retrieve");
    }

    @Test
    void aModelThatOnlyNoticesStatementsIsComparedByLift() {
        NeedleReport report = new NeedleReport(found(AUTO, 0, 1.0, 1.2, 0.8), List.of());
        assertThat(report.ability()).isEqualTo(NeedleReport.Ability.NOTICES);
        assertThat(report.reference().lift()).isCloseTo(1, within(1e-12));
        assertThat(report.reference().liftSe()).isCloseTo(0.2 / Math.sqrt(3), within(1e-12));
    }

    @Test
    void aModelThatCanDoNeitherSaysNothingAboutCaches() {
        NeedleReport report = new NeedleReport(found(AUTO, 0, 1.0, -1.2, 0.3), List.of());
        assertThat(report.ability()).isEqualTo(NeedleReport.Ability.NEITHER);
        assertThat(report.explanation()).contains("this check says nothing about the settings");
    }

    @Test
    void theStatementStandsWhereTheDepthSays() {
        try (Tokenizer tokenizer = Tokenizer.load(TinyModel.FOLDER)) {
            int[] filler = tokenizer.encode(TinyModel.evaluationText());
            int statement = tokenizer.encode("\nThe secret number of Bethel is 4711.\n").length;
            for (double depth : new double[] {0, 0.5, 1}) {
                NeedlePrompt prompt = NeedlePrompt.of(tokenizer, filler, 256, depth, "Bethel", 4711, 1234);
                assertThat(prompt.tokens()).hasSize(256);
                String text = tokenizer.decode(prompt.tokens());
                int place = text.indexOf("The secret number of Bethel is 4711.");
                assertThat(place).as(text).isNotNegative();
                assertThat((double) place / text.length()).as(text).isCloseTo(depth, within(0.25));
                int[] answer = Arrays.copyOfRange(prompt.tokens(), prompt.firstAnswer(), 256);
                assertThat(tokenizer.decode(answer)).contains("1234");
                String before = tokenizer.decode(Arrays.copyOf(prompt.tokens(), prompt.firstAnswer()));
                assertThat(before.stripTrailing()).endsWith("The secret number of Bethel is");
            }
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> NeedlePrompt.of(tokenizer, filler, statement, 0.5, "Bethel", 1, 1))
                    .withMessageContaining("no room for filler");
            assertThatIllegalArgumentException()
                    .isThrownBy(() ->
                            NeedlePrompt.of(tokenizer, Arrays.copyOf(filler, 100), 256, 0.5, "Bethel", 4711, 4711))
                    .withMessageContaining("The filler text has 100 tokens");
        }
    }

    /** Scales that clip the loud heads change what the outlier model predicts; auto given as a setting changes nothing. */
    @Test
    void settingsAreComparedWithTheModelsOwnCache() {
        try (KvBackend backend = KvBackend.open("cpu")) {
            NeedleReport report = NeedleCheck.builder()
                    .model(TinyModel.MODELS.resolve("tiny-llama-outlier"))
                    .backend(backend)
                    .filler(TinyModel.evaluationText())
                    .contexts(192)
                    .depths(0, 0.5, 1)
                    .setting(AUTO)
                    .setting(FP8)
                    .setting(FP8.withScales(ScaleMode.HEAD))
                    .build()
                    .run((done, all) -> assertThat(all).isEqualTo(3));
            assertThat(report.results().get(0)).isEqualTo(report.reference());
            double tensor = distance(report.results().get(1), report.reference());
            double head = distance(report.results().get(2), report.reference());
            assertThat(head).isPositive().isLessThan(tensor / 3);
        }
    }

    private static double distance(NeedleReport.Found one, NeedleReport.Found other) {
        DoubleStream.Builder distances = DoubleStream.builder();
        for (int i = 0; i < one.needles().size(); i++) {
            distances.add(Math.abs(one.needles().get(i).logProbability()
                    - other.needles().get(i).logProbability()));
        }
        return distances.build().average().orElseThrow();
    }

    @Test
    void whatCanNotBeCheckedIsRefused() {
        NeedleCheck.Builder builder =
                NeedleCheck.builder().model(TinyModel.FOLDER).filler("text").setting(FP8);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> NeedleCheck.builder().build())
                .withMessageContaining("needs a model, a filler text and at least one setting");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> builder.contexts(1).build())
                .withMessageContaining("contexts are [1]");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> builder.contexts(512).depths(0.5, 1.5).build())
                .withMessageContaining("depths are [0.5, 1.5]; give at least one, each from 0 to 1");
    }
}
