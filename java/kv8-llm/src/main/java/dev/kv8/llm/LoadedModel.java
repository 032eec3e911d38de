package dev.kv8.llm;

import dev.kv8.Admission;
import dev.kv8.Batch;
import dev.kv8.CapacityPlan;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvScales;
import dev.kv8.Sequence;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What an {@link LLM} computes with: a checkpoint's weights on a device, and a cache with its scales.
 *
 * @param rope angles up to the longest text
 * @param firstPass what the first step is to calculate scales by; null when they are known or dynamic, or there are none
 */
record LoadedModel(
        ModelConfig config,
        Tokenizer tokenizer,
        KvBackend backend,
        LlamaModel model,
        KvCache cache,
        RopeTables rope,
        @Nullable KvScaleCalculation firstPass) {
    private static final System.Logger LOG = System.getLogger(LLM.class.getName());

    /**
     * Loads a model as the builder says; what is opened is kept in {@code opened}.
     *
     * @throws CheckpointException when the folder can't be used
     * @throws IllegalArgumentException when settings contradict the model
     */
    static LoadedModel load(LLM.Builder builder, Path folder, OpenedParts opened) {
        ModelFolder.requireComplete(folder);
        ModelConfig config = ModelConfig.read(folder);
        Tokenizer tokenizer = opened.keep(Tokenizer.load(folder), Tokenizer::close);
        KvBackend backend = builder.backend != null ? builder.backend : opened.keep(KvBackend.open(), KvBackend::close);
        LlamaModel model;
        KvCache cache;
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            KvCacheConfig cacheConfig = cacheConfig(builder, config, checkpoint);
            model = opened.keep(LlamaModel.load(backend, config, checkpoint), LlamaModel::close);
            cache = opened.keep(KvCache.create(backend, cacheConfig), KvCache::close);
        }
        RopeTables rope =
                opened.keep(RopeTables.create(backend, config, longestText(cache, config)), RopeTables::close);
        KvScaleCalculation calculation = storesFp8(builder) ? builder.calculation : null;
        boolean profiled = calculation != null && calculation.source() == KvScaleCalculation.Source.RANDOM_TOKENS;
        LoadedModel loaded =
                new LoadedModel(config, tokenizer, backend, model, cache, rope, profiled ? null : calculation);
        if (calculation != null && profiled) {
            profile(loaded, calculation, (int) Math.min(
                    Math.min(rope.maxPositions(), builder.maxBatchTokens),
                    CapacityPlan.of(cache.config()).tokens()));
        }
        return loaded;
    }

    private static boolean storesFp8(LLM.Builder builder) {
        return builder.kDtype.isFp8() || builder.vDtype.isFp8();
    }

    /** Where all layers have a window the cache holds any text, in turns, once it holds the windows and a step of one block. */
    private static int longestText(KvCache cache, ModelConfig config) {
        int most = config.maxPositions();
        if (cache.canAdmit(new int[1], most - 1).answer() != Admission.Answer.NEVER) {
            return most;
        }
        return (int) Math.min(most, CapacityPlan.of(cache.config()).tokens());
    }

    /** A pass over random tokens that sets the scales and leaves nothing behind. */
    private static void profile(LoadedModel loaded, KvScaleCalculation settings, int count) {
        int[] tokens = ScaleCalculation.randomTokens(loaded.config, count);
        try (ScaleCalculation writer =
                        new ScaleCalculation(loaded.backend, loaded.cache, loaded.rope, loaded.config, settings);
                Sequence sequence = loaded.cache.open(tokens);
                Batch batch = loaded.cache.batch()) {
            batch.add(sequence);
            loaded.model.forward(loaded.cache, batch, loaded.rope, writer);
            loaded.backend.synchronize();
            batch.clear();
        }
    }

    private static KvCacheConfig cacheConfig(LLM.Builder builder, ModelConfig config, Checkpoint checkpoint) {
        KvCacheConfig.Builder cacheConfig = config.groupedCacheConfig()
                .kDtype(builder.kDtype)
                .vDtype(builder.vDtype)
                .skipLayers(builder.skipLayers)
                .blockSize(builder.blockSize)
                .memory(builder.kvCacheMemory)
                .prefixCaching(builder.prefixCaching)
                .tiers(builder.tiers)
                .modelId(modelId(builder, checkpoint.folder()));
        if (storesFp8(builder)) {
            scales(builder, config, checkpoint)
                    .ifPresent(found -> cacheConfig
                            .scales(found.scales())
                            .skipLayers(
                                    IntStream.concat(IntStream.of(builder.skipLayers), IntStream.of(found.skipLayers()))
                                            .toArray()));
        } else if (builder.calculation != null || builder.kvScales != null || builder.dynamicKvScales) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "Scales were asked for, but the cache stores no FP8, so they have no effect; give kvCacheDType(\"fp8\").");
        }
        return cacheConfig.build();
    }

    /** Only what outlives the process needs to know whose it is. */
    private static String modelId(LLM.Builder builder, Path folder) {
        if (builder.modelId.isEmpty() && !builder.tiers.stores().isEmpty()) {
            return ModelDigest.ofWeights(folder);
        }
        return builder.modelId;
    }

    /**
     * Scales only concern an FP8 cache: given ones, dynamic or calculated ones, the checkpoint's, else 1.0 with a warning. Layers that a
     * checkpoint has no scales for, because its maker left them alone, stay in the model's own type.
     */
    private static Optional<CheckpointScales.Found> scales(
            LLM.Builder builder, ModelConfig config, Checkpoint checkpoint) {
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
}
