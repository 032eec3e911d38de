package dev.kv8.llm.internal;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.io.StringWriter;
import java.io.UncheckedIOException;

/** JSON objects as text, streamed into memory. */
public final class JsonWriting {
    private static final JsonFactory FACTORY = new JsonFactory();

    private JsonWriting() {}

    /** Writes what is inside an object. */
    @FunctionalInterface
    public interface Fields {
        void write(JsonGenerator out) throws IOException;
    }

    /** On one line. */
    public static String object(Fields fields) {
        return write(fields, false);
    }

    /** For people to read: a line for each field. */
    public static String indentedObject(Fields fields) {
        return write(fields, true);
    }

    private static String write(Fields fields, boolean indented) {
        StringWriter text = new StringWriter();
        try (JsonGenerator out = FACTORY.createGenerator(text)) {
            if (indented) {
                out.useDefaultPrettyPrinter();
            }
            out.writeStartObject();
            fields.write(out);
            out.writeEndObject();
        } catch (IOException e) {
            throw new UncheckedIOException("Memory cannot be written to.", e);
        }
        return text.toString();
    }
}
