package dev.kv8.llm;

/** How many tokens of prompts a second are computed, from the steps that are mostly prompts; newer ones count more. */
final class PrefillRate {
    /** How much of what was known a new step leaves. */
    private static final double KEPT = 0.9;

    private double tokens;
    private double nanos;

    /** A step of {@code rows} tokens of {@code sequences}; with few rows for each it says nothing about prompts. */
    void add(int rows, int sequences, long stepNanos) {
        if (rows >= 8 * sequences) {
            tokens = KEPT * tokens + rows;
            nanos = KEPT * nanos + stepNanos;
        }
    }

    /** 0 before the first such step. */
    double tokensPerSecond() {
        return nanos == 0 ? 0 : tokens * 1e9 / nanos;
    }
}
