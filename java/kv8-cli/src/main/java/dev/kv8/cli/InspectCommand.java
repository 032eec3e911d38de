package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.ObservedRanges;
import dev.kv8.llm.ScaleInspection;
import dev.kv8.llm.ScaleInspection.HeadRange;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code kv8 inspect}: a checkpoint's scales, and how a text's keys and values fit them. */
@Command(
        name = "inspect",
        description = {
            "Show the KV scales that a checkpoint carries, by layer and head.",
            "With a text, also the largest magnitudes of K and V that it brings about, and the heads that saturate."
        },
        footer = {
            "",
            "Example:",
            "  kv8 inspect tiny-llama-FP8-KV",
            "  kv8 inspect tiny-llama --text tiny-llama/eval.txt --plot ranges.svg"
        })
final class InspectCommand extends Kv8Command {
    private static final double E4M3_MAX = 448;

    @Parameters(index = "0", paramLabel = "MODEL_DIR", description = "Hugging Face folder of a model.")
    Path model;

    @Option(names = "--text", paramLabel = "FILE", description = "Text for the model to read, in UTF-8.")
    @Nullable
    Path text;

    @Option(
            names = "--context",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens that it reads at a time (default: ${DEFAULT-VALUE}).")
    int context;

    @Option(
            names = "--plot",
            paramLabel = "FILE",
            converter = PlotFile.Converter.class,
            description = "Draw a heat map of the magnitudes, or without --text of the scales, as .svg or .png.")
    @Nullable
    PlotFile plot;

    @Override
    public Integer call() throws IOException {
        if (context < 1) {
            throw wrongUsage("--context is " + context + "; it must be at least 1 token.");
        }
        ScaleInspection inspection = ScaleInspection.read(model);
        ObservedRanges observed = text == null ? null : observe(text);
        List<HeadRange> heads = inspection.heads(observed);
        if (plot != null && heads.isEmpty()) {
            throw new IllegalArgumentException("There is nothing to draw: every layer is kept in 16 bits.");
        }
        if (plot != null) {
            if (observed == null) {
                plot.write(InspectionChart.of(
                        "log10 of the scales: " + model.getFileName(), heads, HeadRange::largestScale));
            } else {
                plot.write(InspectionChart.of(
                        "log10 of the largest magnitudes: " + model.getFileName(), heads, HeadRange::amax));
            }
        }
        if (json) {
            printJson(generator -> write(generator, inspection, heads));
        } else {
            print(inspection, heads, observed != null);
        }
        return 0;
    }

    private ObservedRanges observe(Path file) throws IOException {
        String content = EvaluationOptions.readText(file);
        try (ProgressLine progress = new ProgressLine(err(), "read")) {
            return ObservedRanges.measure(null, model, content, context, progress::update);
        }
    }

    private void print(ScaleInspection inspection, List<HeadRange> heads, boolean observed) {
        out().printf(
                        Locale.ROOT,
                        "%s: %s, %d layers, %d KV heads of %d, weights %s%n",
                        model.getFileName(),
                        inspection.model().architecture(),
                        inspection.model().layers(),
                        inspection.model().kvHeads(),
                        inspection.model().headSize(),
                        inspection.model().dtype());
        out().println("kv_cache_scheme: " + inspection.scheme().orElse("none in config.json"));
        out().println("scales: " + stored(inspection));
        if (!inspection.skippedLayers().isEmpty()) {
            out().println("layers kept in 16 bits: " + inspection.skippedLayers());
        }
        if (inspection.scales().isEmpty() && !observed) {
            return;
        }
        out().println();
        TextTable table = observed
                ? new TextTable("layer", "side", "head", "scale", "holds up to", "observed", "of its range")
                : new TextTable("layer", "side", "head", "scale", "holds up to");
        for (HeadRange head : heads) {
            table.row(observed ? observedRow(head) : row(head));
        }
        table.print(out());
        if (observed) {
            long saturating = heads.stream().filter(HeadRange::saturates).count();
            out().println();
            out().println(
                            saturating == 0
                                    ? "No head saturates on this text."
                                    : saturating + " of " + heads.size()
                                            + " heads hold values beyond their scale's range, which"
                                            + " saturate: calibrate (kv8 calibrate), or use dynamic scales.");
        }
    }

    private static String stored(ScaleInspection inspection) {
        if (inspection.fault().isPresent()) {
            return inspection.fault().get();
        }
        return inspection.scales().isPresent()
                ? "stored in the checkpoint"
                : "none stored; FP8 is then stored with scale 1.0, which holds up to 448";
    }

    private static List<String> row(HeadRange head) {
        return List.of(
                Integer.toString(head.layer()),
                head.side().name(),
                Integer.toString(head.head()),
                head.dynamic() ? "dynamic" : span(head, 1),
                head.dynamic() ? "anything" : span(head, E4M3_MAX));
    }

    private static List<String> observedRow(HeadRange head) {
        List<String> row = new ArrayList<>(row(head));
        row.add(InspectionChart.readable(head.amax()));
        row.add(
                head.dynamic()
                        ? ""
                        : Numbers.fixed(100 * head.used(), 1) + " %"
                                + (head.saturates() ? " saturates" : "          "));
        return row;
    }

    private static String span(HeadRange head, double factor) {
        String smallest = InspectionChart.readable(factor * head.smallestScale());
        String largest = InspectionChart.readable(factor * head.largestScale());
        return smallest.equals(largest) ? smallest : smallest + "…" + largest;
    }

    private static void write(JsonGenerator generator, ScaleInspection inspection, List<HeadRange> heads)
            throws IOException {
        generator.writeStringField("architecture", inspection.model().architecture());
        generator.writeNumberField("layers", inspection.model().layers());
        generator.writeNumberField("kv_heads", inspection.model().kvHeads());
        generator.writeNumberField("head_size", inspection.model().headSize());
        generator.writeStringField("kv_cache_scheme", inspection.scheme().orElse(null));
        generator.writeBooleanField("has_scales", inspection.scales().isPresent());
        generator.writeArrayFieldStart("skipped_layers");
        for (int layer : inspection.skippedLayers()) {
            generator.writeNumber(layer);
        }
        generator.writeEndArray();
        generator.writeStringField("fault", inspection.fault().orElse(null));
        generator.writeArrayFieldStart("heads");
        for (HeadRange head : heads) {
            generator.writeStartObject();
            generator.writeNumberField("layer", head.layer());
            generator.writeStringField("side", head.side().name().toLowerCase(Locale.ROOT));
            generator.writeNumberField("head", head.head());
            generator.writeBooleanField("dynamic", head.dynamic());
            writeNumber(generator, "scale_min", head.smallestScale());
            writeNumber(generator, "scale_max", head.largestScale());
            writeNumber(generator, "amax", head.amax());
            writeNumber(generator, "range_used", head.used());
            generator.writeBooleanField("saturates", head.saturates());
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }
}
