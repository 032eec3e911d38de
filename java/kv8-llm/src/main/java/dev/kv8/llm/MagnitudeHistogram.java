package dev.kv8.llm;

/**
 * How often magnitudes occur in K or V: counts over logarithmic bins, sixteen to a power of two from 2^-20 to 2^20, one for
 * zeros, one for what is smaller and one for what is larger. The largest magnitude is kept exactly, NaNs are counted apart.
 *
 * <p>Values are taken as spread evenly over their bin, up to the exact maximum in the last one.
 */
final class MagnitudeHistogram {
    /** Zeros, smaller ones, sixteen bins for each of forty powers of two, larger ones. */
    static final int BINS = 2 + (40 << 4) + 1;

    private static final int FIRST_FINE = 2;
    /** What a float's exponent and its four highest fraction bits are at 2^-20. */
    private static final int FIRST_CODE = (127 - 20) << 4;

    private static final int FRACTION_SHIFT = 23 - 4;

    private final long[] counts = new long[BINS];
    private long total;
    private long nans;
    private float max;

    /** The bin of a magnitude given by its bits, which are those of a number that is not NaN and not negative. */
    static int bin(int magnitudeBits) {
        if (magnitudeBits == 0) {
            return 0;
        }
        int fine = (magnitudeBits >>> FRACTION_SHIFT) - FIRST_CODE + FIRST_FINE;
        return Math.max(1, Math.min(fine, BINS - 1));
    }

    /** Takes in {@code BINS} counts of {@code source} from {@code offset} on. */
    void add(int[] source, int offset, long nanCount, float largest) {
        for (int bin = 0; bin < BINS; bin++) {
            int count = source[offset + bin];
            counts[bin] += count;
            total += count;
        }
        nans += nanCount;
        max = Math.max(max, largest);
    }

    /** Values, without NaNs. */
    long total() {
        return total;
    }

    long zeros() {
        return counts[0];
    }

    long nans() {
        return nans;
    }

    /** The largest magnitude, exactly; 0 when there is none. */
    float max() {
        return max;
    }

    long count(int bin) {
        return counts[bin];
    }

    /** Where a bin begins. */
    static float lower(int bin) {
        return bin < FIRST_FINE ? 0 : Float.intBitsToFloat((bin - FIRST_FINE + FIRST_CODE) << FRACTION_SHIFT);
    }

    /** Where the values of a bin end: at the next bin, or at the maximum. */
    float upper(int bin) {
        if (bin == 0) {
            return 0;
        }
        return bin == BINS - 1 ? max : Math.min(lower(bin + 1), max);
    }

    /**
     * The magnitude that {@code percent} of all values, zeros included, do not exceed; between two values by their ranks.
     *
     * @param percent above 0, at most 100, which gives the maximum exactly
     */
    float percentile(double percent) {
        if (total == 0 || percent == 100) {
            return max;
        }
        double rank = percent / 100 * (total - 1);
        long before = 0;
        for (int bin = 0; bin < BINS; bin++) {
            long count = counts[bin];
            if (count > 0 && rank < before + count) {
                double part = Math.min(1, (rank - before + 0.5) / count);
                return (float) (lower(bin) + part * (upper(bin) - lower(bin)));
            }
            before += count;
        }
        return max;
    }

    /** The part of all values whose magnitude is above {@code threshold}, 0 to 1. */
    double above(double threshold) {
        if (total == 0 || threshold >= max) {
            return 0;
        }
        double above = 0;
        for (int bin = BINS - 1; bin > 0 && upper(bin) > threshold; bin--) {
            double lower = lower(bin);
            double upper = upper(bin);
            above += lower >= threshold ? counts[bin] : counts[bin] * (upper - threshold) / (upper - lower);
        }
        return above / total;
    }
}
