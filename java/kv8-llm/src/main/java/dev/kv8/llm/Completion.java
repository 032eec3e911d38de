package dev.kv8.llm;

import java.util.List;

/**
 * The text that a prompt was continued with.
 *
 * @param prompt as given; of a conversation what the template made of it, of token ids their text
 * @param promptTokenIds with special tokens
 * @param index which of the {@link SamplingParams#n} samples of the prompt this is, from 0
 * @param text without special tokens and without the stop string that ended it
 * @param tokenIds all that were drawn, an ending token included
 * @param cachedTokens of the prompt that were found in the cache and did not have to be computed when it began
 * @param logprobs one for each of {@code tokenIds}; empty unless {@link SamplingParams#logprobs} were asked for
 * @param finishReason why it ended
 */
// Arrays, because token ids are used as such everywhere here; nobody compares completions.
@SuppressWarnings("ArrayRecordComponent")
public record Completion(
        String prompt,
        int[] promptTokenIds,
        int index,
        String text,
        int[] tokenIds,
        int cachedTokens,
        List<TokenLogprobs> logprobs,
        FinishReason finishReason) {
    public Completion {
        logprobs = List.copyOf(logprobs);
    }

    /** Tokens of the prompt. */
    public int promptTokens() {
        return promptTokenIds.length;
    }
}
