package dev.kv8.llm;

import java.nio.FloatBuffer;
import java.util.Arrays;

/**
 * One row of logits in Java, for what the device's sampling does not do: penalties and min-p, which change the row before a token
 * is drawn from it, and probabilities, which are those of the row as the model gave it. For one thread.
 */
final class LogitRow {
    private final Tokenizer tokenizer;
    private final float[] logits;
    /** How often the text has a token; zero between calls. */
    private final int[] counts;

    LogitRow(int vocabulary, Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
        logits = new float[vocabulary];
        counts = new int[vocabulary];
    }

    /** Whether the device can't draw alone what is asked for. */
    static boolean isNeeded(SamplingParams sampling) {
        return changes(sampling) || sampling.logprobs().isPresent();
    }

    static boolean changes(SamplingParams sampling) {
        return sampling.repetitionPenalty() != 1
                || sampling.presencePenalty() != 0
                || sampling.frequencyPenalty() != 0
                || cutsByMinP(sampling);
    }

    private static boolean cutsByMinP(SamplingParams sampling) {
        return sampling.minP() > 0 && sampling.temperature() > 0;
    }

    /** Takes a row over. */
    void read(FloatBuffer row) {
        row.get(logits);
    }

    void write(FloatBuffer row) {
        row.put(logits);
    }

    /** Whether a token can be drawn from it: neither NaN nor positive infinity, and something finite. */
    boolean isDrawable() {
        boolean anyFinite = false;
        for (float logit : logits) {
            if (!(logit <= Float.MAX_VALUE)) {
                return false;
            }
            anyFinite |= logit >= -Float.MAX_VALUE;
        }
        return anyFinite;
    }

    /** Makes all tokens equally probable. */
    void clear() {
        Arrays.fill(logits, 0);
    }

    /**
     * Applies what {@code sampling} asks for, in vLLM's order: penalties, then min-p at the temperature.
     *
     * @param tokens of the prompt and of the text behind it, {@code length} together
     */
    void change(SamplingParams sampling, int[] tokens, int promptLength, int length) {
        if (sampling.repetitionPenalty() != 1) {
            penalizeRepetition(sampling.repetitionPenalty(), tokens, length);
        }
        penalizePresence(sampling, tokens, promptLength, length);
        if (cutsByMinP(sampling)) {
            cut(sampling);
        }
    }

    private void penalizeRepetition(double penalty, int[] tokens, int length) {
        for (int i = 0; i < length; i++) {
            int token = tokens[i];
            if (counts[token]++ == 0) {
                logits[token] = penalized(logits[token], penalty);
            }
        }
        for (int i = 0; i < length; i++) {
            counts[tokens[i]] = 0;
        }
    }

    /** Infinite only where the logit was: from infinite ones nothing can be drawn. */
    private static float penalized(float logit, double penalty) {
        if (Float.isInfinite(logit)) {
            return logit;
        }
        double changed = logit > 0 ? logit / penalty : logit * penalty;
        return (float) Math.max(-Float.MAX_VALUE, Math.min(Float.MAX_VALUE, changed));
    }

    private void penalizePresence(SamplingParams sampling, int[] tokens, int from, int to) {
        for (int i = from; i < to; i++) {
            counts[tokens[i]]++;
        }
        for (int i = from; i < to; i++) {
            int token = tokens[i];
            if (counts[token] > 0) {
                logits[token] -= (float) (sampling.frequencyPenalty() * counts[token] + sampling.presencePenalty());
                counts[token] = 0;
            }
        }
    }

    private void cut(SamplingParams sampling) {
        double least = largest() + sampling.temperature() * Math.log(sampling.minP());
        for (int i = 0; i < logits.length; i++) {
            if (logits[i] < least) {
                logits[i] = Float.NEGATIVE_INFINITY;
            }
        }
    }

    private float largest() {
        float largest = Float.NEGATIVE_INFINITY;
        for (float logit : logits) {
            largest = Math.max(largest, logit);
        }
        return largest;
    }

    /** Of the row as it is now. */
    Probabilities probabilities(int top) {
        return new Probabilities(logits.clone(), top, tokenizer);
    }
}
