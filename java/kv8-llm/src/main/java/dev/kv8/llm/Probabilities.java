package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;

/** The probabilities of a row of logits, kept until a token has been drawn from it. */
final class Probabilities {
    private final Tokenizer tokenizer;
    private final float[] logits;
    private final int[] top;
    /** What is to be subtracted from a logit: the logarithm of the sum of all exponentials. */
    private final double logSum;

    /** Takes the logits over. */
    Probabilities(float[] logits, int top, Tokenizer tokenizer) {
        this.logits = logits;
        this.tokenizer = tokenizer;
        this.top = largest(logits, top);
        logSum = logSum(logits);
    }

    private static double logSum(float[] logits) {
        double largest = Float.NEGATIVE_INFINITY;
        for (float logit : logits) {
            largest = Math.max(largest, logit);
        }
        double sum = 0;
        for (float logit : logits) {
            sum += Math.exp(logit - largest);
        }
        return largest + Math.log(sum);
    }

    /** Where the {@code count} largest are, in descending order, the lower index first among equals. */
    private static int[] largest(float[] values, int count) {
        int kept = Math.min(count, values.length);
        int[] ids = new int[kept];
        int found = 0;
        for (int i = 0; i < values.length && kept > 0; i++) {
            if (found == kept && values[i] <= values[ids[kept - 1]]) {
                continue;
            }
            int at = found < kept ? found++ : kept - 1;
            for (; at > 0 && values[ids[at - 1]] < values[i]; at--) {
                ids[at] = ids[at - 1];
            }
            ids[at] = i;
        }
        return ids;
    }

    TokenLogprobs of(int token) {
        List<TokenLogprobs.Alternative> alternatives = new ArrayList<>(top.length);
        for (int id : top) {
            alternatives.add(new TokenLogprobs.Alternative(id, tokenizer.tokenText(id), logits[id] - logSum));
        }
        return new TokenLogprobs(token, tokenizer.tokenText(token), logits[token] - logSum, alternatives);
    }
}
