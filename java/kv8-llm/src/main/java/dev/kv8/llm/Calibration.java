package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.Fp8Format;
import dev.kv8.KvScales;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * What a {@link Calibrator} found: the magnitudes of K and V, and the scales that follow from them at every granularity.
 * Immutable; any thread may use it.
 */
public final class Calibration {
    private final Path model;
    private final CalibrationFacts facts;
    private final String sampleText;
    private final LayerMagnitudes magnitudes;
    private final CalibrationRules rules;

    Calibration(
            Path model, CalibrationFacts facts, String sampleText, LayerMagnitudes magnitudes, CalibrationRules rules) {
        this.model = model;
        this.facts = facts;
        this.sampleText = sampleText;
        this.magnitudes = magnitudes;
        this.rules = rules;
    }

    /**
     * Refuses what {@link #save} would refuse whatever the scales are, so that nobody calibrates in vain.
     *
     * @throws CheckpointException when the target exists or can't, or the model is quantized or has scales already
     */
    public static void checkTarget(Path model, Path target) {
        CalibratedCheckpoint.check(model, target);
    }

    /**
     * What was seen of K or of V in one layer.
     *
     * @param amax the largest magnitude
     * @param headAmax the largest one of each head
     * @param percentile999 the magnitude that 99.9 % of all values do not exceed
     * @param zeros among the values
     * @param nans among the values; scales pass over them
     */
    public record Range(float amax, List<Float> headAmax, float percentile999, long zeros, long nans) {}

    public CalibrationFacts facts() {
        return facts;
    }

    /** The beginning of the samples as text, some thousands of tokens: what scales can be evaluated on. */
    public String sampleText() {
        return sampleText;
    }

    /**
     * The scales of all layers.
     *
     * @param granularity TENSOR, HEAD or CHANNEL
     * @throws IllegalArgumentException when another is asked for, or a scale is not usable
     */
    public KvScales scales(KvScales.Granularity granularity) {
        List<KvScales.LayerScales> layers = IntStream.range(0, magnitudes.layers())
                .parallel()
                .mapToObj(layer -> new KvScales.LayerScales(
                        side(layer, KvSide.K, granularity), side(layer, KvSide.V, granularity)))
                .toList();
        KvScales.Builder scales = KvScales.builder(magnitudes.layers(), magnitudes.heads(), magnitudes.headSize());
        for (int layer = 0; layer < layers.size(); layer++) {
            scales.layer(layer, layers.get(layer));
        }
        return scales.build();
    }

    private KvScales.Side side(int layer, KvSide side, KvScales.Granularity granularity) {
        List<MagnitudeHistogram> histograms = magnitudes.histograms(layer, side, granularity);
        ScaleSearch search = rules.search(side);
        float[] scales = new float[histograms.size()];
        for (int i = 0; i < scales.length; i++) {
            scales[i] = search.scale(histograms.get(i));
        }
        return switch (granularity) {
            case TENSOR -> KvScales.Side.tensor(scales[0]);
            case HEAD -> KvScales.Side.head(scales);
            default -> KvScales.Side.channel(scales);
        };
    }

    /** What was seen of the rotated K of a layer. */
    public Range kRange(int layer) {
        return range(layer, KvSide.K);
    }

    /** What was seen of the V of a layer. */
    public Range vRange(int layer) {
        return range(layer, KvSide.V);
    }

    private Range range(int layer, KvSide side) {
        MagnitudeHistogram all =
                magnitudes.histograms(layer, side, KvScales.Granularity.TENSOR).get(0);
        List<Float> heads = magnitudes.histograms(layer, side, KvScales.Granularity.HEAD).stream()
                .map(MagnitudeHistogram::max)
                .toList();
        return new Range(all.max(), heads, all.percentile(99.9), all.zeros(), all.nans());
    }

    /** The part of a layer's values that these scales are expected to saturate, 0 to 1. */
    double saturated(int layer, KvSide side, KvScales.Side scales) {
        List<MagnitudeHistogram> histograms = magnitudes.histograms(layer, side, scales.granularity());
        QuantizationError error = new QuantizationError(rules.format());
        float[] values = scales.values();
        double saturated = 0;
        long total = 0;
        for (int i = 0; i < values.length; i++) {
            MagnitudeHistogram histogram = histograms.get(i);
            saturated += error.saturated(histogram, values[i]) * histogram.total();
            total += histogram.total();
        }
        return total == 0 ? 0 : saturated / total;
    }

    /**
     * A report in JSON: data, settings, and by layer what was seen, the scales' range and the part of values expected to
     * saturate.
     *
     * @param scales of {@link #scales}
     * @param skippedLayers that stay in 16 bits; they are reported without scales
     */
    public String report(KvScales scales, Set<Integer> skippedLayers) {
        return CalibrationReport.of(this, rules, scales, skippedLayers);
    }

    /**
     * Writes a copy of the model's folder that carries scales as compressed-tensors names them, for vLLM and for kv8, and the
     * {@link #report}. Every other file and tensor stays as it is; the copy appears whole or not at all.
     *
     * @param target a folder that does not exist, in one that does
     * @param scales of {@link #scales}, all of one granularity
     * @param skippedLayers that stay in 16 bits
     * @param scaleType FLOAT32, or the model's own type, which rounds the scales
     * @throws CheckpointException when the target can't be written; nothing is left of it then
     * @throws IllegalStateException when a checkpoint can't say how its scales were found: they are for E5M2, or K and V
     *     follow different rules
     */
    public void save(Path target, KvScales scales, Set<Integer> skippedLayers, DType scaleType) {
        if (rules.format() != Fp8Format.E4M3FN || !rules.k().equals(rules.v())) {
            throw new IllegalStateException("A checkpoint's scales are for E4M3 and found by one rule; these are for "
                    + rules.format() + ", by " + rules.k() + " for K and " + rules.v()
                    + " for V. Give them to the cache directly (KvCacheConfig.scales, LLM.Builder.kvScales).");
        }
        KvCacheScheme scheme = scheme(scales.layer(0).k().granularity());
        CalibratedCheckpoint.write(
                model, target, scales, skippedLayers, scheme, scaleType, report(scales, skippedLayers));
    }

    private KvCacheScheme scheme(KvScales.Granularity granularity) {
        if (rules.k() instanceof ScaleRule.Percentile percentile) {
            return KvCacheScheme.percentile(granularity, percentile.percent());
        }
        return KvCacheScheme.of(
                granularity,
                rules.k() instanceof ScaleRule.Mse ? KvCacheScheme.Observer.MSE : KvCacheScheme.Observer.MINMAX);
    }
}
