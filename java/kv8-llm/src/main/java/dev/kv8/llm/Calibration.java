package dev.kv8.llm;

import dev.kv8.KvScales;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * What a {@link Calibrator} found: the magnitudes of K and V, and the scales that follow from them at every granularity.
 * Immutable; any thread may use it.
 */
public final class Calibration {
    private final CalibrationFacts facts;
    private final LayerMagnitudes magnitudes;
    private final CalibrationRules rules;

    Calibration(CalibrationFacts facts, LayerMagnitudes magnitudes, CalibrationRules rules) {
        this.facts = facts;
        this.magnitudes = magnitudes;
        this.rules = rules;
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
}
