package dev.kv8.llm;

import dev.kv8.Fp8Format;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/**
 * Finds a model's KV scales from the magnitudes that K and V have on a data set.
 *
 * <pre>{@code
 * Calibration calibration = Calibrator.builder().model(folder).data(Path.of("chats.jsonl")).build().run();
 * KvScales scales = calibration.scales(KvScales.Granularity.HEAD);
 * }</pre>
 *
 * <p>A data set is a file of JSON lines ({@code .jsonl}, {@code .ndjson}, {@code .json}: a chat as {@code messages} of role
 * and content or {@code conversations} of from and value, else a text as {@code text} or {@code prompt}), any other file as
 * plain text, which is cut at line ends into samples of about {@link Builder#sampleLength} tokens (four bytes each), or texts
 * in memory. Chats go through the model's {@link ChatTemplate}. Samples are drawn and shuffled by the seed and cut to the
 * length; only drawn lines are parsed.
 *
 * <p>One pass serves every granularity, format and {@link ScaleRule}. Samples go through the model with a cache of its own
 * type, and what is counted depends neither on their order nor on how many go together, so the result is the same for every
 * {@link Builder#batchTokens}. Counts take 2.5 KiB for each channel of each KV head: 160 MiB for 32 layers with 8 heads of 128.
 */
public final class Calibrator {
    private static final int BYTES_A_TOKEN = 4;
    private static final int DEFAULT_LENGTH = 2048;
    /** Of the samples, for {@link Calibration#sampleText}. */
    private static final int EVALUATED_TOKENS = 4096;

    private final Path folder;
    private final String dataName;
    private final @Nullable Path data;
    private final List<String> texts;
    private final int samples;
    private final OptionalInt sampleLength;
    private final long seed;
    private final int batchTokens;
    private final CalibrationRules rules;
    private final @Nullable Path state;
    private final boolean resume;
    private final @Nullable KvBackend given;
    private volatile boolean cancelled;

    private Calibrator(Builder builder, Path folder) {
        this.folder = folder;
        data = builder.data;
        dataName = data == null ? "texts" : String.valueOf(data.getFileName());
        texts = List.copyOf(builder.texts);
        samples = builder.samples;
        sampleLength = builder.sampleLength;
        seed = builder.seed;
        batchTokens = builder.batchTokens;
        Fp8Format format = builder.dtype == KvCacheDType.FP8_E5M2 ? Fp8Format.E5M2 : Fp8Format.E4M3FN;
        rules = new CalibrationRules(format, builder.kRule, builder.vRule, builder.margin);
        state = builder.state;
        resume = builder.resume;
        given = builder.backend;
    }

    /** Hears how far the work is. */
    @FunctionalInterface
    public interface Progress {
        /** Called at the begin and after each batch; what it throws ends the calibration. */
        void samplesDone(int done, int samples, long tokens);
    }

    public static Builder builder() {
        return new Builder();
    }

    /** Runs without reporting progress; see {@link #run(Progress)}. */
    public Calibration run() {
        return run((done, total, tokens) -> {});
    }

    /**
     * Calibrates, on the calling thread.
     *
     * @throws CheckpointException when the model can't be used
     * @throws CalibrationException when the data set or the kept state can't be used; the message names the line
     * @throws IllegalArgumentException when the sample length that was given is longer than the model's context
     * @throws java.util.concurrent.CancellationException after {@link #cancel}
     */
    public Calibration run(Progress progress) {
        return GivenBackend.use(given, opened -> run(opened, progress));
    }

    /**
     * Ends {@link #run} after the batch that it is computing, with its state kept if there is a place for it. Any thread may
     * call this.
     */
    public void cancel() {
        cancelled = true;
    }

    private Calibration run(KvBackend backend, Progress progress) {
        ModelFolder.requireComplete(folder);
        ModelConfig config = ModelConfig.read(folder);
        int length = length(config);
        try (SampleSource source = openData(length);
                CalibrationTokens tokens = new CalibrationTokens(folder, source, samples, length, seed);
                Checkpoint checkpoint = Checkpoint.open(folder);
                LlamaModel model = LlamaModel.load(backend, config, checkpoint);
                RopeTables rope = RopeTables.create(backend, config, length)) {
            return run(backend, config, tokens, model, rope, length, progress);
        }
    }

    private int length(ModelConfig config) {
        int length = sampleLength.orElse(Math.min(DEFAULT_LENGTH, config.maxPositions()));
        if (length > config.maxPositions()) {
            throw new IllegalArgumentException("The sample length is " + length + "; the model was made for at most "
                    + config.maxPositions() + " tokens (max_position_embeddings). Give that or less.");
        }
        if ((long) length * samples > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(samples + " samples of " + length
                    + " tokens are too many; together at most " + Integer.MAX_VALUE + " tokens are counted.");
        }
        return length;
    }

    private SampleSource openData(int length) {
        SampleSource source = data == null ? new ListedSamples(texts) : FileSamples.open(data, length * BYTES_A_TOKEN);
        if (source.size() == 0) {
            source.close();
            throw new CalibrationException(
                    "The data set" + (data == null ? "" : " " + data) + " is empty; give at least one line with text.");
        }
        return source;
    }

    private Calibration run(
            KvBackend backend,
            ModelConfig config,
            CalibrationTokens tokens,
            LlamaModel model,
            RopeTables rope,
            int length,
            Progress progress) {
        LayerMagnitudes magnitudes = new LayerMagnitudes(config.layers(), config.kvHeads(), config.headSize());
        MagnitudeObserver observer = new MagnitudeObserver(backend, rope, magnitudes);
        try (CalibrationPass pass = new CalibrationPass(backend, config, model, rope, observer, batchTokens, length)) {
            CalibrationRun run = new CalibrationRun(tokens, pass, magnitudes, state(tokens, length));
            if (resume) {
                run.resume();
            }
            long counted = run.run(progress, () -> cancelled);
            if (counted == 0) {
                throw new CalibrationException("The samples of " + dataName + " have no tokens; give some with text.");
            }
            var facts = new CalibrationFacts(dataName, tokens.dataSha256(), tokens.samples(), counted, length, seed);
            return new Calibration(folder, facts, tokens.text(EVALUATED_TOKENS), magnitudes, rules);
        }
    }

    /** Rules and format are not part of what a state belongs to: counts serve all of them. */
    private Optional<CalibrationState> state(CalibrationTokens tokens, int length) {
        if (state == null) {
            return Optional.empty();
        }
        Map<String, String> identity = new LinkedHashMap<>();
        identity.put("the model", ModelDigest.of(folder));
        identity.put("the data set", tokens.dataSha256());
        identity.put("the number of samples", String.valueOf(tokens.samples()));
        identity.put("the sample length", String.valueOf(length));
        identity.put("the seed", String.valueOf(seed));
        return Optional.of(new CalibrationState(state, identity));
    }

    /** What to calibrate; model and data must be given. */
    public static final class Builder {
        private @Nullable Path model;
        private @Nullable Path data;
        private final List<String> texts = new ArrayList<>();
        private int samples = 512;
        private OptionalInt sampleLength = OptionalInt.empty();
        private long seed = 42;
        private int batchTokens = 2048;
        private KvCacheDType dtype = KvCacheDType.FP8_E4M3;
        private ScaleRule kRule = new ScaleRule.MinMax();
        private ScaleRule vRule = new ScaleRule.MinMax();
        private double margin = 1;
        private @Nullable Path state;
        private boolean resume;
        private @Nullable KvBackend backend;

        private Builder() {}

        /** A Hugging Face folder. */
        public Builder model(Path folder) {
            model = folder;
            return this;
        }

        /** A data set in a file. */
        public Builder data(Path file) {
            data = file;
            return this;
        }

        /** Adds texts, a sample each. */
        public Builder texts(Iterable<String> values) {
            values.forEach(texts::add);
            return this;
        }

        /** How many samples to draw; 512 by default, all where there are fewer. */
        public Builder samples(int count) {
            samples = count;
            return this;
        }

        /** Tokens that a sample is cut to; by default 2048, or the model's context where that is shorter. */
        public Builder sampleLength(int tokens) {
            sampleLength = OptionalInt.of(tokens);
            return this;
        }

        /** Decides which samples are drawn, in which order; 42 by default. */
        public Builder seed(long value) {
            seed = value;
            return this;
        }

        /** Tokens that one forward pass computes at most; 2048 by default. The result does not depend on it. */
        public Builder batchTokens(int tokens) {
            batchTokens = tokens;
            return this;
        }

        /** The type that the scales are for: fp8_e4m3 (the default) or fp8_e5m2. */
        public Builder dtype(KvCacheDType fp8) {
            dtype = fp8;
            return this;
        }

        /** How scales of K and V follow from magnitudes; by default {@link ScaleRule.MinMax}. */
        public Builder rule(ScaleRule both) {
            return kRule(both).vRule(both);
        }

        public Builder kRule(ScaleRule rule) {
            kRule = rule;
            return this;
        }

        public Builder vRule(ScaleRule rule) {
            vRule = rule;
            return this;
        }

        /** Multiplies every scale, for values larger than those seen; 1 by default. */
        public Builder margin(double factor) {
            margin = factor;
            return this;
        }

        /**
         * Keeps the state in this file, every 16 samples or every minute and when cancelled; it stays when all is done. By
         * default none is kept.
         */
        public Builder state(Path file) {
            state = file;
            return this;
        }

        /** Goes on from the file of {@link #state} if there is one, instead of overwriting it. */
        public Builder resume(boolean on) {
            resume = on;
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
        public Calibrator build() {
            Path folder = model;
            if (folder == null || (data == null) == texts.isEmpty()) {
                throw new IllegalArgumentException(
                        "A calibration needs a model, and data in a file or as texts, not both.");
            }
            checkAtLeastOne("The number of samples", samples);
            checkAtLeastOne("The sample length", sampleLength.orElse(1));
            checkAtLeastOne("batchTokens", batchTokens);
            if (!dtype.isFp8()) {
                throw new IllegalArgumentException(
                        dtype + " has no scales to calibrate; the types that have are fp8_e4m3 and fp8_e5m2.");
            }
            if (!(margin >= 1 && margin <= 1024)) {
                throw new IllegalArgumentException("The margin is " + margin
                        + "; it must be 1 (none) to 1024, for instance 1.1 for a tenth above what was seen.");
            }
            if (resume && state == null) {
                throw new IllegalArgumentException("To resume, give the file that the state was kept in.");
            }
            return new Calibrator(this, folder);
        }

        private static void checkAtLeastOne(String what, int value) {
            if (value < 1) {
                throw new IllegalArgumentException(what + " is " + value + "; it must be at least 1.");
            }
        }
    }
}
