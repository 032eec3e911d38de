package dev.kv8.llm;

import java.nio.FloatBuffer;

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
                logits[token] = (float) (logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty);
            }
        }
        for (int i = 0; i < length; i++) {
            counts[tokens[i]] = 0;
        }
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
