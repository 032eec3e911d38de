package dev.kv8.llm;

import dev.kv8.KvCacheConfig;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** A prompt as the model gets it. */
final class Prompt {
    private static final int SHOWN_CHARACTERS = 40;

    private final @Nullable String text;
    private final int[] tokens;

    private Prompt(@Nullable String text, int[] tokens) {
        this.text = text;
        this.tokens = tokens;
    }

    /** The tokens; not to be changed. */
    int[] tokens() {
        return tokens;
    }

    /** As given or rendered; what the tokens say where only they were given. */
    String text(Tokenizer tokenizer) {
        return text != null ? text : tokenizer.decode(tokens);
    }

    /** Makes tokens of what requests ask, and refuses what the model or its cache can't take. Any thread may use it. */
    static final class Reader {
        private final Tokenizer tokenizer;
        private final Optional<ChatTemplate> template;
        private final ModelConfig model;
        private final KvCacheConfig cache;
        private final int capacity;

        /** @param capacity tokens of the longest text that the cache holds as far as its layers see it */
        Reader(
                Tokenizer tokenizer,
                Optional<ChatTemplate> template,
                ModelConfig model,
                KvCacheConfig cache,
                int capacity) {
            this.tokenizer = tokenizer;
            this.template = template;
            this.model = model;
            this.cache = cache;
            this.capacity = capacity;
        }

        /** @throws IllegalArgumentException saying what is wrong with the prompt */
        Prompt read(GenerationRequest request) {
            Prompt prompt = tokenized(request);
            checkIds(prompt);
            checkLength(prompt);
            return prompt;
        }

        private Prompt tokenized(GenerationRequest request) {
            Optional<int[]> ids = request.promptTokenIds();
            if (ids.isPresent()) {
                return new Prompt(null, ids.get());
            }
            Optional<String> text = request.prompt();
            if (text.isPresent()) {
                return new Prompt(text.get(), tokenizer.encode(text.get()));
            }
            String rendered = rendered(request);
            return new Prompt(rendered, tokenizer.encodeTemplated(rendered));
        }

        /** A tokenizer may have tokens that were added after the model was made. */
        private void checkIds(Prompt prompt) {
            int[] ids = prompt.tokens;
            for (int i = 0; i < ids.length; i++) {
                if (ids[i] < 0 || ids[i] >= model.vocabularySize()) {
                    throw new IllegalArgumentException("Token " + i + " of the prompt is " + ids[i]
                            + (prompt.text == null ? "" : ", \"" + tokenizer.tokenText(ids[i]) + "\" to the tokenizer")
                            + "; the model has tokens 0 to " + (model.vocabularySize() - 1) + ".");
                }
            }
        }

        private String rendered(GenerationRequest request) {
            ChatTemplate found = template.orElseThrow(
                    () -> new IllegalArgumentException(
                            "The model has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json), so it"
                                    + " can't be given messages. Give a prompt as text, or take a model that was tuned for chat."));
            try {
                return found.render(request.messages(), true, LocalDate.now(ZoneId.systemDefault()));
            } catch (CheckpointException e) {
                throw new IllegalArgumentException(e.getMessage(), e);
            }
        }

        private void checkLength(Prompt prompt) {
            int count = prompt.tokens.length;
            if (count == 0) {
                throw new IllegalArgumentException(
                        named(prompt)
                                + " has no tokens; give at least one character, since this tokenizer adds no beginning-of-text token.");
            }
            if (count > model.maxPositions()) {
                throw new IllegalArgumentException(named(prompt) + " has " + count
                        + " tokens, but the model was made for at most " + model.maxPositions()
                        + " (max_position_embeddings). Give a shorter prompt.");
            }
            if (count > capacity) {
                throw new IllegalArgumentException(
                        named(prompt) + " has " + count
                                + " tokens, but the whole KV cache holds " + capacity + " ("
                                + cache.memory()
                                + "). Give it more memory (kvCacheMemory), a smaller type (kvCacheDType fp8), or a shorter prompt.");
            }
        }

        private static String named(Prompt prompt) {
            String text = prompt.text;
            if (text == null) {
                return "The prompt of token ids";
            }
            return "The prompt \""
                    + (text.length() <= SHOWN_CHARACTERS ? text : text.substring(0, SHOWN_CHARACTERS) + "...") + "\"";
        }
    }
}
