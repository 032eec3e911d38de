package dev.kv8.llm;

import java.util.List;

/**
 * How probable a drawn token was: natural logarithms of the model's own probabilities, before penalties, temperature and cuts.
 *
 * @param tokenId that was drawn
 * @param text of that token alone; a part of a UTF-8 character shows as U+FFFD
 * @param logprob of that token, at most 0
 * @param top the most probable tokens, as many as {@link SamplingParams#logprobs} says, the most probable first and the lower id
 *     first among equals; the drawn one need not be among them
 */
public record TokenLogprobs(int tokenId, String text, double logprob, List<Alternative> top) {
    /**
     * A token that could have been drawn.
     *
     * @param tokenId its id
     * @param text of it alone
     * @param logprob natural logarithm of its probability
     */
    public record Alternative(int tokenId, String text, double logprob) {}

    public TokenLogprobs {
        top = List.copyOf(top);
    }
}
