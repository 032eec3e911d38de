package dev.kv8;

import java.util.Arrays;

/**
 * How many stored values a cache's scales could not hold, by layer: those whose quotient {@code x / scale} is beyond the FP8
 * format's largest value by more than half of its last step, so that they lost more than rounding takes. Immutable.
 *
 * <p>None is what calibrated scales are for; a few on text unlike the calibration's are harmless, many call for other scales.
 */
public final class Saturation {
    private final long[] k;
    private final long[] v;
    private final long[] written;

    /** Takes the arrays over. */
    Saturation(long[] k, long[] v, long[] written) {
        this.k = k;
        this.v = v;
        this.written = written;
    }

    /** Layers of the cache. */
    public int layers() {
        return written.length;
    }

    /** Saturated values of K of a layer since the cache was made, or the layer's scales were set. */
    public long k(int layer) {
        return k[layer];
    }

    /** Saturated values of V of a layer. */
    public long v(int layer) {
        return v[layer];
    }

    /** Values of K that were stored in a layer, as many as of V: tokens times heads times head size. */
    public long written(int layer) {
        return written[layer];
    }

    /** All saturated values. */
    public long total() {
        return Arrays.stream(k).sum() + Arrays.stream(v).sum();
    }

    /** The larger part of K's and V's stored values that saturated in a layer, 0 to 1. */
    public double part(int layer) {
        return written[layer] == 0 ? 0 : (double) Math.max(k[layer], v[layer]) / written[layer];
    }

    /** The layer with the largest {@link #part}, the first among equals. */
    public int worstLayer() {
        int worst = 0;
        for (int layer = 1; layer < layers(); layer++) {
            if (part(layer) > part(worst)) {
                worst = layer;
            }
        }
        return worst;
    }

    @Override
    public String toString() {
        int worst = worstLayer();
        return "Saturation[" + total() + " values, most in layer " + worst + ": " + k[worst] + " of K and " + v[worst]
                + " of V of " + written[worst] + " each]";
    }
}
