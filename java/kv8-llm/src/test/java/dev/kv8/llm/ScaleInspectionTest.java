package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.DType;
import dev.kv8.KvBackend;
import dev.kv8.KvScales;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ScaleInspectionTest {
    private static final Path OUTLIER = TinyModel.MODELS.resolve("tiny-llama-outlier");

    private static ObservedRanges observe(Path model) {
        String text = TinyModel.evaluationText().substring(0, 2000);
        try (KvBackend backend = KvBackend.open("cpu")) {
            return ObservedRanges.measure(backend, model, text, 256, (done, windows) -> {});
        }
    }

    @Test
    void aCheckpointWithoutScalesSaysSo() {
        ScaleInspection inspection = ScaleInspection.read(TinyModel.FOLDER);
        assertThat(inspection.scales()).isEmpty();
        assertThat(inspection.scheme()).isEmpty();
        assertThat(inspection.fault()).isEmpty();
        assertThat(inspection.heads(null)).hasSize(6 * 2 * 2).allSatisfy(head -> {
            assertThat(head.smallestScale()).isEqualTo(1);
            assertThat(head.amax()).isNaN();
            assertThat(head.saturates()).isFalse();
        });
    }

    @Test
    void aCalibratedCheckpointShowsItsSchemeScalesAndSkippedLayers(@TempDir Path folder) {
        KvScales.Builder scales = KvScales.builder(6, 2, 64);
        for (int layer = 0; layer < 6; layer++) {
            KvScales.Side k = KvScales.Side.head(0.5f, 0.25f + layer);
            scales.layer(layer, new KvScales.LayerScales(k, KvScales.Side.head(2, 3)));
        }
        Path calibrated = folder.resolve("calibrated");
        CalibratedCheckpoint.write(
                TinyModel.FOLDER,
                calibrated,
                scales.build(),
                Set.of(2),
                KvCacheScheme.of(KvScales.Granularity.HEAD, KvCacheScheme.Observer.MINMAX),
                DType.FLOAT32,
                "{}");
        ScaleInspection inspection = ScaleInspection.read(calibrated);
        assertThat(inspection.scheme()).hasValue("strategy attn_head, 8-bit float, static");
        assertThat(inspection.skippedLayers()).containsExactly(2);
        List<ScaleInspection.HeadRange> heads = inspection.heads(null);
        assertThat(heads).hasSize(5 * 2 * 2).noneMatch(head -> head.layer() == 2);
        assertThat(heads.get(1).largestScale()).isEqualTo(0.25f);
        assertThat(heads.get(2).side()).isEqualTo(ScaleInspection.Side.V);
        assertThat(heads.get(2).smallestScale()).isEqualTo(2);
    }

    @Test
    void aCheckpointWithUnusableScalesIsInspectedAllTheSame(@TempDir Path folder) throws Exception {
        Files.copy(TinyModel.FOLDER.resolve("config.json"), folder.resolve("config.json"));
        new SafetensorsWriter()
                .tensor("model.layers.0.self_attn.k_scale", DType.FLOAT32, new float[] {0}, 1)
                .write(folder.resolve("model.safetensors"));
        ScaleInspection inspection = ScaleInspection.read(folder);
        assertThat(inspection.scales()).isEmpty();
        assertThat(inspection.fault().orElseThrow()).contains("layer 0", "zero");
    }

    /** README.md of the model: even layers have a loud head 0, odd ones a loud head 1, all of them far beyond 448. */
    @Test
    void loudHeadsSaturateWithoutScales() {
        List<ScaleInspection.HeadRange> heads = ScaleInspection.read(OUTLIER).heads(observe(OUTLIER));
        for (ScaleInspection.HeadRange head : heads) {
            boolean loud = head.head() == head.layer() % 2;
            assertThat(head.saturates()).as(head.toString()).isEqualTo(loud);
            assertThat(head.used()).as(head.toString()).isCloseTo(head.amax() / 448, within(1e-3f * head.amax()));
        }
    }

    /** The two models are one function: the factors between their keys and values are those of the README. */
    @Test
    void magnitudesAreThoseThatAreStored() {
        ObservedRanges plain = observe(TinyModel.FOLDER);
        ObservedRanges outlier = observe(OUTLIER);
        assertThat(outlier.v(0, 1, 0) / plain.v(0, 1, 0)).isCloseTo(1 / 64f, within(1e-5f));
        assertThat(outlier.v(0, 0, 3) / plain.v(0, 0, 3)).isCloseTo(512 * 8f, within(1f));
        assertThat(outlier.k(1, 0, 5) / plain.k(1, 0, 5)).isCloseTo(1 / 64f, within(1e-5f));
        assertThat(outlier.k(1, 1, 30) / plain.k(1, 1, 30)).isCloseTo(32 * 64f, within(1f));
    }

    @Test
    void aHeadsUseOfItsRangeIsThatOfItsFullestChannel() {
        ObservedRanges observed = observe(TinyModel.FOLDER);
        ModelConfig model = ModelConfig.read(TinyModel.FOLDER);
        float[] scales = new float[model.kvHeads() * model.headSize()];
        for (int i = 0; i < scales.length; i++) {
            scales[i] = observed.k(0, i / model.headSize(), i % model.headSize()) / 448;
        }
        // One channel of head 1 has half of the range that it needs.
        scales[model.headSize() + 7] /= 2;
        KvScales.Builder given = KvScales.builder(model.layers(), model.kvHeads(), model.headSize());
        given.layer(0, new KvScales.LayerScales(KvScales.Side.channel(scales), KvScales.Side.DYNAMIC));
        List<ScaleInspection.HeadRange> heads = new ScaleInspection(
                        model, Optional.empty(), Optional.of(given.build()), Set.of(), Optional.empty())
                .heads(observed);
        assertThat(heads.get(0).used()).isCloseTo(1, within(1e-5f));
        assertThat(heads.get(0).saturates()).isFalse();
        assertThat(heads.get(1).used()).isCloseTo(2, within(1e-5f));
        assertThat(heads.get(1).saturates()).isTrue();
        assertThat(heads.get(2).dynamic()).isTrue();
        assertThat(heads.get(2).saturates()).isFalse();
    }
}
