package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.KvCacheDType;
import dev.kv8.llm.CacheEvaluation;
import dev.kv8.llm.ScaleMode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 eval}: what a cache's dtype and scales cost in accuracy, on a text. */
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
            "      --kv-cache-dtype auto,fp8 --scales tensor"
        })
final class EvalCommand extends Kv8Command {
    @Mixin
    EvaluationOptions options;

    @Mixin
    CacheDTypes dtypes;

    @Option(
            names = "--scales",
            paramLabel = "G",
            split = ",",
            defaultValue = "tensor",
            converter = ScaleModes.class,
            completionCandidates = ScaleModes.class,
            description = "One or more of ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    List<ScaleMode> scales = new ArrayList<>();

    @Override
    public Integer call() throws IOException {
        CacheEvaluation.Builder evaluation = options.evaluation();
        settings().forEach(setting -> evaluation.setting(setting.kvCacheDType(), setting.scales()));
        List<CacheEvaluation.Result> results = EvaluationOptions.run(this, evaluation);
        if (json) {
            printJson(generator -> write(generator, results));
        } else {
            print(results);
        }
        return 0;
    }

    /** Each dtype with each kind of scales; a dtype without scales once. */
    private Set<CacheEvaluation.Setting> settings() {
        Set<CacheEvaluation.Setting> settings = new LinkedHashSet<>();
        for (KvCacheDType dtype : dtypes.list) {
            for (ScaleMode mode : scales) {
                settings.add(new CacheEvaluation.Setting(dtype, dtype.isFp8() ? mode : ScaleMode.NONE));
            }
        }
        return settings;
    }

    private void print(List<CacheEvaluation.Result> results) {
        TextTable table = new TextTable(
                "kv_cache_dtype", "scales", "perplexity", "mean KL", "max KL", "top-1 agreement", "bytes/token");
        for (CacheEvaluation.Result result : results) {
            table.row(
                    result.kvCacheDType().label(),
                    result.scales().label(),
                    Numbers.fixed(result.perplexity(), 4),
                    Numbers.fixed(result.klMean(), 6),
                    Numbers.fixed(result.klMax(), 4),
                    Numbers.fixed(100 * result.top1Agreement(), 2) + " %",
                    Numbers.plain(result.cacheBytesPerToken()));
        }
        table.print(out());
        out().println();
        out().println("KL in nats per token and top-1 agreement are against auto.");
    }

    private static void write(JsonGenerator generator, List<CacheEvaluation.Result> results) throws IOException {
        generator.writeArrayFieldStart("runs");
        for (CacheEvaluation.Result result : results) {
            generator.writeStartObject();
            generator.writeStringField("kv_cache_dtype", result.kvCacheDType().label());
            generator.writeStringField("scales", result.scales().label());
            writeNumber(generator, "perplexity", result.perplexity());
            writeNumber(generator, "kl_mean", result.klMean());
            writeNumber(generator, "kl_max", result.klMax());
            writeNumber(generator, "top1_agreement", result.top1Agreement());
            generator.writeNumberField("cache_bytes_per_token", result.cacheBytesPerToken());
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }
}
