package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import java.util.List;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Calibration and evaluation look at a device's K, V and logits through copies: they find what they find on the CPU, but for bfloat16's rounding. */
class EmulatedCalibrationTest {
    private static KvBackend cpu;
    private static KvBackend emulator;

    @BeforeAll
    static void open() {
        emulator = EmulatedDevice.open("sm_90");
        cpu = KvBackend.open("cpu");
    }

    @AfterAll
    static void close() {
        if (cpu != null) {
            cpu.close();
            emulator.close();
        }
    }

    private static Calibration calibration(KvBackend backend) {
        return Calibrator.builder()
                .model(TinyModel.FOLDER)
                .backend(backend)
                .data(TinyModel.FOLDER.resolve("eval.txt"))
                .samples(2)
                .sampleLength(24)
                .build()
                .run();
    }

    @Test
    void theMagnitudesAreTheCpus() {
        Calibration expected = calibration(cpu);
        Calibration computed = calibration(new DistantBackend(emulator).backend());
        assertThat(computed.facts()).isEqualTo(expected.facts());
        for (int layer = 0; layer < 6; layer++) {
            for (List<Calibration.Range> ranges : List.of(
                    List.of(computed.kRange(layer), expected.kRange(layer)),
                    List.of(computed.vRange(layer), expected.vRange(layer)))) {
                assertThat(ranges.get(0).amax())
                        .as("layer %d", layer)
                        .isCloseTo(ranges.get(1).amax(), Percentage.withPercentage(3));
                assertThat(ranges.get(0).nans()).isZero();
            }
        }
    }

    private static List<CacheEvaluation.Result> evaluation(KvBackend backend) {
        return CacheEvaluation.builder()
                .model(TinyModel.FOLDER)
                .backend(backend)
                .text(TinyModel.evaluationText())
                .maxTokens(65)
                .context(64)
                .stride(32)
                .setting(KvCacheDType.FP8, ScaleMode.TENSOR)
                .build()
                .run();
    }

    @Test
    void thePerplexityIsTheCpus() {
        PredictionQuality expected = evaluation(cpu).get(0).quality();
        PredictionQuality computed =
                evaluation(new DistantBackend(emulator).backend()).get(0).quality();
        assertThat(computed.perplexity()).isCloseTo(expected.perplexity(), Percentage.withPercentage(3));
        assertThat(computed.klMean()).isPositive().isCloseTo(expected.klMean(), within(3e-3));
    }
}
