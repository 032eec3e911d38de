package dev.kv8;

import java.util.List;

/**
 * The K and V that the tests store for a token: a function of the layer, the position and all tokens up to it, as in a model. So a
 * row from another sequence, position or layer is noticed, and equal prefixes have equal rows. K is chosen so that FP8 with
 * scale 1 or with a row scale holds it exactly.
 */
final class TokenContent {
    static final int KV_HEADS = 2;
    static final int QUERY_HEADS = 4;
    static final int HEAD_SIZE = 64;
    private static final float ROW_SCALE = 0x1p-9f;

    private static final float[] E4M3FN = new float[256];

    static {
        for (int code = 0; code < E4M3FN.length; code++) {
            E4M3FN[code] = Fp8Format.E4M3FN.decode((byte) code);
        }
    }

    private TokenContent() {}

    /** One for each prefix: element {@code i} stands for tokens 0 to i. */
    static long[] prefixes(List<Integer> tokens) {
        long[] prefixes = new long[tokens.size()];
        long hash = 17;
        for (int i = 0; i < prefixes.length; i++) {
            hash = mix(hash + tokens.get(i));
            prefixes[i] = hash;
        }
        return prefixes;
    }

    /** Layer 1 has row scales: its first channel has the largest magnitude. */
    static float k(int layer, long prefix, int head, int channel) {
        int code = (int) (mix(prefix + layer * 1000L + head * 100L + channel) & 0xBF);
        float value = E4M3FN[code];
        if (layer == 1) {
            return channel == 0 ? Fp8Format.E4M3FN.maxValue() * ROW_SCALE : value * ROW_SCALE;
        }
        return value;
    }

    static float v(int layer, long prefix, int head, int channel) {
        return (mix(prefix - layer * 1000L - head * 100L - channel) >> 40) * 0x1p-24f;
    }

    static float q(int layer, long prefix, int head, int channel) {
        return (mix(~prefix + layer * 1000L + head * 100L + channel) >> 40) * 0x1p-24f;
    }

    /** Causal attention of {@code position} over the last {@code window} keys, 0 for all, in float64. */
    static double[] attend(int layer, long[] prefixes, int position, int queryHead, int window) {
        int kvHead = queryHead / (QUERY_HEADS / KV_HEADS);
        double[] sum = new double[HEAD_SIZE];
        double total = 0;
        for (int j = window == 0 ? 0 : Math.max(0, position - window + 1); j <= position; j++) {
            double score = 0;
            for (int d = 0; d < HEAD_SIZE; d++) {
                score += (double) q(layer, prefixes[position], queryHead, d) * k(layer, prefixes[j], kvHead, d);
            }
            double weight = Math.exp(score / Math.sqrt(HEAD_SIZE));
            total += weight;
            for (int d = 0; d < HEAD_SIZE; d++) {
                sum[d] += weight * v(layer, prefixes[j], kvHead, d);
            }
        }
        for (int d = 0; d < HEAD_SIZE; d++) {
            sum[d] /= total;
        }
        return sum;
    }

    private static long mix(long x) {
        x = (x ^ (x >>> 30)) * 0xBF58476D1CE4E5B9L;
        x = (x ^ (x >>> 27)) * 0x94D049BB133111EBL;
        return x ^ (x >>> 31);
    }
}
