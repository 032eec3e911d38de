package dev.kv8.llm;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * What tokenizer_config.json says in words for a {@link ChatTemplate}.
 *
 * @param bosToken empty where there is none
 * @param eosToken like {@code bosToken}
 * @param chatTemplate Jinja; of several named ones the one named default
 */
record TokenizerTexts(String bosToken, String eosToken, Optional<String> chatTemplate) {
    static final TokenizerTexts NONE = new TokenizerTexts("", "", Optional.empty());

    static TokenizerTexts read(Path file) throws IOException {
        JsonObject config = JsonObject.read(file);
        return new TokenizerTexts(
                config.tokenText("bos_token").orElse(""),
                config.tokenText("eos_token").orElse(""),
                chatTemplate(file));
    }

    /** A string, or a list of objects with name and template. */
    private static Optional<String> chatTemplate(Path file) throws IOException {
        try (JsonParser parser = JsonObject.FACTORY.createParser(file.toFile())) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                boolean wanted = parser.currentName().equals("chat_template");
                JsonToken value = parser.nextToken();
                if (wanted && value == JsonToken.VALUE_STRING) {
                    return Optional.of(parser.getText());
                }
                if (wanted && value == JsonToken.START_ARRAY) {
                    return Optional.ofNullable(named(parser).get("default"));
                }
                parser.skipChildren();
            }
        }
        return Optional.empty();
    }

    private static Map<String, String> named(JsonParser parser) throws IOException {
        Map<String, String> templates = new LinkedHashMap<>();
        while (parser.nextToken() == JsonToken.START_OBJECT) {
            String name = "";
            String template = "";
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                String key = parser.currentName();
                parser.nextToken();
                switch (key) {
                    case "name" -> name = parser.getText();
                    case "template" -> template = parser.getText();
                    default -> parser.skipChildren();
                }
            }
            templates.put(name, template);
        }
        return templates;
    }
}
