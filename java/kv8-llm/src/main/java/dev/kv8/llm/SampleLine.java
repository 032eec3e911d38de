package dev.kv8.llm;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.kv8.llm.internal.JsonMembers;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Reads a line of a JSONL data set: a chat as {@code messages} of role and content or {@code conversations} of from and value,
 * else a text as {@code text} or {@code prompt}. Other keys are passed over.
 */
final class SampleLine {
    private final String place;
    private final JsonParser parser;
    private final List<String> keys = new ArrayList<>();
    private @Nullable List<ChatMessage> chat;
    private @Nullable String text;
    private @Nullable String prompt;

    private SampleLine(String place, JsonParser parser) {
        this.place = place;
        this.parser = parser;
    }

    /**
     * Parses one line.
     *
     * @param place names the line in messages
     * @throws CalibrationException when it is no JSON object or has none of these keys
     */
    static CalibrationSample parse(String line, String place) {
        try (JsonParser parser = JsonObject.FACTORY.createParser(line)) {
            return new SampleLine(place, parser).sample();
        } catch (JsonProcessingException e) {
            throw new CalibrationException(
                    place + " is not JSON: " + JsonMembers.syntaxError(e)
                            + ". A data set of this name holds a JSON object a line; a plain text is given as .txt.",
                    e);
        } catch (IOException e) {
            throw new CalibrationException(place + " can't be read: " + e.getMessage(), e);
        }
    }

    private CalibrationSample sample() throws IOException {
        if (parser.nextToken() != JsonToken.START_OBJECT) {
            throw new CalibrationException(place + " is not a JSON object.");
        }
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String key = parser.currentName();
            keys.add(key);
            JsonToken value = parser.nextToken();
            switch (key) {
                case "messages" -> chat = messages(value, "role", "content");
                case "conversations" -> conversations(value);
                case "text" -> text = text(key, value);
                case "prompt" -> prompt(value);
                default -> parser.skipChildren();
            }
        }
        if (parser.nextToken() != null) {
            throw new CalibrationException(place + " goes on after its JSON object; a line holds one.");
        }
        return found();
    }

    private CalibrationSample found() {
        if (chat != null) {
            return new CalibrationSample.Chat(chat);
        }
        String words = text != null ? text : prompt;
        if (words == null) {
            throw new CalibrationException(
                    place + " has none of the keys messages, conversations, text and prompt, but " + keys
                            + ". Rename what holds the text.");
        }
        return new CalibrationSample.Text(words);
    }

    private void conversations(JsonToken value) throws IOException {
        if (chat == null) {
            chat = messages(value, "from", "value");
        } else {
            parser.skipChildren();
        }
    }

    /** Data sets with chats have prompts of every kind beside them. */
    private void prompt(JsonToken value) throws IOException {
        if (value == JsonToken.VALUE_STRING) {
            prompt = parser.getText();
        } else {
            parser.skipChildren();
        }
    }

    private String text(String key, JsonToken value) throws IOException {
        if (value != JsonToken.VALUE_STRING) {
            throw new CalibrationException(place + ": \"" + key + "\" is not a string.");
        }
        return parser.getText();
    }

    private List<ChatMessage> messages(JsonToken value, String roleKey, String contentKey) throws IOException {
        if (value != JsonToken.START_ARRAY) {
            throw new CalibrationException(place + ": a chat is a list of messages, not " + value + ".");
        }
        List<ChatMessage> messages = new ArrayList<>();
        while (parser.nextToken() == JsonToken.START_OBJECT) {
            messages.add(message(messages.size(), roleKey, contentKey));
        }
        if (parser.currentToken() != JsonToken.END_ARRAY || messages.isEmpty()) {
            throw new CalibrationException(place + ": a chat is a list of at least one message, each an object with \""
                    + roleKey + "\" and \"" + contentKey + "\".");
        }
        return messages;
    }

    private ChatMessage message(int number, String roleKey, String contentKey) throws IOException {
        String role = null;
        String content = null;
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            String key = parser.currentName();
            JsonToken value = parser.nextToken();
            if (key.equals(roleKey)) {
                role = text(key, value);
            } else if (key.equals(contentKey)) {
                content = value == JsonToken.START_ARRAY ? parts() : text(key, value);
            } else {
                parser.skipChildren();
            }
        }
        if (role == null || content == null) {
            throw new CalibrationException(
                    place + ": message " + number + " lacks \"" + (role == null ? roleKey : contentKey) + "\".");
        }
        return new ChatMessage(roleKey.equals("from") ? roleOf(role) : role, content);
    }

    /** Content as a list of parts: the texts of those that have one. */
    private String parts() throws IOException {
        StringBuilder all = new StringBuilder();
        while (parser.nextToken() == JsonToken.START_OBJECT) {
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String key = parser.currentName();
                JsonToken value = parser.nextToken();
                if (key.equals("text")) {
                    all.append(text(key, value));
                } else {
                    parser.skipChildren();
                }
            }
        }
        return all.toString();
    }

    private static String roleOf(String from) {
        return switch (from) {
            case "human" -> "user";
            case "gpt" -> "assistant";
            default -> from;
        };
    }
}
