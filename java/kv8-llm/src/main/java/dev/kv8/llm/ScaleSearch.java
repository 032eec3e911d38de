package dev.kv8.llm;

import dev.kv8.Fp8Format;
import dev.kv8.KvScales;

/** Finds the scale that a rule asks for. Immutable. */
final class ScaleSearch {
    /** Candidates for each halving of the scale: neighbours differ by 1.1 %. */
    private static final int STEPS_AN_OCTAVE = 64;

    private static final int OCTAVES = 4;

    private final ScaleRule rule;
    private final Fp8Format format;
    private final QuantizationError error;
    private final double margin;

    /** {@code margin}: at least 1; multiplies every scale but those of all-zero values. */
    ScaleSearch(ScaleRule rule, Fp8Format format, double margin) {
        this.rule = rule;
        this.format = format;
        this.error = new QuantizationError(format);
        this.margin = margin;
    }

    /** The scale for these magnitudes; 1.0 when all are zero. */
    float scale(MagnitudeHistogram histogram) {
        if (histogram.max() == 0) {
            return 1.0f;
        }
        float largest = KvScales.scaleFor(histogram.max(), format);
        return (float) (chosen(histogram, largest) * margin);
    }

    private float chosen(MagnitudeHistogram histogram, float largest) {
        if (rule instanceof ScaleRule.Percentile percentile) {
            float magnitude = histogram.percentile(percentile.percent());
            // Where almost everything is zero, the few other values are what there is to keep.
            return magnitude == 0 ? largest : KvScales.scaleFor(magnitude, format);
        }
        return rule instanceof ScaleRule.Mse ? leastError(histogram, largest) : largest;
    }

    /** The search begins with the min-max scale itself and only moves for less error, so it is never worse than that. */
    private float leastError(MagnitudeHistogram histogram, float largest) {
        float best = largest;
        double least = error.squared(histogram, largest);
        for (int step = 1; step <= OCTAVES * STEPS_AN_OCTAVE; step++) {
            float candidate = (float) (largest * Math.pow(2, -(double) step / STEPS_AN_OCTAVE));
            if (candidate < Float.MIN_NORMAL) {
                break;
            }
            double squared = error.squared(histogram, candidate, least);
            if (squared < least) {
                least = squared;
                best = candidate;
            }
        }
        return best;
    }
}
