package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.ByteSize;
import dev.kv8.CapacityPlan;
import dev.kv8.DType;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.llm.ModelConfig;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.UseDefaultConverter;

/** {@code kv8 plan}: what fits in a given memory, from the sizes that the cache itself allocates by. */
@Command(
        name = "plan",
        description = "Show how many tokens and sequences fit in a given memory, by cache dtype.",
        footer = {
            "",
            "Example:",
            "  kv8 plan --model Llama-3.1-8B-Instruct --memory 8GiB",
            "  kv8 plan --layers 32 --kv-heads 8 --head-size 128 --memory 8GiB --kv-cache-dtype auto,fp8",
            "  kv8 plan --model Llama-3.1-8B-Instruct --memory 8GiB --plot plan.svg",
            "  kv8 plan --model Llama-3.1-8B-Instruct --memory 8GiB --tier host=64GiB,files=500GiB",
        })
final class PlanCommand extends Kv8Command {
    /** The shape, from a checkpoint or spelled out. */
    static final class Shape {
        @Option(
                names = "--model",
                paramLabel = "DIR",
                required = true,
                description = "Checkpoint folder; its config.json tells the shape.")
        @Nullable
        Path model;

        @ArgGroup(exclusive = false, multiplicity = "1")
        @Nullable
        Sizes sizes;
    }

    /** A shape without a checkpoint. */
    static final class Sizes {
        @Option(names = "--layers", paramLabel = "N", required = true, description = "Layers that have a cache.")
        int layers;

        @Option(names = "--kv-heads", paramLabel = "N", required = true, description = "K (and V) heads of a layer.")
        int kvHeads;

        @Option(names = "--head-size", paramLabel = "N", required = true, description = "Elements of a head.")
        int headSize;

        @Option(
                names = "--model-dtype",
                paramLabel = "TYPE",
                defaultValue = "bfloat16",
                converter = ModelDType.class,
                completionCandidates = ModelDType.class,
                description = "What auto stores: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
        DType dtype = DType.BFLOAT16;
    }

    @ArgGroup(exclusive = true, multiplicity = "1")
    Shape shape;

    @Option(
            names = "--memory",
            paramLabel = "SIZE",
            required = true,
            converter = MemorySize.class,
            description = "Bytes for the cache, for instance 512MiB or 8GiB.")
    ByteSize memory;

    @Option(
            names = "--tier",
            paramLabel = "NAME=SIZE",
            split = ",",
            converter = {UseDefaultConverter.class, MemorySize.class},
            description = "Tiers below the cache, for instance host=64GiB,files=1TiB: what each of them holds besides.")
    Map<String, ByteSize> tiers = new LinkedHashMap<>();

    @Mixin
    CacheDTypes dtypes;

    @Option(names = "--dynamic-scales", description = "A scale per token and head, stored with the FP8 blocks.")
    boolean dynamicScales;

    @Option(
            names = "--block-size",
            paramLabel = "TOKENS",
            defaultValue = "16",
            description = "Tokens in a block, a multiple of 8 from 8 to 128 (default: ${DEFAULT-VALUE}).")
    int blockSize;

    @Option(
            names = "--length",
            paramLabel = "TOKENS",
            split = ",",
            defaultValue = "1024,8192,32768",
            description = "Lengths of sequences to count (default: ${DEFAULT-VALUE}).")
    List<Integer> lengths = new ArrayList<>();

    @Option(
            names = "--plot",
            paramLabel = "FILE",
            converter = PlotFile.Converter.class,
            description = "Draw tokens by cache dtype, as .svg or .png.")
    @Nullable
    PlotFile plot;

    @Override
    public Integer call() throws IOException {
        if (dynamicScales && dtypes.list.stream().noneMatch(KvCacheDType::isFp8)) {
            throw wrongUsage("--dynamic-scales is for FP8 blocks; give --kv-cache-dtype fp8 with it.");
        }
        for (int length : lengths) {
            if (length < 1) {
                throw wrongUsage("--length is " + length + "; a sequence has at least one token.");
            }
        }
        CacheShape cacheShape = cacheShape();
        Map<KvCacheDType, CapacityPlan> plans = new LinkedHashMap<>();
        for (KvCacheDType dtype : dtypes.list) {
            plans.put(dtype, fromOptions(() -> plan(cacheShape, dtype)));
        }
        if (json) {
            printJson(generator -> writePlans(generator, cacheShape, plans));
        } else {
            printPlans(cacheShape, plans);
        }
        if (plot != null) {
            plot.write(PlanChart.of(memory + " for the KV cache", plans));
        }
        return 0;
    }

    private CacheShape cacheShape() {
        if (shape.sizes != null) {
            Sizes sizes = shape.sizes;
            return new CacheShape(sizes.layers, sizes.kvHeads, sizes.headSize, sizes.dtype);
        }
        return CacheShape.of(ModelConfig.read(Objects.requireNonNull(shape.model)));
    }

    private CapacityPlan plan(CacheShape cacheShape, KvCacheDType dtype) {
        boolean dynamic = dynamicScales && dtype.isFp8();
        return CapacityPlan.of(cacheShape
                .configuration()
                .dtype(dtype)
                .scales(dynamic ? KvScales.dynamic(cacheShape.layers()) : KvScales.none(cacheShape.layers()))
                .blockSize(blockSize)
                .memory(memory)
                .build());
    }

    private void printPlans(CacheShape cacheShape, Map<KvCacheDType, CapacityPlan> plans) {
        out().printf(
                        Locale.ROOT,
                        "%s for the KV cache of %d layers, %d KV heads of %d, model dtype %s, blocks of %d tokens%n%n",
                        memory,
                        cacheShape.layers(),
                        cacheShape.kvHeads(),
                        cacheShape.headSize(),
                        cacheShape.modelDtype(),
                        blockSize);
        List<String> header = new ArrayList<>(List.of("kv_cache_dtype", "bytes/token", "blocks", "tokens"));
        lengths.forEach(length -> header.add("sequences of " + length));
        tiers.forEach((name, size) -> header.add("tokens in " + name + ", " + size));
        TextTable table = new TextTable(header.toArray(String[]::new));
        plans.forEach((dtype, plan) -> {
            List<String> row = new ArrayList<>(List.of(
                    dtype.label(),
                    Numbers.plain(plan.bytesPerToken()),
                    Integer.toString(plan.blocks()),
                    Long.toString(plan.tokens())));
            lengths.forEach(length -> row.add(Integer.toString(plan.sequences(length))));
            tiers.values().forEach(size -> row.add(Long.toString(plan.tokensInTier(size))));
            table.row(row);
        });
        table.print(out());
    }

    private void writePlans(JsonGenerator generator, CacheShape cacheShape, Map<KvCacheDType, CapacityPlan> plans)
            throws IOException {
        generator.writeNumberField("memory_bytes", memory.bytes());
        generator.writeObjectFieldStart("model");
        generator.writeNumberField("layers", cacheShape.layers());
        generator.writeNumberField("kv_heads", cacheShape.kvHeads());
        generator.writeNumberField("head_size", cacheShape.headSize());
        generator.writeStringField("dtype", cacheShape.modelDtype().label());
        generator.writeEndObject();
        generator.writeArrayFieldStart("plans");
        for (Map.Entry<KvCacheDType, CapacityPlan> entry : plans.entrySet()) {
            CapacityPlan plan = entry.getValue();
            generator.writeStartObject();
            generator.writeStringField("kv_cache_dtype", entry.getKey().label());
            generator.writeStringField(
                    "stored_dtype",
                    entry.getKey().resolve(cacheShape.modelDtype()).label());
            generator.writeBooleanField(
                    "dynamic_scales", dynamicScales && entry.getKey().isFp8());
            generator.writeNumberField("block_size", plan.blockSize());
            generator.writeNumberField("block_bytes", plan.blockBytes());
            generator.writeNumberField("cache_bytes_per_token", plan.bytesPerToken());
            generator.writeNumberField("blocks", plan.blocks());
            generator.writeNumberField("tokens", plan.tokens());
            generator.writeArrayFieldStart("sequences");
            for (int length : lengths) {
                generator.writeStartObject();
                generator.writeNumberField("length", length);
                generator.writeNumberField("count", plan.sequences(length));
                generator.writeEndObject();
            }
            generator.writeEndArray();
            generator.writeArrayFieldStart("tiers");
            for (Map.Entry<String, ByteSize> tier : tiers.entrySet()) {
                generator.writeStartObject();
                generator.writeStringField("name", tier.getKey());
                generator.writeNumberField("bytes", tier.getValue().bytes());
                generator.writeNumberField("tokens", plan.tokensInTier(tier.getValue()));
                generator.writeEndObject();
            }
            generator.writeEndArray();
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }
}
