package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.ByteSize;
import dev.kv8.DeviceInfo;
import dev.kv8.KvCacheDType;
import dev.kv8.llm.LLM;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 bench serve}: the same requests at the same times into the same memory, by what the cache stores. */
@Command(
        name = "serve",
        description = {
            "Send requests to the engine, and compare cache dtypes with the same memory.",
            "They come by a Poisson process or all at once. Prompts are random tokens without common prefixes, and every"
                    + " text has the same length."
        },
        footer = {
            "",
            "Example:",
            "  kv8 bench serve --model tiny-llama --kv-cache-memory 8MiB --rate 2,4,8,inf --plot serve.svg",
            "  kv8 bench serve --model tiny-llama --random-weights 1024x12 --kv-cache-memory 12MiB"
        })
final class BenchServeCommand extends Kv8Command {
    private static final int MIB = 1 << 20;

    @Option(names = "--model", paramLabel = "DIR", required = true, description = "Hugging Face folder of a model.")
    Path model;

    @Option(
            names = "--random-weights",
            paramLabel = "SIZE",
            description =
                    "Not the model's own weights, but a Llama of random ones with its tokenizer: hidden size and layers,"
                            + " such as 1024x12.")
    @Nullable
    String randomWeights;

    @Mixin
    ComparedEngines compared;

    @Option(
            names = "--kv-cache-memory",
            paramLabel = "SIZE",
            defaultValue = "8MiB",
            converter = MemorySize.class,
            description = "Bytes for the cache, the same for each dtype (default: ${DEFAULT-VALUE}).")
    ByteSize kvCacheMemory;

    @Option(
            names = "--rate",
            paramLabel = "R",
            split = ",",
            defaultValue = "inf",
            description = "Requests per second, one run for each; inf for all at once (default: ${DEFAULT-VALUE}).")
    List<String> rates = new ArrayList<>();

    @Option(
            names = "--requests",
            paramLabel = "N",
            defaultValue = "64",
            description = "Requests of each run (default: ${DEFAULT-VALUE}).")
    int requests;

    @Option(
            names = "--prompt-tokens",
            paramLabel = "N",
            defaultValue = "256",
            description = "Tokens of each prompt (default: ${DEFAULT-VALUE}).")
    int promptTokens;

    @Option(
            names = "--output-tokens",
            paramLabel = "N",
            defaultValue = "128",
            description = "Tokens of each text (default: ${DEFAULT-VALUE}).")
    int outputTokens;

    @Option(
            names = "--max-batch-tokens",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens that one forward pass computes at most (default: ${DEFAULT-VALUE}).")
    int maxBatchTokens;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "1",
            description = "Of prompts and arrival times (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(
            names = "--plot",
            paramLabel = "FILE",
            converter = PlotFile.Converter.class,
            description = "Draw tokens/s and latency by offered load as .svg or .png.")
    @Nullable
    PlotFile plot;

    @Override
    public Integer call() throws IOException {
        checkAtLeastOne("--requests", requests);
        checkAtLeastOne("--prompt-tokens", promptTokens);
        checkAtLeastOne("--output-tokens", outputTokens);
        List<ServeLoad> loads = loads();
        if (randomWeights == null) {
            measure(model, loads);
            return 0;
        }
        try (RandomModel random = randomModel(randomWeights)) {
            measure(random.folder(), loads);
        }
        return 0;
    }

    private RandomModel randomModel(String size) throws IOException {
        try {
            return RandomModel.write(size, model);
        } catch (IllegalArgumentException e) {
            throw wrongUsage(e);
        }
    }

    private void measure(Path measured, List<ServeLoad> loads) throws IOException {
        Map<KvCacheDType, LLM> engines = new LinkedHashMap<>();
        try {
            for (KvCacheDType dtype : compared.dtypes()) {
                engines.put(dtype, fromOptions(() -> open(measured, dtype)));
            }
            Map<KvCacheDType, List<ServeRun>> runs = run(engines, loads);
            if (plot != null) {
                plot.write(ServeChart.of(runs));
            }
            report(engines.values().iterator().next().cache().backend().info(), runs);
        } finally {
            engines.values().forEach(LLM::close);
        }
    }

    /** Load by load, each with all dtypes, so that they share what else the machine does. */
    private Map<KvCacheDType, List<ServeRun>> run(Map<KvCacheDType, LLM> engines, List<ServeLoad> loads) {
        Map<KvCacheDType, List<ServeRun>> runs = new LinkedHashMap<>();
        engines.forEach((dtype, llm) -> {
            runs.put(dtype, new ArrayList<>());
            ServeRun.of(llm, warmUp());
        });
        try (ProgressLine progress = new ProgressLine(err(), "serve")) {
            int done = 0;
            for (ServeLoad load : loads) {
                for (Map.Entry<KvCacheDType, List<ServeRun>> ofDtype : runs.entrySet()) {
                    LLM llm = Objects.requireNonNull(engines.get(ofDtype.getKey()));
                    llm.cache().clearPrefixes();
                    ofDtype.getValue().add(ServeRun.of(llm, load));
                    progress.update(++done, (long) engines.size() * loads.size());
                }
            }
        }
        return runs;
    }

    private List<ServeLoad> loads() {
        List<ServeLoad> result = new ArrayList<>();
        for (String rate : rates) {
            double value;
            try {
                value = rate.equals("inf") ? Double.POSITIVE_INFINITY : Double.parseDouble(rate);
            } catch (NumberFormatException e) {
                value = Double.NaN;
            }
            if (!(value > 0)) {
                throw wrongUsage("--rate is \"" + rate + "\"; give requests per second, more than 0, or inf.");
            }
            result.add(new ServeLoad(requests, promptTokens, outputTokens, value, seed));
        }
        return result;
    }

    /** Other prompts, so that the code is compiled and nothing of them is found. */
    private ServeLoad warmUp() {
        return new ServeLoad(
                Math.min(requests, 4), promptTokens, Math.min(outputTokens, 32), Double.POSITIVE_INFINITY, ~seed);
    }

    private LLM open(Path measured, KvCacheDType dtype) {
        LLM.Builder settings = LLM.builder()
                .model(measured)
                .kvCacheMemory(kvCacheMemory)
                .maxBatchTokens(maxBatchTokens)
                .maxWaiting(requests);
        return ComparedEngines.open(settings, dtype);
    }

    private void report(DeviceInfo device, Map<KvCacheDType, List<ServeRun>> runs) throws IOException {
        if (json) {
            printJson(generator -> write(generator, device, runs));
            return;
        }
        out().println(new Machine(device).line());
        out().printf(
                        Locale.ROOT,
                        "%s MiB of cache, %d requests of %d + %d tokens%n%n",
                        Numbers.plain((double) kvCacheMemory.bytes() / MIB),
                        requests,
                        promptTokens,
                        outputTokens);
        TextTable table = new TextTable(
                "kv_cache_dtype",
                "B/token",
                "req/s offered",
                "done",
                "tokens/s",
                "resident",
                "most",
                "first token p50 s",
                "p95",
                "latency p50 s",
                "p95",
                "preempted");
        runs.forEach((dtype, ofDtype) -> ofDtype.forEach(run -> table.row(
                dtype.label(),
                Numbers.plain(run.bytesPerToken()),
                rate(run),
                Numbers.fixed(run.requestsPerSecond(), 2),
                Numbers.fixed(run.tokensPerSecond(), 1),
                Numbers.fixedOrDash(run.crowded(), 1),
                String.valueOf(run.mostResident()),
                Numbers.fixed(run.firstToken().at(0.5), 2),
                Numbers.fixed(run.firstToken().at(0.95), 2),
                Numbers.fixed(run.latency().at(0.5), 2),
                Numbers.fixed(run.latency().at(0.95), 2),
                String.valueOf(run.preemptions()))));
        table.print(out());
        out().println();
        out().println(
                        "resident: texts with blocks in the cache, on average while others waited; - when none had to wait");
        printRatios(runs);
    }

    /** Of each dtype against the first one, at the greatest load. */
    private void printRatios(Map<KvCacheDType, List<ServeRun>> runs) {
        KvCacheDType first = compared.list.get(0);
        ServeRun base = last(runs.get(first));
        runs.forEach((dtype, ofDtype) -> {
            if (dtype != first) {
                ServeRun run = last(ofDtype);
                out().printf(
                                Locale.ROOT,
                                "%s against %s at %s requests/s:%s %s x the tokens/s%n",
                                dtype.label(),
                                first.label(),
                                rate(run),
                                residentRatio(run.crowded() / base.crowded()),
                                Numbers.fixed(run.tokensPerSecond() / base.tokensPerSecond(), 2));
            }
        });
    }

    /** Empty where no text had to wait, so that nobody counted. */
    private static String residentRatio(double ratio) {
        return Double.isNaN(ratio) ? "" : " " + Numbers.fixed(ratio, 2) + " x the texts resident,";
    }

    private static ServeRun last(@Nullable List<ServeRun> runs) {
        if (runs == null) {
            throw new IllegalStateException("Nothing was run.");
        }
        return runs.get(runs.size() - 1);
    }

    private static String rate(ServeRun run) {
        return Double.isInfinite(run.rate()) ? "inf" : Numbers.plain(run.rate());
    }

    private void write(JsonGenerator generator, DeviceInfo device, Map<KvCacheDType, List<ServeRun>> runs)
            throws IOException {
        new Machine(device).write(generator);
        generator.writeNumberField("memory_bytes", kvCacheMemory.bytes());
        generator.writeNumberField("requests", requests);
        generator.writeNumberField("prompt_tokens", promptTokens);
        generator.writeNumberField("output_tokens", outputTokens);
        generator.writeArrayFieldStart("runs");
        for (Map.Entry<KvCacheDType, List<ServeRun>> entry : runs.entrySet()) {
            for (ServeRun run : entry.getValue()) {
                generator.writeStartObject();
                generator.writeStringField("kv_cache_dtype", entry.getKey().label());
                generator.writeNumberField("cache_bytes_per_token", run.bytesPerToken());
                writeNumber(generator, "rate", run.rate());
                generator.writeNumberField("requests_per_second", run.requestsPerSecond());
                generator.writeNumberField("tokens_per_second", run.tokensPerSecond());
                writeNumber(generator, "resident_mean", run.crowded());
                generator.writeNumberField("resident_max", run.mostResident());
                generator.writeNumberField("first_token_p50_s", run.firstToken().at(0.5));
                generator.writeNumberField("first_token_p95_s", run.firstToken().at(0.95));
                generator.writeNumberField("latency_p50_s", run.latency().at(0.5));
                generator.writeNumberField("latency_p95_s", run.latency().at(0.95));
                generator.writeNumberField("preemptions", run.preemptions());
                generator.writeEndObject();
            }
        }
        generator.writeEndArray();
    }
}
