package dev.kv8.llm;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * What tokenizer_config.json says in words for a {@link ChatTemplate}.
 *
 * @param bosToken empty where there is none
 * @param eosToken like {@code bosToken}
 * @param chatTemplate Jinja; of several named ones the one named default
 */
record TokenizerTexts(String bosToken, String eosToken, Optional<String> chatTemplate) {
    private static final String TEMPLATE = "chat_template";

    static final TokenizerTexts NONE = new TokenizerTexts("", "", Optional.empty());

    static TokenizerTexts read(Path file) {
        JsonObject config = JsonObject.read(file);
        return new TokenizerTexts(
                config.tokenText("bos_token").orElse(""),
                config.tokenText("eos_token").orElse(""),
                chatTemplate(config));
    }

    /** A string, or a list of objects with name and template. */
    private static Optional<String> chatTemplate(JsonObject config) {
        if (config.value(TEMPLATE).filter(List.class::isInstance).isEmpty()) {
            return config.text(TEMPLATE);
        }
        return config.objects(TEMPLATE).stream()
                .filter(named -> named.text("name").orElse("").equals("default"))
                .findFirst()
                .flatMap(named -> named.text("template"));
    }
}
