package dev.kv8.llm;

import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import dev.kv8.RopeTable;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What cache settings cost in accuracy: perplexity of a text, and how far the predictions move from those with a cache of
 * the model's own type ({@code auto}).
 *
 * <pre>{@code
 * List<CacheEvaluation.Result> results = CacheEvaluation.builder().model(folder).text(text).context(512).stride(256)
 *     .setting(KvCacheDType.AUTO, ScaleMode.NONE).setting(KvCacheDType.FP8, ScaleMode.TENSOR).build().run();
 * }</pre>
 *
 * <p>All settings go through the text window by window side by side, so memory is bounded by the context, not by the text.
 * Scales of the modes tensor, head and channel come from the largest magnitudes of K and V in the first window, computed
 * with the {@code auto} cache: what {@code calculateKvScales} does with a first pass of that size.
 */
public final class CacheEvaluation {
    /** A cache to evaluate; {@code scales} only matters for an FP8 type. */
    public record Setting(KvCacheDType kvCacheDType, ScaleMode scales) {}

    /**
     * What a setting gave.
     *
     * @param kvCacheDType as given
     * @param scales as given; {@link ScaleMode#NONE} for a type without scales
     * @param perplexity of the text
     * @param klMean mean KL divergence of {@code auto}'s predictions from the setting's, in nats a token
     * @param klMax the largest one
     * @param top1Agreement the part of tokens for which both predict the same, 0 to 1
     * @param cacheBytesPerToken allocated, over all layers
     */
    public record Result(
            KvCacheDType kvCacheDType,
            ScaleMode scales,
            double perplexity,
            double klMean,
            double klMax,
            double top1Agreement,
            double cacheBytesPerToken) {}

    /** Hears how far the work is. */
    @FunctionalInterface
    public interface Progress {
        /** Called after each window. */
        void windowDone(int done, int windows);
    }

    private final Path folder;
    private final String text;
    private final int context;
    private final int stride;
    private final int maxTokens;
    private final List<Setting> settings;
    private final @Nullable KvBackend given;

    private CacheEvaluation(Builder builder, Path folder, String text) {
        this.folder = folder;
        this.text = text;
        context = builder.context;
        stride = builder.stride;
        maxTokens = builder.maxTokens;
        settings = List.copyOf(builder.settings);
        given = builder.backend;
    }

    public static Builder builder() {
        return new Builder();
    }

    /** Runs without reporting progress; see {@link #run(Progress)}. */
    public List<Result> run() {
        return run((done, windows) -> {});
    }

    /**
     * Evaluates all settings, on the calling thread.
     *
     * @return one result for each setting, in their order
     * @throws CheckpointException when the model can't be used, or has no scales for a setting with {@link
     *     ScaleMode#CHECKPOINT}
     * @throws IllegalArgumentException when the text is too short or the context too long for the model
     */
    public List<Result> run(Progress progress) {
        if (given != null) {
            return run(given, progress);
        }
        try (KvBackend own = KvBackend.open()) {
            return run(own, progress);
        }
    }

    private List<Result> run(KvBackend backend, Progress progress) {
        ModelConfig config = ModelConfig.read(folder);
        if (context > config.maxPositions()) {
            throw new IllegalArgumentException("context is " + context + "; the model was made for at most "
                    + config.maxPositions() + " (max_position_embeddings).");
        }
        int[] tokens = tokens();
        try (Checkpoint checkpoint = Checkpoint.open(folder);
                LlamaModel model = LlamaModel.load(backend, config, checkpoint)) {
            RopeTable rope = RopeAngles.table(backend, config, context);
            try {
                return new EvaluationPass(backend, config, checkpoint, model, rope, tokens, context, stride)
                        .run(settings, progress);
            } finally {
                rope.values().close();
            }
        }
    }

    private int[] tokens() {
        int[] tokens;
        try (Tokenizer tokenizer = Tokenizer.load(folder)) {
            tokens = tokenizer.encode(text);
        }
        if (tokens.length < 2) {
            throw new IllegalArgumentException(
                    "The text has " + tokens.length + " tokens; at least two are needed to predict one.");
        }
        return tokens.length <= maxTokens ? tokens : Arrays.copyOf(tokens, maxTokens);
    }

    /** What to evaluate; model, text and at least one setting must be given. */
    public static final class Builder {
        private @Nullable Path model;
        private @Nullable String text;
        private int context = 512;
        private int stride = 256;
        private int maxTokens = Integer.MAX_VALUE;
        private final List<Setting> settings = new ArrayList<>();
        private @Nullable KvBackend backend;

        private Builder() {}

        /** A Hugging Face folder. */
        public Builder model(Path folder) {
            model = folder;
            return this;
        }

        /** The text itself, not a file. */
        public Builder text(String value) {
            text = value;
            return this;
        }

        /** Tokens of a window; 512 by default. */
        public Builder context(int tokens) {
            context = tokens;
            return this;
        }

        /** Tokens from one window's begin to the next one's; 256 by default. */
        public Builder stride(int tokens) {
            stride = tokens;
            return this;
        }

        /** Leaves out what comes after that many tokens. */
        public Builder maxTokens(int tokens) {
            maxTokens = tokens;
            return this;
        }

        /** Adds a setting; each gives a {@link Result}. */
        public Builder setting(KvCacheDType kvCacheDType, ScaleMode scales) {
            settings.add(new Setting(kvCacheDType, scales));
            return this;
        }

        /** Runs on this backend, which stays the caller's; by default one is opened and closed. */
        public Builder backend(KvBackend opened) {
            backend = opened;
            return this;
        }

        /**
         * Checks the settings.
         *
         * @throws IllegalArgumentException saying what is missing or out of range
         */
        public CacheEvaluation build() {
            Path folder = model;
            String evaluated = text;
            if (folder == null || evaluated == null || settings.isEmpty()) {
                throw new IllegalArgumentException("An evaluation needs a model, a text and at least one setting.");
            }
            if (context < 2) {
                throw new IllegalArgumentException("context is " + context + "; it must be at least 2 tokens.");
            }
            if (stride < 1 || stride > context) {
                throw new IllegalArgumentException(
                        "stride is " + stride + "; it must be 1 to the context, " + context + ".");
            }
            if (maxTokens < 2) {
                throw new IllegalArgumentException("maxTokens is " + maxTokens + "; it must be at least 2.");
            }
            return new CacheEvaluation(this, folder, evaluated);
        }
    }
}
