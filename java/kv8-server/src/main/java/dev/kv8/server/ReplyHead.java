package dev.kv8.server;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.FinishReason;
import java.io.IOException;
import java.security.SecureRandom;
import java.time.Instant;
import java.util.HexFormat;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * What every event of an answer begins with.
 *
 * @param id of the answer
 * @param created in seconds since 1970
 * @param model its name
 */
record ReplyHead(String id, long created, String model) {
    private static final SecureRandom RANDOM = new SecureRandom();

    /** A new one, whose id begins with {@code prefix}. */
    static ReplyHead of(String prefix, String model) {
        byte[] random = new byte[16];
        RANDOM.nextBytes(random);
        return new ReplyHead(
                prefix + HexFormat.of().formatHex(random), Instant.now().getEpochSecond(), model);
    }

    void write(JsonGenerator out, String object) throws IOException {
        out.writeStringField("id", id);
        out.writeStringField("object", object);
        out.writeNumberField("created", created);
        out.writeStringField("model", model);
    }

    static void writeReason(JsonGenerator out, @Nullable FinishReason reason) throws IOException {
        out.writeStringField(
                "finish_reason", reason == null ? null : reason.name().toLowerCase(Locale.ROOT));
    }
}
