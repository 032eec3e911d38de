package dev.kv8.server;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.Completion;
import java.io.IOException;
import java.util.List;

/**
 * Tokens of an answer; a prompt with several choices counts once.
 *
 * @param prompt of all prompts
 * @param completion drawn
 * @param cached of the prompts, found in the cache
 */
record Usage(long prompt, long completion, long cached) {
    /** Of the choices of each prompt. */
    static Usage of(List<List<Completion>> answers) {
        long prompt = 0;
        long completion = 0;
        long cached = 0;
        for (List<Completion> choices : answers) {
            prompt += choices.get(0).promptTokens();
            cached += choices.get(0).cachedTokens();
            completion += choices.stream()
                    .mapToLong(choice -> choice.tokenIds().length)
                    .sum();
        }
        return new Usage(prompt, completion, cached);
    }

    void write(JsonGenerator out) throws IOException {
        out.writeObjectFieldStart("usage");
        out.writeNumberField("prompt_tokens", prompt);
        out.writeNumberField("completion_tokens", completion);
        out.writeNumberField("total_tokens", prompt + completion);
        out.writeObjectFieldStart("prompt_tokens_details");
        out.writeNumberField("cached_tokens", cached);
        out.writeEndObject();
        out.writeEndObject();
    }
}
