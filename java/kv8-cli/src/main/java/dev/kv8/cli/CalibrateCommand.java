package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DType;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.llm.CacheEvaluation;
import dev.kv8.llm.Calibration;
import dev.kv8.llm.CalibrationRecipe;
import dev.kv8.llm.Calibrator;
import dev.kv8.llm.KvCacheScheme;
import dev.kv8.llm.ModelConfig;
import dev.kv8.llm.ScaleRule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code kv8 calibrate}: a copy of a model with the KV scales that a data set gives. */
@Command(
        name = "calibrate",
        description = {
            "Calibrate a model's KV scales on a data set and write a copy of the model that carries them.",
            "vLLM and kv8 load it with kv_cache_dtype fp8. Ctrl-C keeps what was done for --resume."
        },
        footer = {
            "",
            "Example:",
            "  kv8 calibrate --model tiny-llama --data tiny-llama/eval.txt --strategy attn_head",
            "  kv8 calibrate --model Llama-3.1-8B-Instruct --data ultrachat.jsonl --recipe recipe.yaml",
            "  kv8 calibrate --model tiny-llama --data chats.jsonl --strategy auto --skip-layers auto"
        })
final class CalibrateCommand extends Kv8Command {
    private static final String SUFFIX = "-FP8-KV";
    private static final String STATE_SUFFIX = ".calibration";
    private static final String CHOSEN = "auto";
    private static final String PERCENTILE = "percentile";
    private static final double MOST_VALUES = 99.9;
    private static final int CONTEXT = 512;
    private static final int EVALUATED_TOKENS = 4097;

    /** What scales are stored in. */
    enum ScaleDType {
        FLOAT32,
        /** The model's own type, as LLM Compressor does. */
        MODEL
    }

    @Option(names = "--model", paramLabel = "DIR", required = true, description = "Hugging Face folder of a model.")
    Path model;

    @Option(
            names = "--data",
            paramLabel = "FILE",
            required = true,
            description = "JSON lines (.jsonl: messages, conversations, text or prompt), or a plain text.")
    Path data;

    @Option(
            names = "--recipe",
            paramLabel = "FILE",
            description = "LLM Compressor's YAML with a kv_cache_scheme, instead of --strategy and --observer.")
    @Nullable
    Path recipe;

    @Option(
            names = "--strategy",
            paramLabel = "S",
            description = "What shares a scale: tensor, attn_head or channel; auto takes the coarsest within the KL"
                    + " budget (default: tensor).")
    @Nullable
    ScaleStrategy strategy;

    @Option(
            names = "--observer",
            paramLabel = "O",
            description = "How scales follow from magnitudes: minmax, percentile or mse (default: minmax).")
    @Nullable
    String observer;

    @Option(
            names = "--percentile",
            paramLabel = "P",
            description = "Of the values that --observer percentile covers (default: 99.9).")
    @Nullable
    Double percentile;

    @Option(
            names = "--margin",
            paramLabel = "M",
            defaultValue = "1",
            description = "Multiplies every scale, for values beyond those seen (default: ${DEFAULT-VALUE}).")
    double margin;

    @Option(
            names = "--num-samples",
            paramLabel = "N",
            defaultValue = "512",
            description = "Samples to draw (default: ${DEFAULT-VALUE}).")
    int samples;

    @Option(
            names = "--max-seq-length",
            paramLabel = "N",
            description = "Tokens that samples are cut to (default: 2048, or the model's context).")
    @Nullable
    Integer sampleLength;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "42",
            description = "Of the shuffle (default: ${DEFAULT-VALUE}).")
    long seed;

    @Option(
            names = "--kv-cache-dtype",
            paramLabel = "D",
            defaultValue = "fp8",
            converter = CacheDType.class,
            description = "fp8 or fp8_e4m3, which is the same: the one that checkpoints are for.")
    KvCacheDType dtype = KvCacheDType.FP8;

    @Option(
            names = "--skip-layers",
            paramLabel = "N,N",
            split = ",",
            description =
                    "Layers that stay in 16 bits; auto keeps the most sensitive ones, as few as the KL budget needs.")
    List<String> skipLayers = new ArrayList<>();

    @Option(
            names = "--kl-budget",
            paramLabel = "NATS",
            defaultValue = "0.003",
            description = "Mean KL per token against a 16-bit cache that auto allows (default: ${DEFAULT-VALUE}).")
    double klBudget;

    @Option(
            names = "--eval-text",
            paramLabel = "FILE",
            description = "Text that auto measures on (default: the first samples of the data set).")
    @Nullable
    Path evalText;

    @Option(
            names = "--scale-dtype",
            paramLabel = "TYPE",
            defaultValue = "float32",
            description = "Of stored scales: float32, or model for the model's own (default: ${DEFAULT-VALUE}).")
    ScaleDType scaleDtype = ScaleDType.FLOAT32;

    @Option(names = "--resume", description = "Go on with a calibration that was interrupted.")
    boolean resume;

    @Option(
            names = "--output",
            paramLabel = "DIR",
            description =
                    "Folder to write, which must not exist (default: the model's name with " + SUFFIX + ", beside it).")
    @Nullable
    Path output;

    @Override
    public Integer call() throws IOException {
        if (dtype == KvCacheDType.FP8_E5M2 || !dtype.isFp8()) {
            throw wrongUsage("--kv-cache-dtype is " + dtype
                    + "; a checkpoint's scales are for fp8_e4m3 (fp8), since 8-bit float means that there.");
        }
        if (!(klBudget > 0)) {
            throw wrongUsage("--kl-budget is " + klBudget + "; it must be more than 0.");
        }
        Path target = output != null ? output : beside(model, SUFFIX);
        Path state = beside(target, STATE_SUFFIX);
        ModelConfig config = ModelConfig.read(model);
        Optional<CalibrationRecipe> followed = recipe();
        Calibrator calibrator = fromOptions(() -> calibrator(followed, state));
        Set<Integer> skipped = skippedLayers(config, followed);
        ScaleStrategy wanted = strategy(followed);
        String text = evalText == null ? null : EvaluationOptions.readText(evalText);
        Calibration.checkTarget(model, target);
        if (!resume && Files.exists(state)) {
            throw new IOException(state + " is what an interrupted calibration has done so far. Go on with --resume, or"
                    + " delete it to begin anew.");
        }
        Optional<Calibration> calibrated = calibrate(calibrator);
        if (calibrated.isEmpty()) {
            return 1;
        }
        Calibration calibration = calibrated.get();
        ScaleDecision.Decision decision = new ScaleDecision(
                        this, calibration, () -> evaluation(config, text, calibration), klBudget)
                .decide(wanted, skipped, skipLayers.contains(CHOSEN));
        calibration.save(target, decision.scales(), decision.skippedLayers(), storedType(config));
        Files.deleteIfExists(state);
        if (json) {
            printJson(generator -> write(generator, target, calibration, decision));
        } else {
            print(target, calibration, decision);
        }
        return 0;
    }

    private static Path beside(Path folder, String suffix) {
        Path whole = folder.toAbsolutePath().normalize();
        return whole.resolveSibling(whole.getFileName() + suffix);
    }

    private Optional<CalibrationRecipe> recipe() {
        if (recipe == null) {
            if (percentile != null && !PERCENTILE.equals(observer)) {
                throw wrongUsage("--percentile is for one of the observers; give --observer percentile with it.");
            }
            return Optional.empty();
        }
        if (strategy != null || observer != null || percentile != null) {
            throw wrongUsage("--recipe says what --strategy, --observer and --percentile would; give either.");
        }
        return Optional.of(CalibrationRecipe.read(recipe));
    }

    private Calibrator calibrator(Optional<CalibrationRecipe> followed, Path state) {
        Calibrator.Builder builder = Calibrator.builder()
                .model(model)
                .data(data)
                .rule(rule(followed))
                .margin(margin)
                .samples(samples)
                .seed(seed)
                .dtype(dtype)
                .state(state)
                .resume(resume);
        return (sampleLength == null ? builder : builder.sampleLength(sampleLength)).build();
    }

    private ScaleRule rule(Optional<CalibrationRecipe> followed) {
        if (followed.isEmpty()) {
            return ScaleRule.parse(
                    observer == null ? "minmax" : observer, percentile == null ? MOST_VALUES : percentile);
        }
        KvCacheScheme scheme = followed.get().scheme();
        // Also says that dynamic scales need no calibration.
        ScaleStrategy.of(scheme.granularity());
        return switch (scheme.observer()) {
            case MINMAX -> new ScaleRule.MinMax();
            case PERCENTILE -> new ScaleRule.Percentile(scheme.percentile().orElseThrow());
            case MSE -> new ScaleRule.Mse();
        };
    }

    private ScaleStrategy strategy(Optional<CalibrationRecipe> followed) {
        return followed.map(given -> ScaleStrategy.of(given.scheme().granularity()))
                .orElse(strategy == null ? ScaleStrategy.TENSOR : strategy);
    }

    /** Those of the recipe and those given by number. */
    private Set<Integer> skippedLayers(ModelConfig config, Optional<CalibrationRecipe> followed) {
        Set<Integer> skipped = new TreeSet<>();
        followed.ifPresent(given -> skipped.addAll(given.skippedLayers(config.layers())));
        for (String layer : skipLayers) {
            if (!layer.equals(CHOSEN)) {
                skipped.add(layer(layer.strip(), config.layers()));
            }
        }
        return skipped;
    }

    private int layer(String name, int layers) {
        try {
            int layer = Integer.parseUnsignedInt(name);
            if (layer < layers) {
                return layer;
            }
        } catch (NumberFormatException e) {
            // Said below.
        }
        throw wrongUsage(
                "--skip-layers names \"" + name + "\"; give layers' numbers from 0 to " + (layers - 1) + ", or auto.");
    }

    /** Empty after Ctrl-C, which lets the batch end and the state be written. */
    private Optional<Calibration> calibrate(Calibrator calibrator) {
        Interruption interruption = new Interruption(calibrator::cancel);
        try (ProgressLine progress = new ProgressLine(err(), "calibrate")) {
            return Optional.of(calibrator.run((done, total, tokens) -> progress.update(done, total)));
        } catch (CancellationException e) {
            err().println("kv8: " + e.getMessage() + " Go on with --resume.");
            err().flush();
            return Optional.empty();
        } finally {
            interruption.close();
        }
    }

    private CacheEvaluation.Builder evaluation(ModelConfig config, @Nullable String text, Calibration calibration) {
        int context = Math.min(CONTEXT, config.maxPositions());
        return CacheEvaluation.builder()
                .model(model)
                .text(text == null ? calibration.sampleText() : text)
                .maxTokens(EVALUATED_TOKENS)
                .context(context)
                .stride(Math.max(1, context / 2));
    }

    private DType storedType(ModelConfig config) {
        return scaleDtype == ScaleDType.MODEL ? config.dtype() : DType.FLOAT32;
    }

    private void print(Path target, Calibration calibration, ScaleDecision.Decision decision) {
        TextTable table = new TextTable("layer", "K amax", "K scales", "V amax", "V scales");
        for (int layer = 0; layer < decision.scales().layers(); layer++) {
            boolean skipped = decision.skippedLayers().contains(layer);
            KvScales.LayerScales scales = decision.scales().layer(layer);
            table.row(
                    String.valueOf(layer),
                    number(calibration.kRange(layer).amax()),
                    skipped ? "16 bits" : range(scales.k()),
                    number(calibration.vRange(layer).amax()),
                    skipped ? "16 bits" : range(scales.v()));
        }
        table.print(out());
        out().println();
        decision.reasons().forEach(out()::println);
        out().printf(
                        Locale.ROOT,
                        "%d samples, %d tokens, scales by %s, written to %s%n",
                        calibration.facts().samples(),
                        calibration.facts().tokens(),
                        label(decision),
                        target);
    }

    private static String range(KvScales.Side scales) {
        float smallest = Float.POSITIVE_INFINITY;
        float largest = 0;
        for (float scale : scales.values()) {
            smallest = Math.min(smallest, scale);
            largest = Math.max(largest, scale);
        }
        return smallest == largest ? number(smallest) : number(smallest) + " to " + number(largest);
    }

    private static String number(float value) {
        return String.format(Locale.ROOT, "%.4g", value);
    }

    private static String label(ScaleDecision.Decision decision) {
        return ScaleStrategy.of(decision.granularity()).name().toLowerCase(Locale.ROOT);
    }

    private static void write(
            JsonGenerator generator, Path target, Calibration calibration, ScaleDecision.Decision decision)
            throws IOException {
        generator.writeStringField("output", target.toString());
        generator.writeStringField("strategy", label(decision));
        generator.writeNumberField("samples", calibration.facts().samples());
        generator.writeNumberField("tokens", calibration.facts().tokens());
        generator.writeStringField("data_sha256", calibration.facts().dataSha256());
        generator.writeArrayFieldStart("skipped_layers");
        for (int layer : decision.skippedLayers()) {
            generator.writeNumber(layer);
        }
        generator.writeEndArray();
        generator.writeArrayFieldStart("reasons");
        for (String reason : decision.reasons()) {
            generator.writeString(reason);
        }
        generator.writeEndArray();
    }
}
