package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;

/**
 * How a text is cut for perplexity: window k covers {@code [k * stride, k * stride + context)} of the tokens, and a token is
 * scored once, in the first window that holds it and something before it.
 */
final class EvaluationWindows {
    /**
     * A window.
     *
     * @param begin of its tokens in the text
     * @param end of its tokens
     * @param firstTarget the first token that is scored here; the others follow up to {@code end}
     */
    record Window(int begin, int end, int firstTarget) {
        int length() {
            return end - begin;
        }

        /** Rows that predict targets: row i predicts token {@code begin + i + 1}. */
        int firstRow() {
            return firstTarget - 1 - begin;
        }

        int targets() {
            return end - firstTarget;
        }
    }

    private EvaluationWindows() {}

    static List<Window> cut(int tokens, int context, int stride) {
        List<Window> windows = new ArrayList<>();
        int scoredTo = 1;
        for (int begin = 0; scoredTo < tokens; begin += stride) {
            int end = Math.min(begin + context, tokens);
            windows.add(new Window(begin, end, Math.max(scoredTo, begin + 1)));
            scoredTo = end;
        }
        return windows;
    }
}
