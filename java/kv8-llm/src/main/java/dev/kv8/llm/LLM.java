package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.ByteSize;
import dev.kv8.CapacityPlan;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.PreemptionPolicy;
import dev.kv8.RopeTable;
import dev.kv8.Saturation;
import dev.kv8.Sequence;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * A language model with a paged KV cache: text in, text out.
 *
 * <pre>{@code
 * try (LLM llm = LLM.builder().model(Path.of("Llama-3.1-8B-Instruct")).kvCacheDType("fp8").calculateKvScales(true).build()) {
 *     var params = SamplingParams.builder().temperature(0.7).topP(0.8).build();
 *     System.out.println(llm.generate("London is the capital of", params).get(0).text());
 * }
 * }</pre>
 *
 * <p>Calls from several threads take turns.
 */
public final class LLM implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(LLM.class.getName());

    private final KvBackend backend;
    private final boolean ownsBackend;
    private final ModelConfig config;
    private final Tokenizer tokenizer;
    private final LlamaModel model;
    private final KvCache cache;
    private final RopeTable rope;
    private final GenerationLoop loop;
    private final SplittableRandom seeds = new SplittableRandom();
    private final SaturationWarning saturation = new SaturationWarning();
    private @Nullable KvScaleCalculation calculation;
    private boolean closed;
    private GenerationStats lastStats = new GenerationStats(0, 0, 0, 0, 0, 0);

    private LLM(Builder builder, Path folder, OpenedParts opened) {
        ownsBackend = builder.backend == null;
        config = ModelConfig.read(folder);
        tokenizer = opened.keep(Tokenizer.load(folder), Tokenizer::close);
        backend = builder.backend != null ? builder.backend : opened.keep(KvBackend.open(), KvBackend::close);
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            KvCacheConfig cacheConfig = cacheConfig(builder, checkpoint);
            model = opened.keep(LlamaModel.load(backend, config, checkpoint), LlamaModel::close);
            cache = opened.keep(KvCache.create(backend, cacheConfig), KvCache::close);
        }
        long positions =
                Math.min(config.maxPositions(), CapacityPlan.of(cache.config()).tokens());
        rope = RopeAngles.table(backend, config, (int) positions);
        opened.keep(rope, table -> table.values().close());
        loop = opened.keep(
                new GenerationLoop(model, cache, rope, builder.maxBatchTokens, builder.preemption),
                GenerationLoop::close);
        if (calculation != null && calculation.source() == KvScaleCalculation.Source.RANDOM_TOKENS) {
            profile(calculation, (int) Math.min(positions, builder.maxBatchTokens));
            calculation = null;
        }
    }

    /** A pass over random tokens that sets the scales and leaves nothing behind. */
    private void profile(KvScaleCalculation settings, int count) {
        int[] tokens = ScaleCalculation.randomTokens(config, count);
        try (ScaleCalculation writer = new ScaleCalculation(backend, cache, rope, config, settings);
                Sequence sequence = cache.open(tokens);
                Batch batch = cache.batch()) {
            batch.add(sequence);
            model.forward(cache, batch, rope, writer);
            backend.synchronize();
            batch.clear();
        }
    }

    private KvCacheConfig cacheConfig(Builder builder, Checkpoint checkpoint) {
        KvCacheConfig.Builder cacheConfig = config.cacheConfig()
                .kDtype(builder.kDtype)
                .vDtype(builder.vDtype)
                .skipLayers(builder.skipLayers)
                .blockSize(builder.blockSize)
                .memory(builder.kvCacheMemory)
                .prefixCaching(builder.prefixCaching);
        if (builder.kDtype.isFp8() || builder.vDtype.isFp8()) {
            calculation = builder.calculation;
            scales(builder, checkpoint)
                    .ifPresent(found -> cacheConfig
                            .scales(found.scales())
                            .skipLayers(
                                    IntStream.concat(IntStream.of(builder.skipLayers), IntStream.of(found.skipLayers()))
                                            .toArray()));
        }
        return cacheConfig.build();
    }

    /**
     * Scales only concern an FP8 cache: given ones, dynamic or calculated ones, the checkpoint's, else 1.0 with a warning. Layers that a
     * checkpoint has no scales for, because its maker left them alone, stay in the model's own type.
     */
    private Optional<CheckpointScales.Found> scales(Builder builder, Checkpoint checkpoint) {
        if (builder.kvScales != null) {
            return Optional.of(new CheckpointScales.Found(builder.kvScales, Set.of()));
        }
        if (builder.dynamicKvScales) {
            return Optional.of(new CheckpointScales.Found(KvScales.dynamic(config.layers()), Set.of()));
        }
        if (builder.calculation != null) {
            return Optional.empty();
        }
        Optional<CheckpointScales.Found> found = CheckpointScales.read(checkpoint, config);
        if (found.isEmpty()) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "{0} has no KV scales, so the FP8 cache uses 1.0, which may cost accuracy. Calculate them"
                            + " (calculateKvScales), use dynamic ones, or calibrate the model (kv8 calibrate).",
                    checkpoint.folder());
        }
        return found;
    }

    public static Builder builder() {
        return new Builder();
    }

    /** Continues each prompt with the default {@link SamplingParams}. */
    public List<Completion> generate(String... prompts) {
        return generate(Arrays.asList(prompts), SamplingParams.builder().build());
    }

    /** Continues one prompt. */
    public List<Completion> generate(String prompt, SamplingParams sampling) {
        return generate(List.of(prompt), sampling);
    }

    /**
     * Continues each prompt, batched together.
     *
     * @return one completion for each prompt, in their order
     * @throws IllegalArgumentException when a prompt has no tokens, or more than the model or the cache can hold
     * @throws IllegalStateException when this model has been closed
     */
    public synchronized List<Completion> generate(List<String> prompts, SamplingParams sampling) {
        if (closed) {
            throw new IllegalStateException("This LLM has been closed.");
        }
        long begin = System.nanoTime();
        List<Request> requests = new ArrayList<>();
        for (String prompt : prompts) {
            int[] tokens = tokenizer.encode(prompt);
            checkLength(prompt, tokens.length);
            long seed = sampling.seed().orElseGet(seeds::nextLong);
            requests.add(new Request(prompt, tokens, sampling, seed, config.eosTokenIds(), tokenizer));
        }
        long saturatedBefore = cache.stats().saturatedValues();
        run(requests);
        Saturation saturated = cache.saturation();
        saturation.check(cache, saturated);
        double seconds = (System.nanoTime() - begin) / 1e9;
        lastStats = new GenerationStats(
                requests.stream().mapToInt(Request::promptLength).sum(),
                requests.stream().mapToInt(Request::generated).sum(),
                seconds,
                loop.steps(),
                loop.preemptions(),
                Math.max(0, saturated.total() - saturatedBefore));
        return requests.stream().map(Request::completion).toList();
    }

    private void run(List<Request> requests) {
        KvScaleCalculation pending = calculation;
        if (pending != null && !requests.isEmpty()) {
            cache.clearPrefixes(); // what a failed first pass has stored does not belong to the scales of this one
            try (ScaleCalculation writer = new ScaleCalculation(backend, cache, rope, config, pending)) {
                loop.run(requests, writer);
            }
            calculation = null;
        } else {
            loop.runUsual(requests);
        }
    }

    private void checkLength(String prompt, int tokens) {
        String shown = prompt.length() <= 40 ? prompt : prompt.substring(0, 40) + "...";
        if (tokens == 0) {
            throw new IllegalArgumentException(
                    "The prompt \"" + shown
                            + "\" has no tokens; give at least one character, since this tokenizer adds no beginning-of-text token.");
        }
        long capacity = CapacityPlan.of(cache.config()).tokens();
        if (tokens > capacity) {
            throw new IllegalArgumentException(
                    "The prompt \"" + shown + "\" has " + tokens
                            + " tokens, but the whole KV cache holds " + capacity + " ("
                            + cache.config().memory()
                            + "). Give it more memory (kvCacheMemory), a smaller type (kvCacheDType fp8), or a shorter prompt.");
        }
        if (tokens > config.maxPositions()) {
            throw new IllegalArgumentException("The prompt \"" + shown + "\" has " + tokens
                    + " tokens, but the model was made for at most " + config.maxPositions()
                    + " (max_position_embeddings). Give a shorter prompt.");
        }
    }

    public ModelConfig config() {
        return config;
    }

    public Tokenizer tokenizer() {
        return tokenizer;
    }

    /** The cache, for its statistics and scales; sequences opened on it take blocks away from {@link #generate}. */
    public KvCache cache() {
        return cache;
    }

    /** What the last {@link #generate} did. */
    public synchronized GenerationStats lastStats() {
        return lastStats;
    }

    /** Frees the model, the cache, and the backend if it was opened here. Closing twice does nothing. */
    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        loop.close();
        rope.values().close();
        cache.close();
        model.close();
        tokenizer.close();
        if (ownsBackend) {
            backend.close();
        }
    }

    /** Settings of a model; only {@link #model} must be given. */
    public static final class Builder {
        private @Nullable Path model;
        private KvCacheDType kDtype = KvCacheDType.AUTO;
        private KvCacheDType vDtype = KvCacheDType.AUTO;
        private int[] skipLayers = {};
        private boolean dynamicKvScales;
        private @Nullable KvScaleCalculation calculation;
        private @Nullable KvScales kvScales;
        private ByteSize kvCacheMemory = ByteSize.gib(1);
        private int blockSize = 16;
        private boolean prefixCaching = true;
        private @Nullable KvBackend backend;
        private int maxBatchTokens = 512;
        private PreemptionPolicy preemption = PreemptionPolicy.faster();

        private Builder() {}

        /** A Hugging Face folder: config.json, tokenizer.json, safetensors. */
        public Builder model(Path folder) {
            model = folder;
            return this;
        }

        /** What K and V are stored in: auto, fp8, fp8_e4m3, fp8_e5m2, bfloat16, float16, float32. */
        public Builder kvCacheDType(String name) {
            return kvCacheDType(KvCacheDType.parse(name));
        }

        /** What K and V are stored in. */
        public Builder kvCacheDType(KvCacheDType dtype) {
            return kvCacheDType(dtype, dtype);
        }

        /** What K and what V is stored in. */
        public Builder kvCacheDType(KvCacheDType k, KvCacheDType v) {
            kDtype = k;
            vDtype = v;
            return this;
        }

        /** Layers whose K and V stay in the model's own type, besides those that a calibrated checkpoint names. */
        public Builder skipLayers(int... layers) {
            skipLayers = layers.clone();
            return this;
        }

        /** Scales by token and head, found when a token is stored; they take 4 bytes each. */
        public Builder dynamicKvScales(boolean dynamic) {
            dynamicKvScales = dynamic;
            return this;
        }

        /** With true {@link KvScaleCalculation#firstPass()}; only an FP8 cache has scales. */
        public Builder calculateKvScales(boolean calculate) {
            calculation = calculate ? KvScaleCalculation.firstPass() : null;
            return this;
        }

        /** Sets each layer's scales from a forward pass; only an FP8 cache has scales. */
        public Builder calculateKvScales(KvScaleCalculation how) {
            calculation = how;
            return this;
        }

        /** Scales to use instead of the checkpoint's; only an FP8 cache has scales. */
        public Builder kvScales(KvScales scales) {
            kvScales = scales;
            return this;
        }

        /** Memory of the KV cache; 1 GiB by default. */
        public Builder kvCacheMemory(ByteSize size) {
            kvCacheMemory = size;
            return this;
        }

        /** Tokens in a cache block: a multiple of 8 from 8 to 128, 16 by default. */
        public Builder blockSize(int tokens) {
            blockSize = tokens;
            return this;
        }

        /**
         * Whether prompts that begin alike share what is stored for the tokens that they have in common, in whole blocks, also
         * with earlier ones; true by default. It changes no token.
         */
        public Builder prefixCaching(boolean shared) {
            prefixCaching = shared;
            return this;
        }

        /** Runs on this backend, which stays the caller's; by default one is opened and closed with the model. */
        public Builder backend(KvBackend opened) {
            backend = opened;
            return this;
        }

        /** Tokens that one forward pass computes at most; 512 by default. */
        public Builder maxBatchTokens(int tokens) {
            if (tokens < 1) {
                throw new IllegalArgumentException("maxBatchTokens is " + tokens + "; it must be 1 or more.");
            }
            maxBatchTokens = tokens;
            return this;
        }

        /**
         * What happens to a running request when the cache has no block left for any; by default what is {@link
         * PreemptionPolicy#faster}, which may take as much host memory as the cache has. It changes no token.
         */
        public Builder preemption(PreemptionPolicy policy) {
            preemption = policy;
            return this;
        }

        /**
         * Loads the model.
         *
         * @throws CheckpointException when the folder can't be used; the message says why
         * @throws IllegalArgumentException when settings contradict each other or the model
         * @throws dev.kv8.BackendUnavailableException when there is no backend
         */
        public LLM build() {
            Path folder = model;
            if (folder == null) {
                throw new IllegalArgumentException("No model was given; call model(folder).");
            }
            if ((calculation != null ? 1 : 0) + (kvScales != null ? 1 : 0) + (dynamicKvScales ? 1 : 0) > 1) {
                throw new IllegalArgumentException(
                        "More than one of kvScales, calculateKvScales and dynamicKvScales was"
                                + " given; scales are either known or calculated or dynamic.");
            }
            OpenedParts opened = new OpenedParts();
            try {
                return new LLM(this, folder, opened);
            } catch (RuntimeException e) {
                opened.close();
                throw e;
            }
        }
    }
}
