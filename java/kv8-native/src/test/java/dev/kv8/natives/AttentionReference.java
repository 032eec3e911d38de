package dev.kv8.natives;

import org.jspecify.annotations.Nullable;

/** Attention of one query row in float64, over K and V as they were dequantized. */
final class AttentionReference {
    private final double softmaxScale;
    private final int window;
    private final double softcap;
    private final float @Nullable [] sinks;
    private final float @Nullable [] slopes;

    AttentionReference(
            double softmaxScale, int window, double softcap, float @Nullable [] sinks, float @Nullable [] slopes) {
        this.softmaxScale = softmaxScale;
        this.window = window;
        this.softcap = softcap;
        this.sinks = sinks;
        this.slopes = slopes;
    }

    /** The output and, in its last element, the natural logarithm of the denominator. */
    double[] row(float[] q, int qStart, int qHead, float[][] k, float[][] v, int position, int headSize) {
        int keys = position + 1;
        int first = window > 0 ? Math.max(0, keys - window) : 0;
        double[] scores = new double[keys];
        double max = sinks == null ? Double.NEGATIVE_INFINITY : sinks[qHead];
        for (int j = first; j < keys; j++) {
            double dot = 0;
            for (int d = 0; d < headSize; d++) {
                dot += (double) q[qStart + d] * k[j][d];
            }
            double score = softmaxScale * dot;
            if (softcap > 0) {
                score = softcap * Math.tanh(score / softcap);
            }
            if (slopes != null) {
                score += (double) slopes[qHead] * (j - position);
            }
            scores[j] = score;
            max = Math.max(max, score);
        }
        double denominator = sinks == null ? 0 : Math.exp(sinks[qHead] - max);
        double[] out = new double[headSize + 1];
        for (int j = first; j < keys; j++) {
            double weight = Math.exp(scores[j] - max);
            denominator += weight;
            for (int d = 0; d < headSize; d++) {
                out[d] += weight * v[j][d];
            }
        }
        for (int d = 0; d < headSize; d++) {
            out[d] /= denominator;
        }
        out[headSize] = max + Math.log(denominator);
        return out;
    }
}
