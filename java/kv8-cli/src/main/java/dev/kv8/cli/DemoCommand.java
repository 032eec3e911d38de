package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.ByteSize;
import dev.kv8.CapacityPlan;
import dev.kv8.DeviceInfo;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import dev.kv8.llm.CacheEvaluation;
import dev.kv8.llm.Completion;
import dev.kv8.llm.LLM;
import dev.kv8.llm.ModelConfig;
import dev.kv8.llm.PredictionQuality;
import dev.kv8.llm.SamplingParams;
import dev.kv8.llm.ScaleMode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/**
 * {@code kv8 demo}: what {@code generate}, {@code plan} and {@code eval} do, with a 16-bit and an FP8 cache of the same
 * bytes, side by side.
 */
@Command(
        name = "demo",
        description = "Let a model write with kv_cache_dtype auto and fp8 in the same memory, and compare.",
        footer = {"", "Example:", "  kv8 demo --model tests/models/tiny-llama --text tests/models/tiny-llama/eval.txt"})
final class DemoCommand extends Kv8Command {
    private static final List<KvCacheDType> DTYPES = List.of(KvCacheDType.AUTO, KvCacheDType.FP8);
    /** Each dtype writes this often, in turns; the best time counts, so that neither pays for the JVM's warm-up. */
    private static final int ROUNDS = 5;

    @Mixin
    EvaluationOptions options;

    @Option(
            names = "--prompt",
            paramLabel = "TEXT",
            defaultValue = "In the beginning God created",
            description = "Text to continue; repeatable (default: ${DEFAULT-VALUE}).")
    List<String> prompts = new ArrayList<>();

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            defaultValue = "48",
            description = "Tokens to generate for each prompt (default: ${DEFAULT-VALUE}).")
    int maxTokens;

    @Option(
            names = "--kv-cache-memory",
            paramLabel = "SIZE",
            defaultValue = "1MiB",
            converter = MemorySize.class,
            description = "Bytes for either cache (default: ${DEFAULT-VALUE}).")
    ByteSize memory;

    /** What one dtype did. */
    private record Run(
            KvCacheDType dtype,
            CapacityPlan plan,
            List<Completion> completions,
            double tokensPerSecond,
            PredictionQuality quality) {}

    @Override
    public Integer call() throws IOException {
        ModelConfig config = ModelConfig.read(options.model);
        DeviceInfo device;
        List<Run> runs;
        try (KvBackend backend = KvBackend.open()) {
            device = backend.info();
            if (!json) {
                printHeader(config, device);
            }
            runs = run(backend, evaluate(backend));
        }
        if (json) {
            printJson(generator -> write(generator, config, device, runs));
        } else {
            printTexts(runs);
            printFigures(config, runs);
        }
        return 0;
    }

    private List<PredictionQuality> evaluate(KvBackend backend) throws IOException {
        CacheEvaluation.Builder builder = options.evaluation().backend(backend);
        DTYPES.forEach(dtype -> builder.setting(dtype, dtype.isFp8() ? ScaleMode.TENSOR : ScaleMode.NONE));
        return EvaluationOptions.run(this, builder).stream()
                .map(CacheEvaluation.Result::quality)
                .toList();
    }

    private List<Run> run(KvBackend backend, List<PredictionQuality> quality) {
        SamplingParams greedy = SamplingParams.builder()
                .temperature(0)
                .maxTokens(maxTokens)
                .ignoreEos(true)
                .build();
        try (LLM auto = open(backend, DTYPES.get(0));
                LLM fp8 = open(backend, DTYPES.get(1))) {
            List<LLM> models = List.of(auto, fp8);
            double[] best = new double[models.size()];
            List<List<Completion>> completions = new ArrayList<>();
            for (int round = 0; round < ROUNDS; round++) {
                for (int i = 0; i < models.size(); i++) {
                    List<Completion> written = models.get(i).generate(prompts, greedy);
                    best[i] = Math.max(best[i], models.get(i).lastStats().tokensPerSecond());
                    if (round == 0) {
                        completions.add(written);
                    }
                }
            }
            List<Run> runs = new ArrayList<>();
            for (int i = 0; i < models.size(); i++) {
                CapacityPlan plan = CapacityPlan.of(models.get(i).cache().config());
                runs.add(new Run(DTYPES.get(i), plan, completions.get(i), best[i], quality.get(i)));
            }
            return runs;
        }
    }

    private LLM open(KvBackend backend, KvCacheDType dtype) {
        return LLM.builder()
                .backend(backend)
                .model(options.model)
                .kvCacheDType(dtype)
                .calculateKvScales(dtype.isFp8())
                .kvCacheMemory(memory)
                .prefixCaching(false) // the rounds are timed, so all of them compute the same
                .build();
    }

    private void printHeader(ModelConfig config, DeviceInfo device) {
        out().printf("One model, one memory budget of %s, two KV caches%n%n", memory);
        out().printf(
                        Locale.ROOT,
                        "model    %s: %s, %d layers, %d KV heads of %d, weights %s%n",
                        options.model.getFileName(),
                        config.architecture(),
                        config.layers(),
                        config.kvHeads(),
                        config.headSize(),
                        config.dtype());
        out().printf(
                        Locale.ROOT,
                        "machine  %s, %s, %d threads, backend %s%n%n",
                        device.name(),
                        device.arch(),
                        device.threads(),
                        device.backend());
    }

    private void printTexts(List<Run> runs) {
        TextColumns.print(
                out(),
                Kv8.WIDTH,
                runs.stream().map(run -> "kv_cache_dtype " + run.dtype()).toList());
        for (int i = 0; i < prompts.size(); i++) {
            int prompt = i;
            out().println("-".repeat(Kv8.WIDTH));
            TextColumns.print(
                    out(),
                    Kv8.WIDTH,
                    runs.stream()
                            .map(run -> run.completions().get(prompt))
                            .map(completion -> "[" + completion.prompt() + "]" + completion.text())
                            .toList());
        }
        out().println("-".repeat(Kv8.WIDTH));
        out().println();
    }

    private void printFigures(ModelConfig config, List<Run> runs) {
        TextTable table = new TextTable(header(runs));
        figure(
                table,
                "stored as",
                runs,
                run -> run.dtype().resolve(config.dtype()).label());
        figure(
                table,
                "bytes of cache per token",
                runs,
                run -> Numbers.plain(run.plan().bytesPerToken()));
        figure(
                table,
                "tokens that fit in " + memory,
                runs,
                run -> Long.toString(run.plan().tokens()));
        figure(
                table,
                "perplexity on " + options.text.getFileName() + ", context " + options.context,
                runs,
                run -> Numbers.fixed(run.quality().perplexity(), 3));
        figure(
                table,
                "mean KL against auto, nats",
                runs,
                run -> Numbers.fixed(run.quality().klMean(), 5));
        figure(
                table,
                "top-1 agreement with auto",
                runs,
                run -> Numbers.fixed(100 * run.quality().top1Agreement(), 2) + " %");
        figure(
                table,
                "tokens/s, " + prompts.size() + " prompts at once",
                runs,
                run -> Numbers.fixed(run.tokensPerSecond(), 0));
        table.print(out());
    }

    private static String[] header(List<Run> runs) {
        List<String> header = new ArrayList<>(List.of(""));
        runs.forEach(run -> header.add(run.dtype().label()));
        return header.toArray(String[]::new);
    }

    private static void figure(TextTable table, String name, List<Run> runs, Function<Run, String> value) {
        List<String> row = new ArrayList<>(List.of(name));
        runs.forEach(run -> row.add(value.apply(run)));
        table.row(row);
    }

    private void write(JsonGenerator generator, ModelConfig config, DeviceInfo device, List<Run> runs)
            throws IOException {
        new Machine(device).write(generator);
        generator.writeNumberField("memory_bytes", memory.bytes());
        generator.writeArrayFieldStart("runs");
        for (Run run : runs) {
            generator.writeStartObject();
            generator.writeStringField("kv_cache_dtype", run.dtype().label());
            generator.writeStringField(
                    "stored_dtype", run.dtype().resolve(config.dtype()).label());
            generator.writeNumberField("cache_bytes_per_token", run.plan().bytesPerToken());
            generator.writeNumberField("blocks", run.plan().blocks());
            generator.writeNumberField("tokens", run.plan().tokens());
            writeNumber(generator, "perplexity", run.quality().perplexity());
            writeNumber(generator, "kl_mean", run.quality().klMean());
            writeNumber(generator, "top1_agreement", run.quality().top1Agreement());
            writeNumber(generator, "tokens_per_second", run.tokensPerSecond());
            generator.writeArrayFieldStart("texts");
            for (Completion completion : run.completions()) {
                generator.writeString(completion.text());
            }
            generator.writeEndArray();
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }
}
