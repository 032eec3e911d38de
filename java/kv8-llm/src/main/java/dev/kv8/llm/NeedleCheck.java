package dev.kv8.llm;

import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;

/**
 * Whether a model still finds a statement far back in its context when the cache is quantized. "The secret number of Ararat
 * is 7421." is hidden at several depths of a filler text, for several lengths; at the end the model is asked for the number.
 *
 * <p>The answer is read with the prompt instead of generated: greedy decoding gives it exactly when each of its tokens is the
 * most probable one after those before. That also gives its log-probability, a graded score that means something for models
 * too weak to retrieve: it is compared with the same prompt in which another number is stated.
 */
public final class NeedleCheck {
    private static final List<String> PLACES = List.of("Ararat", "Bethel", "Carmel", "Dothan", "Ephron", "Gilead");

    private final Path folder;
    private final String filler;
    private final int[] contexts;
    private final double[] depths;
    private final List<CacheSetting> settings;
    private final @Nullable KvBackend given;

    private NeedleCheck(Builder builder, Path folder, String filler) {
        this.folder = folder;
        this.filler = filler;
        contexts = builder.contexts;
        depths = builder.depths;
        settings = List.copyOf(builder.settings);
        given = builder.backend;
    }

    public static Builder builder() {
        return new Builder();
    }

    /**
     * Runs all settings, on the calling thread.
     *
     * @throws CheckpointException when the model can't be used
     * @throws IllegalArgumentException when the filler is too short or a context too long for the model
     */
    public NeedleReport run(CacheEvaluation.Progress progress) {
        return GivenBackend.use(given, opened -> run(opened, progress));
    }

    private NeedleReport run(KvBackend backend, CacheEvaluation.Progress progress) {
        int longest = Arrays.stream(contexts).max().orElseThrow();
        try (EvaluationModel model = EvaluationModel.open(backend, folder, longest);
                Tokenizer tokenizer = Tokenizer.load(folder)) {
            int[] fillerTokens = tokenizer.encode(filler);
            try (WindowScales scales = new WindowScales(
                    model,
                    fillerTokens,
                    EvaluationWindows.cut(Math.min(longest, fillerTokens.length), longest, longest))) {
                return run(model, tokenizer, fillerTokens, scales, progress);
            }
        }
    }

    private NeedleReport run(
            EvaluationModel model,
            Tokenizer tokenizer,
            int[] fillerTokens,
            WindowScales scales,
            CacheEvaluation.Progress progress) {
        List<CacheSetting> all = new ArrayList<>();
        all.add(CacheSetting.of(KvCacheDType.AUTO, ScaleMode.NONE));
        all.addAll(settings);
        List<EvaluationRun> runs = new ArrayList<>();
        try {
            all.forEach(setting -> runs.add(scales.start(setting)));
            List<List<NeedleReport.Needle>> needles = new ArrayList<>();
            all.forEach(setting -> needles.add(new ArrayList<>()));
            // The same numbers in every run of the check.
            Random numbers = new Random(1);
            int done = 0;
            for (int context : contexts) {
                for (double depth : depths) {
                    String place = PLACES.get(done % PLACES.size());
                    int number = fourDigits(numbers);
                    int other = fourDigits(numbers);
                    NeedlePrompt asked =
                            NeedlePrompt.of(tokenizer, fillerTokens, context, depth, place, number, number);
                    NeedlePrompt control =
                            NeedlePrompt.of(tokenizer, fillerTokens, context, depth, place, other, number);
                    for (int i = 0; i < runs.size(); i++) {
                        Answer answer = read(model, runs.get(i), asked);
                        double guessed = read(model, runs.get(i), control).logProbability();
                        needles.get(i)
                                .add(new NeedleReport.Needle(
                                        context, depth, answer.greedy(), answer.logProbability(), guessed));
                    }
                    progress.windowDone(++done, contexts.length * depths.length);
                }
            }
            List<NeedleReport.Found> found = new ArrayList<>();
            for (int i = 0; i < all.size(); i++) {
                found.add(new NeedleReport.Found(runs.get(i).setting(), needles.get(i)));
            }
            return new NeedleReport(found.get(0), found.subList(1, found.size()));
        } finally {
            runs.forEach(EvaluationRun::close);
        }
    }

    private static int fourDigits(Random numbers) {
        return 1000 + numbers.nextInt(9000);
    }

    /** How an answer was predicted: in nats, and whether greedily. */
    private record Answer(double logProbability, boolean greedy) {}

    private static Answer read(EvaluationModel model, EvaluationRun run, NeedlePrompt prompt) {
        EvaluationWindows.Window window = prompt.window();
        run.compute(prompt.tokens(), window);
        FloatBuffer logits = model.logits(run, window.firstRow(), window.targets());
        double[] predicted = new double[model.config.vocabularySize()];
        double logProbability = 0;
        boolean greedy = true;
        for (int row = 0; row < window.targets(); row++) {
            int target = prompt.tokens()[prompt.firstAnswer() + row];
            greedy &= LogitComparison.logSoftmax(logits, row, predicted) == target;
            logProbability += predicted[target];
        }
        return new Answer(logProbability, greedy);
    }

    /** What to check; model, filler and at least one setting must be given. */
    public static final class Builder {
        private @Nullable Path model;
        private @Nullable String filler;
        private int[] contexts = {512};
        private double[] depths = {0, 0.25, 0.5, 0.75, 1};
        private final List<CacheSetting> settings = new ArrayList<>();
        private @Nullable KvBackend backend;

        private Builder() {}

        /** A Hugging Face folder. */
        public Builder model(Path folder) {
            model = folder;
            return this;
        }

        /** The text that statements are hidden in; its first tokens also make tensor, head and channel scales. */
        public Builder filler(String text) {
            filler = text;
            return this;
        }

        /** Tokens of a prompt, the answer included; 512 by default. */
        public Builder contexts(int... tokens) {
            contexts = tokens.clone();
            return this;
        }

        /** Where statements stand, 0 at the filler's begin to 1 at its end; five places by default. */
        public Builder depths(double... parts) {
            depths = parts.clone();
            return this;
        }

        /** Adds a setting to compare with {@code auto}, which always runs. */
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
        public NeedleCheck build() {
            Path folder = model;
            String text = filler;
            if (folder == null || text == null || settings.isEmpty()) {
                throw new IllegalArgumentException("A check needs a model, a filler text and at least one setting.");
            }
            if (contexts.length == 0 || Arrays.stream(contexts).anyMatch(context -> context < 2)) {
                throw new IllegalArgumentException(
                        "contexts are " + Arrays.toString(contexts) + "; give at least one, each of 2 tokens or more.");
            }
            if (depths.length == 0 || Arrays.stream(depths).anyMatch(depth -> !(depth >= 0 && depth <= 1))) {
                throw new IllegalArgumentException(
                        "depths are " + Arrays.toString(depths) + "; give at least one, each from 0 to 1.");
            }
            return new NeedleCheck(this, folder, text);
        }
    }
}
