package dev.kv8.llm;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.kv8.llm.internal.JsonMembers;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * UTF-8 JSON text, changed without touching what stands there already: numbers keep their spelling, keys their order, and
 * nulls their place. Immutable.
 */
final class JsonText {
    private final String where;
    private final byte[] text;

    /**
     * Some text.
     *
     * @param where it is from, for messages
     */
    JsonText(String where, byte[] text) {
        this.where = where;
        this.text = text;
    }

    byte[] bytes() {
        return text;
    }

    /**
     * Adds members at the end of an object.
     *
     * @param members JSON values by name; names need no escapes
     * @param separator white space before each
     * @param path keys that lead to the object; none for the outermost
     * @throws CheckpointException when the object is not there, or has one of the names
     */
    JsonText with(Map<String, String> members, String separator, String... path) {
        try (JsonParser parser = JsonObject.FACTORY.createParser(text)) {
            parser.nextToken();
            for (String key : path) {
                enter(parser, key);
            }
            if (!parser.isExpectedStartObjectToken()) {
                throw new CheckpointException(where + " has no object " + String.join(", ", path) + ".");
            }
            boolean empty = true;
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                if (members.containsKey(parser.currentName())) {
                    throw new CheckpointException(where + " already has \"" + parser.currentName() + "\".");
                }
                parser.nextToken();
                parser.skipChildren();
                empty = false;
            }
            int end = position(parser);
            while (text[end - 1] <= ' ') {
                end--;
            }
            String added = members.entrySet().stream()
                    .map(member -> separator + "\"" + member.getKey() + "\": " + member.getValue())
                    .collect(Collectors.joining(","));
            return replaced(end, end, (empty ? "" : ",") + added);
        } catch (IOException e) {
            throw unreadable(e);
        }
    }

    /** Raises a whole number; without it, nothing changes. */
    JsonText raised(long amount, String... path) {
        try (JsonParser parser = JsonObject.FACTORY.createParser(text)) {
            parser.nextToken();
            for (String key : path) {
                enter(parser, key);
            }
            if (parser.currentToken() == null || !parser.currentToken().isNumeric()) {
                return this;
            }
            int begin = position(parser);
            String sum = Long.toString(parser.getValueAsLong() + amount);
            return replaced(begin, begin + parser.getTextLength(), sum);
        } catch (IOException e) {
            throw unreadable(e);
        }
    }

    /** From an object's beginning to the value of one of its keys, or to the object's end. */
    private static void enter(JsonParser parser, String key) throws IOException {
        if (!parser.isExpectedStartObjectToken()) {
            return;
        }
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            boolean found = parser.currentName().equals(key);
            parser.nextToken();
            if (found) {
                return;
            }
            parser.skipChildren();
        }
    }

    private static int position(JsonParser parser) {
        return Math.toIntExact(parser.currentTokenLocation().getByteOffset());
    }

    private JsonText replaced(int begin, int end, String replacement) {
        ByteArrayOutputStream result = new ByteArrayOutputStream(text.length + replacement.length());
        result.write(text, 0, begin);
        result.writeBytes(replacement.getBytes(StandardCharsets.UTF_8));
        result.write(text, end, text.length - end);
        return new JsonText(where, result.toByteArray());
    }

    private CheckpointException unreadable(IOException e) {
        String why = e instanceof JsonProcessingException syntax ? JsonMembers.syntaxError(syntax) : e.toString();
        return new CheckpointException(where + " is not valid JSON: " + why + ".", e);
    }
}
