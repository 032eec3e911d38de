package dev.kv8.llm;

/**
 * The text that a prompt was continued with.
 *
 * @param prompt as given
 * @param promptTokenIds with special tokens
 * @param text without special tokens and without the stop string that ended it
 * @param tokenIds all that were drawn, an ending token included
 * @param cachedTokens of the prompt that were found in the cache and did not have to be computed when it began
 * @param finishReason why it ended
 */
// Arrays, because token ids are used as such everywhere here; nobody compares completions.
@SuppressWarnings("ArrayRecordComponent")
public record Completion(
        String prompt,
        int[] promptTokenIds,
        String text,
        int[] tokenIds,
        int cachedTokens,
        FinishReason finishReason) {}
