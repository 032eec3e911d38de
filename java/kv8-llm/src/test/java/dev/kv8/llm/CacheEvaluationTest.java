package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.KvCacheDType;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class CacheEvaluationTest extends CpuTest {
    private static CacheEvaluation.Builder evaluation() {
        return CacheEvaluation.builder()
                .model(TinyModel.FOLDER)
                .backend(backend)
                .text(TinyModel.evaluationText());
    }

    @Test
    void windowsScoreEachTokenOnce() {
        List<EvaluationWindows.Window> windows = EvaluationWindows.cut(1100, 512, 256);
        assertThat(windows)
                .containsExactly(
                        new EvaluationWindows.Window(0, 512, 1),
                        new EvaluationWindows.Window(256, 768, 512),
                        new EvaluationWindows.Window(512, 1024, 768),
                        new EvaluationWindows.Window(768, 1100, 1024));
        assertThat(EvaluationWindows.cut(2, 512, 256)).containsExactly(new EvaluationWindows.Window(0, 2, 1));
        assertThat(windows.stream().mapToInt(EvaluationWindows.Window::targets).sum())
                .isEqualTo(1099);
    }

    /** The whole text once: the reference's perplexity, and what FP8 with calculated scales may cost. */
    @Test
    void measuresTheReferencesPerplexityAndWhatFp8Costs() {
        List<Integer> heard = new ArrayList<>();
        List<CacheEvaluation.Result> results = evaluation()
                .setting(KvCacheDType.FLOAT32, ScaleMode.NONE)
                .setting(KvCacheDType.AUTO, ScaleMode.NONE)
                .setting(KvCacheDType.FP8, ScaleMode.TENSOR)
                .build()
                .run((done, windows) -> {
                    heard.add(done);
                    assertThat(windows).isEqualTo(50);
                });
        assertThat(heard).hasSize(50).last().isEqualTo(50);
        double reference = TinyModel.perplexity("perplexity");
        PredictionQuality exact = results.get(0).quality();
        PredictionQuality auto = results.get(1).quality();
        PredictionQuality fp8 = results.get(2).quality();
        assertThat(exact.perplexity()).isCloseTo(reference, within(0.001));
        assertThat(auto.perplexity()).isCloseTo(reference, within(0.02));
        assertThat(auto.klMean()).isZero();
        assertThat(auto.top1Agreement()).isEqualTo(1);
        assertThat(fp8.klMean()).isPositive().isLessThanOrEqualTo(3e-3);
        assertThat(fp8.klMax()).isGreaterThan(fp8.klMean());
        assertThat(fp8.top1Agreement()).isGreaterThanOrEqualTo(0.96).isLessThan(1);
        assertThat(results.get(0).cacheBytesPerToken()).isEqualTo(6144);
        assertThat(results.get(1).cacheBytesPerToken()).isEqualTo(3072);
        assertThat(results.get(2).cacheBytesPerToken()).isEqualTo(1536);
    }

    @Test
    void measuresTheBeginningOfTheTextAndLongWindows() {
        PredictionQuality shorter = evaluation()
                .maxTokens(2049)
                .setting(KvCacheDType.FLOAT32, ScaleMode.NONE)
                .build()
                .run()
                .get(0)
                .quality();
        assertThat(shorter.perplexity()).isCloseTo(TinyModel.perplexity("perplexity_first_2049"), within(0.001));
        PredictionQuality longer = evaluation()
                .maxTokens(2049)
                .context(1024)
                .stride(512)
                .setting(KvCacheDType.FLOAT32, ScaleMode.NONE)
                .build()
                .run()
                .get(0)
                .quality();
        assertThat(longer.perplexity()).isNotEqualTo(shorter.perplexity()).isBetween(20.0, 35.0);
    }

    /** One head of each layer is far louder than the other: scales that both share lose the quiet one or clip the loud one. */
    @Test
    void scalesOfTheirOwnSaveHeadsThatDiffer() {
        List<CacheEvaluation.Result> results = evaluation()
                .model(TinyModel.MODELS.resolve("tiny-llama-outlier"))
                .maxTokens(2049)
                .setting(KvCacheDType.AUTO, ScaleMode.NONE)
                .setting(KvCacheDType.FP8, ScaleMode.NONE)
                .setting(KvCacheDType.FP8, ScaleMode.TENSOR)
                .setting(KvCacheDType.FP8, ScaleMode.HEAD)
                .setting(KvCacheDType.FP8, ScaleMode.CHANNEL)
                .setting(KvCacheDType.FP8, ScaleMode.DYNAMIC)
                .build()
                .run();
        assertThat(results.get(0).quality().perplexity())
                .isCloseTo(TinyModel.perplexity("perplexity_first_2049"), within(0.02));
        double none = results.get(1).quality().klMean();
        double tensor = results.get(2).quality().klMean();
        double head = results.get(3).quality().klMean();
        double channel = results.get(4).quality().klMean();
        double dynamic = results.get(5).quality().klMean();
        assertThat(none).isGreaterThan(0.1);
        assertThat(tensor).isGreaterThan(0.1);
        assertThat(head).isLessThan(3e-3);
        assertThat(channel).isLessThan(3e-3);
        assertThat(dynamic).isLessThan(3e-3);
        assertThat(results.get(5).cacheBytesPerToken()).isEqualTo(1536 + 6 * 2 * 2 * 4);
    }

    @Test
    void saysWhatIsWrong() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> evaluation()
                        .maxTokens(64)
                        .setting(KvCacheDType.FP8, ScaleMode.CHECKPOINT)
                        .build()
                        .run())
                .withMessageContaining("has no KV scales; calibrate it");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> evaluation().build())
                .withMessageContaining("at least one setting");
        CacheEvaluation.Builder builder = evaluation().setting(KvCacheDType.AUTO, ScaleMode.NONE);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> builder.stride(513).build())
                .withMessageContaining("stride is 513; it must be 1 to the context, 512");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> builder.stride(256).context(4096).build().run())
                .withMessageContaining("context is 4096; the model was made for at most 2048");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> builder.context(512).text("").build().run())
                .withMessageContaining("The text has 1 tokens");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ScaleMode.parse("row"))
                .withMessageContaining("none, tensor, head, channel, dynamic, random-tokens, vllm, checkpoint");
    }
}
