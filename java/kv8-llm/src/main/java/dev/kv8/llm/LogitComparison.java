package dev.kv8.llm;

import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * How one cache setting's predictions compare with the reference's over the scored tokens, by position in the window:
 * negative log-likelihood, KL divergence of the reference from the setting, agreement of the most probable token. Logits are
 * float32, sums double.
 */
final class LogitComparison {
    private final int vocabulary;
    private final int context;
    private final QualitySums[] buckets;

    LogitComparison(int vocabulary, int context) {
        this.vocabulary = vocabulary;
        this.context = context;
        buckets = new QualitySums[PositionBucket.index(context - 1) + 1];
        for (int i = 0; i < buckets.length; i++) {
            buckets[i] = new QualitySums();
        }
    }

    /**
     * A row of logits as log-probabilities.
     *
     * @return the most probable token, the lowest id among equals
     */
    static int logSoftmax(FloatBuffer logits, int row, double[] out) {
        int base = row * out.length;
        int best = 0;
        double largest = Double.NEGATIVE_INFINITY;
        for (int i = 0; i < out.length; i++) {
            out[i] = logits.get(base + i);
            if (out[i] > largest) {
                largest = out[i];
                best = i;
            }
        }
        double sum = 0;
        for (double value : out) {
            sum += Math.exp(value - largest);
        }
        double logSum = largest + Math.log(sum);
        for (int i = 0; i < out.length; i++) {
            out[i] -= logSum;
        }
        return best;
    }

    /**
     * Takes in one scored token, from log-probabilities over the vocabulary.
     *
     * @param position of the predicted token in its window
     */
    void add(int position, double[] reference, int referenceBest, double[] own, int ownBest, int target) {
        double kl = 0;
        for (int i = 0; i < vocabulary; i++) {
            kl += Math.exp(reference[i]) * (reference[i] - own[i]);
        }
        buckets[PositionBucket.index(position)].add(
                -own[target], -reference[target], Math.max(0, kl), referenceBest == ownBest);
    }

    PredictionQuality quality() {
        QualitySums whole = new QualitySums();
        for (QualitySums bucket : buckets) {
            whole.add(bucket);
        }
        return whole.quality();
    }

    /** Buckets without a scored token are left out. */
    List<PositionBucket> byPosition() {
        List<PositionBucket> result = new ArrayList<>();
        for (int i = 0; i < buckets.length; i++) {
            if (buckets[i].tokens() > 0) {
                result.add(PositionBucket.of(i, context, buckets[i].quality()));
            }
        }
        return result;
    }
}
