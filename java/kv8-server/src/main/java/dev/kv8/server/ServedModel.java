package dev.kv8.server;

import dev.kv8.llm.LLM;
import java.time.Duration;
import java.util.Optional;

/** The model as clients see it: its name, and what one request may ask of it. */
final class ServedModel {
    private final LLM llm;
    private final ServerConfig config;

    ServedModel(LLM llm, ServerConfig config) {
        this.llm = llm;
        this.config = config;
    }

    LLM llm() {
        return llm;
    }

    String name() {
        return config.modelName();
    }

    Duration timeout() {
        return config.requestTimeout();
    }

    /** Tokens of the longest sequence, prompt and answer together. */
    int longestSequence() {
        return llm.longestSequence();
    }

    /** Tokens of an answer that names no number. */
    int mostTokens() {
        return Math.min(config.maxTokens(), longestSequence());
    }

    /** A request without a model means this one. */
    void checkName(Optional<String> asked) {
        asked.filter(name -> !name.equals(name())).ifPresent(name -> {
            throw ApiError.noSuchModel(name, name());
        });
    }

    void checkTokens(JsonFields body, String field, int tokens) {
        if (tokens > config.maxTokens()) {
            throw body.wrong(field, tokens, "at most " + config.maxTokens() + ", this server's limit");
        }
    }

    void checkChoices(String field, long prompts, int samples) {
        if (prompts * samples > config.maxChoices()) {
            throw ApiError.invalid(
                    field,
                    prompts + " prompts with " + samples + " choices each are more than this server's limit of "
                            + config.maxChoices() + " texts in one request.");
        }
    }
}
