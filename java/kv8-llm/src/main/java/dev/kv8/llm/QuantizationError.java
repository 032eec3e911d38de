package dev.kv8.llm;

import dev.kv8.Fp8Format;

/**
 * What rounding to an FP8 format costs: the expected squared error of {@code decode(encode(x / scale)) * scale} over a
 * histogram, saturation included. Immutable.
 *
 * <p>The error of one number y in units of the scale is {@code (nearest(y) - y)²}; its integral from 0 to y is known at each
 * code and cubic from there, so a bin costs two look-ups however many codes it spans.
 */
final class QuantizationError {
    private final Fp8Format format;
    /** The finite magnitudes of the format, ascending, by code. */
    private final double[] values;
    /** The integral of the squared error from 0 to {@code values[code]}. */
    private final double[] integral;

    QuantizationError(Fp8Format format) {
        this.format = format;
        int codes = Byte.toUnsignedInt(format.encode(format.maxValue())) + 1;
        values = new double[codes];
        integral = new double[codes];
        for (int code = 1; code < codes; code++) {
            values[code] = format.decode((byte) code);
            double gap = values[code] - values[code - 1];
            integral[code] = integral[code - 1] + gap * gap * gap / 12;
        }
    }

    /** The mean squared error of all values that are not NaN. */
    double squared(MagnitudeHistogram histogram, float scale) {
        return squared(histogram, scale, Double.POSITIVE_INFINITY);
    }

    /** The same, or infinity as soon as it is sure to be above {@code limit}. */
    double squared(MagnitudeHistogram histogram, float scale, double limit) {
        double unit = (double) scale * scale / Math.max(1, histogram.total());
        double sum = 0;
        // The largest values come first: where they saturate they decide at once.
        for (int bin = MagnitudeHistogram.BINS - 1; bin > 0; bin--) {
            long count = histogram.count(bin);
            if (count == 0) {
                continue;
            }
            sum += count * mean(MagnitudeHistogram.lower(bin) / (double) scale, histogram.upper(bin) / (double) scale);
            if (sum * unit > limit) {
                return Double.POSITIVE_INFINITY;
            }
        }
        return sum * unit;
    }

    /** The part of all values that saturate, 0 to 1: those beyond the largest value and what still rounds to it. */
    double saturated(MagnitudeHistogram histogram, float scale) {
        int last = values.length - 1;
        return histogram.above((values[last] + (values[last] - values[last - 1]) / 2) * scale);
    }

    /** The mean error of numbers spread evenly between two. */
    private double mean(double lower, double upper) {
        if (upper > lower) {
            return (integralTo(upper) - integralTo(lower)) / (upper - lower);
        }
        double distance = lower - values[nearest(lower)];
        return distance * distance;
    }

    private double integralTo(double y) {
        int code = nearest(y);
        double distance = y - values[code];
        return integral[code] + distance * distance * distance / 3;
    }

    private int nearest(double y) {
        return Byte.toUnsignedInt(format.encode((float) y));
    }
}
