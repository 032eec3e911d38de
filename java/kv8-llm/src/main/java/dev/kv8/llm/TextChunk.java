package dev.kv8.llm;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A piece of a text while it is written. The pieces of one index joined are {@link Completion#text}.
 *
 * @param index of the sample, from 0 to {@link SamplingParams#n} - 1
 * @param text that was added; whole characters; empty in a last chunk that adds nothing
 * @param logprobs of the tokens since the last chunk, those included whose text is still held back; empty unless asked for
 * @param finishReason why the text ended, in the last chunk of its index; null in all others
 */
public record TextChunk(
        int index,
        String text,
        List<TokenLogprobs> logprobs,
        @Nullable FinishReason finishReason) {
    public TextChunk {
        logprobs = List.copyOf(logprobs);
    }
}
