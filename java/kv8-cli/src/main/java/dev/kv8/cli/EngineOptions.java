package dev.kv8.cli;

import dev.kv8.ByteSize;
import dev.kv8.llm.CacheSetting;
import dev.kv8.llm.KvScaleCalculation;
import dev.kv8.llm.LLM;
import java.nio.file.Path;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Which model writes, and what its cache stores in how much memory. */
final class EngineOptions {
    @Option(
            names = "--model",
            paramLabel = "DIR",
            required = true,
            description = "Folder with config.json, *.safetensors and tokenizer.json.")
    Path model;

    @Option(
            names = "--kv-cache-dtype",
            paramLabel = "D",
            defaultValue = "auto",
            converter = CacheSides.class,
            completionCandidates = CacheDType.class,
            description =
                    "What the cache stores: ${COMPLETION-CANDIDATES}; K's and V's as D:D where they differ (default:"
                            + " ${DEFAULT-VALUE}).")
    CacheSetting stored;

    @Option(
            names = "--skip-layers",
            paramLabel = "N,N",
            split = ",",
            description = "Layers whose K and V stay in the model's own type.")
    int[] skipLayers = {};

    @Option(names = "--dynamic-scales", description = "FP8 scales by token and head, found when a token is stored.")
    boolean dynamicScales;

    @Mixin
    ScaleCalculationOptions scales = new ScaleCalculationOptions();

    @Option(
            names = "--kv-cache-memory",
            paramLabel = "SIZE",
            defaultValue = "1GiB",
            converter = MemorySize.class,
            description = "Bytes for the cache (default: ${DEFAULT-VALUE}).")
    ByteSize kvCacheMemory;

    @Option(
            names = "--block-size",
            paramLabel = "TOKENS",
            defaultValue = "16",
            description = "Tokens in a cache block (default: ${DEFAULT-VALUE}).")
    int blockSize;

    /** @throws IllegalArgumentException when a value is not allowed, or an option has no effect without another */
    LLM.Builder builder() {
        boolean fp8 = stored.kDtype().isFp8() || stored.vDtype().isFp8();
        if (!fp8 && (dynamicScales || scales.how != null)) {
            throw new IllegalArgumentException((dynamicScales ? "--dynamic-scales" : "--calculate-kv-scales")
                    + " is for an FP8 cache, but --kv-cache-dtype is " + stored.dtypeLabel()
                    + "; give --kv-cache-dtype fp8 with it.");
        }
        LLM.Builder builder = LLM.builder()
                .model(model)
                .kvCacheDType(stored.kDtype(), stored.vDtype())
                .skipLayers(skipLayers)
                .dynamicKvScales(dynamicScales)
                .kvCacheMemory(kvCacheMemory)
                .blockSize(blockSize);
        KvScaleCalculation calculation = scales.calculation();
        return calculation == null ? builder : builder.calculateKvScales(calculation);
    }
}
