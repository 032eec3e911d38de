package dev.kv8.llm;

import java.nio.FloatBuffer;

/**
 * How one cache setting's predictions compare with the reference's over the scored tokens: negative log-likelihood, KL
 * divergence of the reference from the setting, agreement of the most probable token. Logits are float32, sums double.
 */
final class LogitComparison {
    private final int vocabulary;
    private double nll;
    private double klSum;
    private double klMax;
    private long agreements;
    private long targets;

    LogitComparison(int vocabulary) {
        this.vocabulary = vocabulary;
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

    /** Takes in one scored token, from log-probabilities over the vocabulary. */
    void add(double[] reference, int referenceBest, double[] own, int ownBest, int target) {
        double kl = 0;
        for (int i = 0; i < vocabulary; i++) {
            kl += Math.exp(reference[i]) * (reference[i] - own[i]);
        }
        nll -= own[target];
        klSum += Math.max(0, kl);
        klMax = Math.max(klMax, kl);
        agreements += referenceBest == ownBest ? 1 : 0;
        targets++;
    }

    double perplexity() {
        return Math.exp(nll / targets);
    }

    double klMean() {
        return klSum / targets;
    }

    double klMax() {
        return klMax;
    }

    double top1Agreement() {
        return (double) agreements / targets;
    }
}
