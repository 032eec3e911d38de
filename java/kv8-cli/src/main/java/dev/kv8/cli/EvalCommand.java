package dev.kv8.cli;

import dev.kv8.llm.CacheEvaluation;
import dev.kv8.llm.CacheSetting;
import dev.kv8.llm.SkipChoice;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 eval}: what a cache's dtypes, scales and skipped layers cost in accuracy, on a text. */
@Command(
        name = "eval",
        description = {
            "Measure perplexity by cache dtype, and how far each is from auto (KL divergence, top-1 agreement).",
            "Scales are for FP8; tensor, head and channel ones are calculated from the text's first window."
        },
        footer = {
            "",
            "Example:",
            "  kv8 eval --model tiny-llama --text tiny-llama/eval.txt --context 512 --stride 256 \\",
            "      --kv-cache-dtype all --scales all --plot kl.svg",
            "  kv8 eval --model tiny-llama --text tiny-llama/eval.txt --kv-cache-dtype auto,fp8,fp8:auto \\",
            "      --skip-layers auto --kl-budget 0.001"
        })
final class EvalCommand extends Kv8Command {
    private static final String AUTO = "auto";

    @Mixin
    EvaluationOptions options;

    @Mixin
    CacheSettingOptions settings;

    @Option(
            names = "--calibration-tokens",
            paramLabel = "N",
            description = "Tokens from the text's begin that calculated scales come from (default: one window).")
    @Nullable
    Integer calibrationTokens;

    @Option(
            names = "--skip-layers",
            paramLabel = "N,N",
            split = ",",
            description =
                    "Layers of FP8 caches kept in the model's own type; auto keeps the most sensitive ones, as few"
                            + " as the KL budget needs.")
    List<String> skipLayers = new ArrayList<>();

    @Option(
            names = "--kl-budget",
            paramLabel = "NATS",
            defaultValue = "0.003",
            description = "Mean KL per token that --skip-layers auto may leave (default: ${DEFAULT-VALUE}).")
    double klBudget;

    @Option(
            names = "--plot",
            paramLabel = "FILE",
            converter = PlotFile.Converter.class,
            description = "Draw mean KL by setting and position, as .svg or .png.")
    @Nullable
    PlotFile plot;

    @Override
    public Integer call() throws IOException {
        List<SkipChoice> choices = new ArrayList<>();
        Set<CacheSetting> wanted = fromOptions(settings::settings);
        CacheEvaluation.Builder evaluation = evaluation();
        for (CacheSetting setting : wanted) {
            evaluation.setting(skipping(setting, choices));
        }
        List<CacheEvaluation.Result> results = EvaluationOptions.run(this, evaluation);
        if (json) {
            printJson(generator -> EvaluationReport.write(generator, results));
        } else {
            for (SkipChoice choice : choices) {
                out().println(choice.explanation());
                out().println();
            }
            EvaluationReport.print(out(), results);
        }
        if (plot != null) {
            plot.write(EvaluationChart.of("KL by cache: " + options.model.getFileName(), results));
        }
        return 0;
    }

    private CacheEvaluation.Builder evaluation() throws IOException {
        CacheEvaluation.Builder evaluation = options.evaluation();
        Integer tokens = calibrationTokens;
        return tokens == null ? evaluation : fromOptions(() -> evaluation.calibrationTokens(tokens));
    }

    private CacheSetting skipping(CacheSetting setting, List<SkipChoice> choices) throws IOException {
        if (!setting.isFp8() || skipLayers.isEmpty()) {
            return setting;
        }
        if (!skipLayers.equals(List.of(AUTO))) {
            return setting.withSkippedLayers(layers());
        }
        if (!(klBudget > 0)) {
            throw wrongUsage("--kl-budget is " + klBudget + "; it must be more than 0.");
        }
        try (ProgressLine progress = new ProgressLine(err(), setting.label())) {
            SkipChoice choice = SkipChoice.measure(evaluation(), setting, klBudget, progress::update);
            choices.add(choice);
            return setting.withSkippedLayers(choice.layers());
        }
    }

    private List<Integer> layers() {
        List<Integer> layers = new ArrayList<>();
        for (String layer : skipLayers) {
            try {
                layers.add(Integer.parseUnsignedInt(layer.strip()));
            } catch (NumberFormatException e) {
                throw wrongUsage("--skip-layers names \"" + layer + "\"; give layers' numbers from 0, or auto alone.");
            }
        }
        return layers;
    }
}
