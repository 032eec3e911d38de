package dev.kv8.llm;

import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
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
 * Scales of the modes tensor, head and channel come from the largest magnitudes of K and V in the text's first tokens, one
 * window by default, computed with the {@code auto} cache: what {@code calculateKvScales} does with a first pass of that size.
 * Those of random-tokens come from one window of the model's random tokens.
 */
public final class CacheEvaluation {
    /**
     * What a setting gave.
     *
     * @param setting as given; with the checkpoint's scales, its skipped layers are among those skipped
     * @param quality over all scored tokens
     * @param byPosition the same by the token's position in its window; only positions at which tokens were scored, which
     *     are few near the window's begin where the stride is shorter than the context
     * @param cacheBytesPerToken allocated, over all layers
     * @param saturatedValues of K and V that the scales could not hold, over all windows
     * @param scales in force
     */
    public record Result(
            CacheSetting setting,
            PredictionQuality quality,
            List<PositionBucket> byPosition,
            double cacheBytesPerToken,
            long saturatedValues,
            KvScales scales) {
        public Result {
            byPosition = List.copyOf(byPosition);
        }
    }

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
    private final int calibrationTokens;
    private final List<CacheSetting> settings;
    private final @Nullable KvBackend given;

    private CacheEvaluation(Builder builder, Path folder, String text) {
        this.folder = folder;
        this.text = text;
        context = builder.context;
        stride = builder.stride;
        maxTokens = builder.maxTokens;
        calibrationTokens = builder.calibrationTokens == 0 ? context : builder.calibrationTokens;
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
        return withPass(pass -> pass.run(settings, progress));
    }

    /** Opens the model and gives a pass over the text to {@code action}, which may run it several times. */
    <T> T withPass(Function<EvaluationPass, T> action) {
        return GivenBackend.use(given, opened -> withPass(opened, action));
    }

    private <T> T withPass(KvBackend backend, Function<EvaluationPass, T> action) {
        try (EvaluationModel model = EvaluationModel.open(backend, folder, context);
                EvaluationPass pass = new EvaluationPass(model, tokens(), stride, calibrationTokens)) {
            return action.apply(pass);
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
        private int calibrationTokens;
        private final List<CacheSetting> settings = new ArrayList<>();
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

        /** Tokens from the text's begin on whose magnitudes make scales; the context, so one window, by default. */
        public Builder calibrationTokens(int tokens) {
            if (tokens < 1) {
                throw new IllegalArgumentException("calibrationTokens is " + tokens + "; it must be at least 1.");
            }
            calibrationTokens = tokens;
            return this;
        }

        /** Adds a setting with K and V alike; each setting gives a {@link Result}. */
        public Builder setting(KvCacheDType kvCacheDType, ScaleMode scales) {
            return setting(CacheSetting.of(kvCacheDType, scales));
        }

        /** Adds a setting; each gives a {@link Result}. */
        public Builder setting(CacheSetting setting) {
            settings.add(setting);
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
            if (settings.isEmpty()) {
                throw new IllegalArgumentException("An evaluation needs at least one setting.");
            }
            return buildWithoutSettings();
        }

        /** For choices, which make settings of their own; those added here are not looked at. */
        CacheEvaluation buildWithoutSettings() {
            Path folder = model;
            String evaluated = text;
            if (folder == null || evaluated == null) {
                throw new IllegalArgumentException("An evaluation needs a model and a text.");
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
