package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.KvScales;
import dev.kv8.llm.CacheEvaluation;
import dev.kv8.llm.CacheSetting;
import dev.kv8.llm.PositionBucket;
import dev.kv8.llm.PredictionQuality;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;

/** The results of an evaluation, as tables and as JSON. */
final class EvaluationReport {
    private EvaluationReport() {}

    static void print(PrintWriter out, List<CacheEvaluation.Result> results) {
        TextTable table = new TextTable(
                "dtype", "scales", "perplexity", "Δ nll", "mean KL", "max KL", "top-1 agreement", "bytes/token");
        for (CacheEvaluation.Result result : results) {
            PredictionQuality quality = result.quality();
            table.row(
                    name(result.setting()),
                    result.setting().scales().label(),
                    Numbers.fixed(quality.perplexity(), 3),
                    String.format(Locale.ROOT, "%+.5f", quality.nllDelta()) + error(quality.nllDeltaSe(), 5),
                    Numbers.fixed(quality.klMean(), 6) + error(quality.klMeanSe(), 6),
                    Numbers.fixed(quality.klMax(), 3),
                    Numbers.fixed(100 * quality.top1Agreement(), 2) + error(100 * quality.top1Se(), 2) + " %",
                    Numbers.plain(result.cacheBytesPerToken()));
        }
        table.print(out);
        out.println();
        out.printf(
                Locale.ROOT,
                "%d tokens scored. KL (nats per token), Δ nll and top-1 agreement are against auto, each ± its standard"
                        + " error;%nperplexity's own is %.2f, shared by all rows.%n",
                results.get(0).quality().tokens(),
                results.get(0).quality().perplexitySe());
        for (CacheEvaluation.Result result : results) {
            if (result.saturatedValues() > 0) {
                out.printf(
                        Locale.ROOT,
                        "%s: %d values of K and V saturated.%n",
                        result.setting().label(),
                        result.saturatedValues());
            }
        }
        printByPosition(out, results);
    }

    private static String error(double value, int decimals) {
        return "±" + Numbers.fixed(value, decimals);
    }

    private static String name(CacheSetting setting) {
        if (setting.skippedLayers().isEmpty()) {
            return setting.dtypeLabel();
        }
        return setting.dtypeLabel() + " without layers "
                + setting.skippedLayers().toString().replaceAll("[\\[\\] ]", "");
    }

    private static void printByPosition(PrintWriter out, List<CacheEvaluation.Result> results) {
        List<PositionBucket> buckets = results.get(0).byPosition();
        if (buckets.size() < 2) {
            return;
        }
        List<String> header = new ArrayList<>(List.of("mean KL at positions", "scales"));
        buckets.forEach(bucket -> header.add(positions(bucket)));
        TextTable table = new TextTable(header.toArray(String[]::new));
        for (CacheEvaluation.Result result : results) {
            List<String> row = new ArrayList<>(
                    List.of(name(result.setting()), result.setting().scales().label()));
            result.byPosition()
                    .forEach(bucket -> row.add(Numbers.fixed(bucket.quality().klMean(), 6)
                            + error(bucket.quality().klMeanSe(), 6)));
            table.row(row);
        }
        out.println();
        table.print(out);
    }

    static String positions(PositionBucket bucket) {
        return bucket.firstPosition() + "–" + bucket.lastPosition();
    }

    static void write(JsonGenerator generator, List<CacheEvaluation.Result> results) throws IOException {
        generator.writeArrayFieldStart("runs");
        for (CacheEvaluation.Result result : results) {
            CacheSetting setting = result.setting();
            generator.writeStartObject();
            generator.writeStringField("kv_cache_dtype", setting.dtypeLabel());
            generator.writeStringField("k_dtype", setting.kDtype().label());
            generator.writeStringField("v_dtype", setting.vDtype().label());
            generator.writeStringField("scales", setting.scales().label());
            generator.writeArrayFieldStart("skipped_layers");
            for (int layer : setting.skippedLayers()) {
                generator.writeNumber(layer);
            }
            generator.writeEndArray();
            write(generator, result.quality());
            generator.writeNumberField("cache_bytes_per_token", result.cacheBytesPerToken());
            generator.writeNumberField("saturated", result.saturatedValues());
            writeLargest(generator, "k_scales", result.scales(), KvScales.LayerScales::k);
            writeLargest(generator, "v_scales", result.scales(), KvScales.LayerScales::v);
            generator.writeArrayFieldStart("by_position");
            for (PositionBucket bucket : result.byPosition()) {
                generator.writeStartObject();
                generator.writeNumberField("first", bucket.firstPosition());
                generator.writeNumberField("last", bucket.lastPosition());
                write(generator, bucket.quality());
                generator.writeEndObject();
            }
            generator.writeEndArray();
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }

    /** The largest scale of each layer; null where there is none. */
    private static void writeLargest(
            JsonGenerator generator, String name, KvScales scales, Function<KvScales.LayerScales, KvScales.Side> side)
            throws IOException {
        generator.writeArrayFieldStart(name);
        for (int layer = 0; layer < scales.layers(); layer++) {
            float largest = 0;
            for (float scale : side.apply(scales.layer(layer)).values()) {
                largest = Math.max(largest, scale);
            }
            if (largest > 0) {
                generator.writeNumber(largest);
            } else {
                generator.writeNull();
            }
        }
        generator.writeEndArray();
    }

    private static void write(JsonGenerator generator, PredictionQuality quality) throws IOException {
        generator.writeNumberField("tokens", quality.tokens());
        Kv8Command.writeNumber(generator, "perplexity", quality.perplexity());
        Kv8Command.writeNumber(generator, "perplexity_se", quality.perplexitySe());
        Kv8Command.writeNumber(generator, "nll_delta", quality.nllDelta());
        Kv8Command.writeNumber(generator, "nll_delta_se", quality.nllDeltaSe());
        Kv8Command.writeNumber(generator, "kl_mean", quality.klMean());
        Kv8Command.writeNumber(generator, "kl_mean_se", quality.klMeanSe());
        Kv8Command.writeNumber(generator, "kl_max", quality.klMax());
        Kv8Command.writeNumber(generator, "top1_agreement", quality.top1Agreement());
        Kv8Command.writeNumber(generator, "top1_se", quality.top1Se());
    }
}
