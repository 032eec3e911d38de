package dev.kv8.server;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.Completion;
import dev.kv8.llm.FinishReason;
import dev.kv8.llm.TextChunk;
import dev.kv8.llm.TokenLogprobs;
import dev.kv8.llm.internal.JsonWriting;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** {@code text_completion}, whole or in pieces. */
final class CompletionFormat implements ReplyFormat {
    private final ReplyHead head;
    private final boolean logprobs;
    private final List<String> echoed;
    private final int samples;
    /** Where the next token of a choice begins in its text. */
    private final int[] offsets;

    /**
     * The format of one answer.
     *
     * @param echoed what stands before the texts of each prompt
     * @param samples choices for each prompt
     */
    CompletionFormat(String model, boolean logprobs, List<String> echoed, int samples) {
        head = ReplyHead.of("cmpl-", model);
        this.logprobs = logprobs;
        this.echoed = echoed;
        this.samples = samples;
        offsets = new int[echoed.size() * samples];
    }

    @Override
    public String whole(List<List<Completion>> answers, Usage usage) {
        return JsonWriting.object(out -> {
            head.write(out, "text_completion");
            out.writeArrayFieldStart("choices");
            for (int prompt = 0; prompt < answers.size(); prompt++) {
                for (Completion completion : answers.get(prompt)) {
                    int choice = prompt * samples + completion.index();
                    String text = echoed.get(prompt) + completion.text();
                    writeChoice(out, choice, text, completion.logprobs(), completion.finishReason());
                }
            }
            out.writeEndArray();
            usage.write(out);
        });
    }

    /** The prompts, where they are to be repeated. */
    @Override
    public List<String> beginning() {
        List<String> result = new ArrayList<>();
        for (int choice = 0; choice < offsets.length; choice++) {
            String prompt = echoed.get(choice / samples);
            if (!prompt.isEmpty()) {
                result.add(chunk(choice, new TextChunk(choice % samples, prompt, List.of(), null)));
            }
        }
        return result;
    }

    @Override
    public String chunk(int choice, TextChunk chunk) {
        return JsonWriting.object(out -> {
            head.write(out, "text_completion");
            out.writeArrayFieldStart("choices");
            writeChoice(out, choice, chunk.text(), chunk.logprobs(), chunk.finishReason());
            out.writeEndArray();
        });
    }

    @Override
    public String usage(Usage usage) {
        return JsonWriting.object(out -> {
            head.write(out, "text_completion");
            out.writeArrayFieldStart("choices");
            out.writeEndArray();
            usage.write(out);
        });
    }

    private void writeChoice(
            JsonGenerator out, int choice, String text, List<TokenLogprobs> tokens, @Nullable FinishReason reason)
            throws IOException {
        out.writeStartObject();
        out.writeNumberField("index", choice);
        out.writeStringField("text", text);
        if (logprobs) {
            writeLogprobs(out, choice, tokens);
        } else {
            out.writeNullField("logprobs");
        }
        ReplyHead.writeReason(out, reason);
        out.writeEndObject();
    }

    private void writeLogprobs(JsonGenerator out, int choice, List<TokenLogprobs> tokens) throws IOException {
        out.writeObjectFieldStart("logprobs");
        out.writeArrayFieldStart("tokens");
        for (TokenLogprobs token : tokens) {
            out.writeString(token.text());
        }
        out.writeEndArray();
        out.writeArrayFieldStart("token_logprobs");
        for (TokenLogprobs token : tokens) {
            out.writeNumber(Logprob.finite(token.logprob()));
        }
        out.writeEndArray();
        out.writeArrayFieldStart("top_logprobs");
        for (TokenLogprobs token : tokens) {
            writeTop(out, token);
        }
        out.writeEndArray();
        out.writeArrayFieldStart("text_offset");
        for (TokenLogprobs token : tokens) {
            out.writeNumber(offsets[choice]);
            offsets[choice] += token.text().length();
        }
        out.writeEndArray();
        out.writeEndObject();
    }

    /** By text: of tokens that look alike the most probable. */
    private static void writeTop(JsonGenerator out, TokenLogprobs token) throws IOException {
        Map<String, Double> byText = new LinkedHashMap<>();
        for (TokenLogprobs.Alternative alternative : token.top()) {
            byText.putIfAbsent(alternative.text(), alternative.logprob());
        }
        byText.putIfAbsent(token.text(), token.logprob()); // OpenAI always has the drawn one among them
        out.writeStartObject();
        for (Map.Entry<String, Double> entry : byText.entrySet()) {
            out.writeNumberField(entry.getKey(), Logprob.finite(entry.getValue()));
        }
        out.writeEndObject();
    }
}
