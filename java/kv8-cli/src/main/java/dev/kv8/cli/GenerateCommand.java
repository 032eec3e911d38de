package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.ByteSize;
import dev.kv8.llm.CacheSetting;
import dev.kv8.llm.Completion;
import dev.kv8.llm.GenerationStats;
import dev.kv8.llm.KvScaleCalculation;
import dev.kv8.llm.LLM;
import dev.kv8.llm.SamplingParams;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 generate}: text from a model, all prompts in one batch. */
@Command(
        name = "generate",
        description = "Continue one or more prompts with a Llama-family model from a Hugging Face folder.",
        footer = {
            "",
            "Example:",
            "  kv8 generate --model tiny-llama --prompt 'In the beginning' --max-tokens 32 --temperature 0 \\",
            "      --kv-cache-dtype fp8 --calculate-kv-scales"
        })
final class GenerateCommand extends Kv8Command {
    @Option(
            names = "--model",
            paramLabel = "DIR",
            required = true,
            description = "Folder with config.json, *.safetensors and tokenizer.json.")
    Path model;

    @Option(names = "--prompt", paramLabel = "TEXT", required = true, description = "Text to continue; repeatable.")
    List<String> prompts = new ArrayList<>();

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            defaultValue = "128",
            description = "Tokens to generate for each prompt at most (default: ${DEFAULT-VALUE}).")
    int maxTokens;

    @Option(
            names = "--temperature",
            paramLabel = "T",
            defaultValue = "1",
            description = "0 takes the likeliest token, more is more random (default: ${DEFAULT-VALUE}).")
    double temperature;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            defaultValue = "1",
            description = "Sample from the likeliest tokens that together have this probability (default: all).")
    double topP;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            defaultValue = "0",
            description = "Sample from the K likeliest tokens (default: 0, all).")
    int topK;

    @Option(names = "--seed", paramLabel = "N", description = "Makes sampling repeatable.")
    @Nullable
    Long seed;

    @Option(names = "--stop", paramLabel = "TEXT", description = "Ends a text where this appears; repeatable.")
    List<String> stops = new ArrayList<>();

    @Option(names = "--ignore-eos", description = "Go on after the model's end of text.")
    boolean ignoreEos;

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

    @Override
    public Integer call() throws IOException {
        SamplingParams params = samplingParams();
        try (LLM llm = builder().build()) {
            List<Completion> completions = llm.generate(prompts, params);
            GenerationStats stats = llm.lastStats();
            if (json) {
                printJson(generator -> writeCompletions(generator, completions, stats));
            } else {
                for (Completion completion : completions) {
                    out().println(completion.prompt() + completion.text());
                    out().println();
                }
                err().printf(
                                Locale.ROOT,
                                "%d tokens in %.2f s, %.1f tokens/s; cache %s, %s bytes per token%n",
                                stats.tokens(),
                                stats.seconds(),
                                stats.tokensPerSecond(),
                                stored.dtypeLabel(),
                                Numbers.plain(llm.cache().config().bytesPerToken()));
            }
        }
        return 0;
    }

    private LLM.Builder builder() {
        try {
            LLM.Builder builder = LLM.builder()
                    .model(model)
                    .kvCacheDType(stored.kDtype(), stored.vDtype())
                    .skipLayers(skipLayers)
                    .dynamicKvScales(dynamicScales)
                    .kvCacheMemory(kvCacheMemory)
                    .blockSize(blockSize);
            KvScaleCalculation calculation = scales.calculation();
            return calculation == null ? builder : builder.calculateKvScales(calculation);
        } catch (IllegalArgumentException e) {
            throw wrongUsage(e);
        }
    }

    private SamplingParams samplingParams() {
        try {
            SamplingParams.Builder params = SamplingParams.builder()
                    .temperature(temperature)
                    .topP(topP)
                    .topK(topK)
                    .maxTokens(maxTokens)
                    .stop(stops.toArray(String[]::new))
                    .ignoreEos(ignoreEos);
            if (seed != null) {
                params.seed(seed);
            }
            return params.build();
        } catch (IllegalArgumentException e) {
            throw wrongUsage(e);
        }
    }

    private static void writeCompletions(JsonGenerator generator, List<Completion> completions, GenerationStats stats)
            throws IOException {
        generator.writeArrayFieldStart("outputs");
        for (Completion completion : completions) {
            generator.writeStartObject();
            generator.writeStringField("prompt", completion.prompt());
            generator.writeStringField("text", completion.text());
            generator.writeFieldName("token_ids");
            int[] ids = completion.tokenIds();
            generator.writeArray(ids, 0, ids.length);
            generator.writeNumberField("cached_tokens", completion.cachedTokens());
            generator.writeStringField(
                    "finish_reason", completion.finishReason().name().toLowerCase(Locale.ROOT));
            generator.writeEndObject();
        }
        generator.writeEndArray();
        generator.writeNumberField("tokens", stats.tokens());
        writeNumber(generator, "seconds", stats.seconds());
        writeNumber(generator, "tokens_per_second", stats.tokensPerSecond());
        generator.writeNumberField("saturated_values", stats.saturatedValues());
    }
}
