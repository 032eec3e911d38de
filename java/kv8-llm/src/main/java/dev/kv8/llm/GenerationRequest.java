package dev.kv8.llm;

import dev.kv8.CachePriority;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What {@link LLM#submit} is asked for: one prompt, and how it is to be continued. Immutable.
 *
 * <pre>{@code
 * GenerationRequest.builder()
 *     .messages(List.of(new ChatMessage("user", "Where is London?")))
 *     .sampling(SamplingParams.builder().temperature(0.7).maxTokens(64).build())
 *     .timeout(Duration.ofSeconds(30))
 *     .build()
 * }</pre>
 */
public final class GenerationRequest {
    private final @Nullable String prompt;
    private final int @Nullable [] promptTokenIds;
    private final List<ChatMessage> messages;
    private final SamplingParams sampling;
    private final @Nullable Duration timeout;
    private final CachePriority priority;
    private final String cacheSalt;

    private GenerationRequest(Builder builder) {
        prompt = builder.prompt;
        promptTokenIds = builder.promptTokenIds;
        messages = builder.messages;
        sampling = builder.sampling;
        timeout = builder.timeout;
        priority = builder.priority;
        cacheSalt = builder.cacheSalt;
    }

    public static Builder builder() {
        return new Builder();
    }

    /** A text to be continued, without anything special. */
    public static GenerationRequest of(String prompt, SamplingParams sampling) {
        return builder().prompt(prompt).sampling(sampling).build();
    }

    /** Empty unless the prompt is a text. */
    public Optional<String> prompt() {
        return Optional.ofNullable(prompt);
    }

    /** Empty unless the prompt is given by its tokens; a copy. */
    public Optional<int[]> promptTokenIds() {
        return promptTokenIds == null ? Optional.empty() : Optional.of(promptTokenIds.clone());
    }

    /** Empty unless the prompt is a conversation. */
    public List<ChatMessage> messages() {
        return messages;
    }

    public SamplingParams sampling() {
        return sampling;
    }

    /** Empty when it may take as long as it takes. */
    public Optional<Duration> timeout() {
        return Optional.ofNullable(timeout);
    }

    public CachePriority priority() {
        return priority;
    }

    /** Empty when its prefixes are shared with all requests that have none. */
    public String cacheSalt() {
        return cacheSalt;
    }

    /** Exactly one of {@link #prompt}, {@link #promptTokenIds} and {@link #messages} must be given. Not for use by several threads. */
    public static final class Builder {
        private @Nullable String prompt;
        private int @Nullable [] promptTokenIds;
        private List<ChatMessage> messages = List.of();
        private SamplingParams sampling = SamplingParams.builder().build();
        private @Nullable Duration timeout;
        private CachePriority priority = CachePriority.NORMAL;
        private String cacheSalt = "";

        private Builder() {}

        /** A text to be continued; it becomes tokens with the special tokens that the tokenizer adds. */
        public Builder prompt(String text) {
            prompt = text;
            return this;
        }

        /** Tokens to be continued, as they are. */
        public Builder promptTokenIds(int... ids) {
            promptTokenIds = ids.clone();
            return this;
        }

        /** A conversation to be answered; the model's chat template makes a prompt of it. */
        public Builder messages(List<ChatMessage> conversation) {
            messages = List.copyOf(conversation);
            return this;
        }

        /** The defaults of {@link SamplingParams} unless given. */
        public Builder sampling(SamplingParams how) {
            sampling = how;
            return this;
        }

        /**
         * From {@link LLM#submit} on; when it has passed, the request ends with what there is and {@link FinishReason#TIMEOUT}. It
         * is looked at between steps.
         *
         * @throws IllegalArgumentException when it is zero or negative
         */
        public Builder timeout(Duration longest) {
            if (longest.isZero() || longest.isNegative()) {
                throw new IllegalArgumentException(
                        "The timeout is " + longest + "; give more than 0, or none for no limit.");
            }
            timeout = longest;
            return this;
        }

        /**
         * How much it matters: a request of a higher class begins before those of a lower one that came a little earlier, is the
         * last to give its blocks back when the cache is full, and its prefix stays cached longer. {@link CachePriority#NORMAL} by
         * default.
         */
        public Builder priority(CachePriority how) {
            priority = how;
            return this;
        }

        /** A tenant or a user: the request shares cached prefixes only with requests of the same salt. */
        public Builder cacheSalt(String salt) {
            cacheSalt = salt;
            return this;
        }

        /** @throws IllegalArgumentException when there is no prompt, or more than one */
        public GenerationRequest build() {
            long given = Arrays.asList(prompt != null, promptTokenIds != null, !messages.isEmpty()).stream()
                    .filter(Boolean::booleanValue)
                    .count();
            if (given != 1) {
                throw new IllegalArgumentException((given == 0 ? "There is no prompt" : "There is more than one prompt")
                        + "; give one of prompt (a text), promptTokenIds, and messages (a conversation, not empty).");
            }
            return new GenerationRequest(this);
        }
    }
}
