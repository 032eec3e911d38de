package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.NeedleCheck;
import dev.kv8.llm.NeedleReport;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 needle}: whether a model still finds a statement far back in its context with other caches. */
@Command(
        name = "needle",
        description = {
            "Hide a statement at several depths of a text, ask the model for it, and compare cache settings.",
            "The lift is what reading the statement adds to its answer's log-probability, in nats."
        },
        footer = {
            "",
            "Example:",
            "  kv8 needle --model Llama-3.1-8B-Instruct --text book.txt --context 4096,16384 \\",
            "      --kv-cache-dtype fp8 --scales tensor,head"
        })
final class NeedleCommand extends Kv8Command {
    @Option(names = "--model", paramLabel = "DIR", required = true, description = "Hugging Face folder of a model.")
    Path model;

    @Option(
            names = "--text",
            paramLabel = "FILE",
            required = true,
            description = "Text to hide statements in, in UTF-8; tensor, head and channel scales come from it too.")
    Path text;

    @Option(
            names = "--context",
            paramLabel = "N",
            split = ",",
            defaultValue = "512",
            description = "Tokens of a prompt, one or more (default: ${DEFAULT-VALUE}).")
    List<Integer> contexts = new ArrayList<>();

    @Option(
            names = "--depths",
            paramLabel = "P",
            split = ",",
            defaultValue = "0,0.25,0.5,0.75,1",
            description = "Where statements stand, 0 = the text's begin to 1 = its end (default: ${DEFAULT-VALUE}).")
    List<Double> depths = new ArrayList<>();

    @Mixin
    CacheSettingOptions settings;

    @Override
    public Integer call() throws IOException {
        String filler = EvaluationOptions.readText(text);
        NeedleCheck check = fromOptions(() -> check(filler));
        NeedleReport report;
        try (ProgressLine progress = new ProgressLine(err(), "needle")) {
            report = check.run(progress::update);
        }
        if (json) {
            printJson(generator -> write(generator, report));
        } else {
            print(report);
        }
        return 0;
    }

    private NeedleCheck check(String filler) {
        NeedleCheck.Builder check = NeedleCheck.builder()
                .model(model)
                .filler(filler)
                .contexts(contexts.stream().mapToInt(Integer::intValue).toArray())
                .depths(depths.stream().mapToDouble(Double::doubleValue).toArray());
        settings.settings().forEach(check::setting);
        return check.build();
    }

    private void print(NeedleReport report) {
        TextTable table = new TextTable("dtype", "scales", "retrieved", "lift", "smallest lift");
        for (NeedleReport.Found found : report.results()) {
            table.row(
                    found.setting().dtypeLabel(),
                    found.setting().scales().label(),
                    Numbers.fixed(100 * found.retrieved(), 0) + " %",
                    String.format(Locale.ROOT, "%.3f ± %.3f", found.lift(), found.liftSe()),
                    Numbers.fixed(
                            found.needles().stream()
                                    .mapToDouble(NeedleReport.Needle::lift)
                                    .min()
                                    .orElse(0),
                            3));
        }
        table.print(out());
        out().println();
        out().println(report.explanation());
    }

    private static void write(JsonGenerator generator, NeedleReport report) throws IOException {
        generator.writeStringField("ability", report.ability().name().toLowerCase(Locale.ROOT));
        generator.writeStringField("explanation", report.explanation());
        generator.writeArrayFieldStart("runs");
        for (NeedleReport.Found found : report.results()) {
            generator.writeStartObject();
            generator.writeStringField("kv_cache_dtype", found.setting().dtypeLabel());
            generator.writeStringField("scales", found.setting().scales().label());
            writeNumber(generator, "retrieved", found.retrieved());
            writeNumber(generator, "lift", found.lift());
            writeNumber(generator, "lift_se", found.liftSe());
            generator.writeArrayFieldStart("needles");
            for (NeedleReport.Needle needle : found.needles()) {
                generator.writeStartObject();
                generator.writeNumberField("context", needle.context());
                generator.writeNumberField("depth", needle.depth());
                generator.writeBooleanField("retrieved", needle.retrieved());
                writeNumber(generator, "log_probability", needle.logProbability());
                writeNumber(generator, "control_log_probability", needle.control());
                generator.writeEndObject();
            }
            generator.writeEndArray();
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }
}
