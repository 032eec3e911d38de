package dev.kv8.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.Completion;
import dev.kv8.llm.TextChunk;
import dev.kv8.llm.TokenLogprobs;
import dev.kv8.llm.internal.JsonWriting;
import java.io.IOException;
import java.util.List;
import java.util.stream.IntStream;

/** {@code chat.completion} and {@code chat.completion.chunk}. */
final class ChatFormat implements ReplyFormat {
    private static final String CHUNK = "chat.completion.chunk";

    private final ReplyHead head;
    private final boolean logprobs;
    private final int samples;

    ChatFormat(String model, boolean logprobs, int samples) {
        head = ReplyHead.of("chatcmpl-", model);
        this.logprobs = logprobs;
        this.samples = samples;
    }

    @Override
    public String whole(List<List<Completion>> answers, Usage usage) {
        return JsonWriting.object(out -> {
            head.write(out, "chat.completion");
            out.writeArrayFieldStart("choices");
            for (Completion completion : answers.get(0)) {
                out.writeStartObject();
                out.writeNumberField("index", completion.index());
                out.writeObjectFieldStart("message");
                out.writeStringField("role", "assistant");
                out.writeStringField("content", completion.text());
                out.writeNullField("refusal");
                out.writeEndObject();
                writeLogprobs(out, completion.logprobs());
                ReplyHead.writeReason(out, completion.finishReason());
                out.writeEndObject();
            }
            out.writeEndArray();
            usage.write(out);
        });
    }

    /** Says whose text follows. */
    @Override
    public List<String> beginning() {
        return IntStream.range(0, samples)
                .mapToObj(choice -> JsonWriting.object(out -> {
                    head.write(out, CHUNK);
                    out.writeArrayFieldStart("choices");
                    out.writeStartObject();
                    out.writeNumberField("index", choice);
                    out.writeObjectFieldStart("delta");
                    out.writeStringField("role", "assistant");
                    out.writeStringField("content", "");
                    out.writeEndObject();
                    out.writeNullField("finish_reason");
                    out.writeEndObject();
                    out.writeEndArray();
                }))
                .toList();
    }

    @Override
    public String chunk(int choice, TextChunk chunk) {
        return JsonWriting.object(out -> {
            head.write(out, CHUNK);
            out.writeArrayFieldStart("choices");
            out.writeStartObject();
            out.writeNumberField("index", choice);
            out.writeObjectFieldStart("delta");
            if (!chunk.text().isEmpty()) {
                out.writeStringField("content", chunk.text());
            }
            out.writeEndObject();
            writeLogprobs(out, chunk.logprobs());
            ReplyHead.writeReason(out, chunk.finishReason());
            out.writeEndObject();
            out.writeEndArray();
        });
    }

    @Override
    public String usage(Usage usage) {
        return JsonWriting.object(out -> {
            head.write(out, CHUNK);
            out.writeArrayFieldStart("choices");
            out.writeEndArray();
            usage.write(out);
        });
    }

    private void writeLogprobs(JsonGenerator out, List<TokenLogprobs> tokens) throws IOException {
        if (!logprobs) {
            out.writeNullField("logprobs");
            return;
        }
        out.writeObjectFieldStart("logprobs");
        out.writeArrayFieldStart("content");
        for (TokenLogprobs token : tokens) {
            out.writeStartObject();
            writeToken(out, token.text(), token.logprob());
            out.writeArrayFieldStart("top_logprobs");
            for (TokenLogprobs.Alternative alternative : token.top()) {
                out.writeStartObject();
                writeToken(out, alternative.text(), alternative.logprob());
                out.writeEndObject();
            }
            out.writeEndArray();
            out.writeEndObject();
        }
        out.writeEndArray();
        out.writeNullField("refusal");
        out.writeEndObject();
    }

    private static void writeToken(JsonGenerator out, String text, double logprob) throws IOException {
        out.writeStringField("token", text);
        out.writeNumberField("logprob", Logprob.finite(logprob));
        if (text.indexOf('\uFFFD') >= 0) {
            out.writeNullField("bytes"); // a part of a character, whose bytes the text does not tell
        } else {
            out.writeArrayFieldStart("bytes");
            for (byte b : text.getBytes(UTF_8)) {
                out.writeNumber(b & 0xFF);
            }
            out.writeEndArray();
        }
    }
}
