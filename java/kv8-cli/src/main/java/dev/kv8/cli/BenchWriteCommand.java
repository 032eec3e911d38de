package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DType;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales.Granularity;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 bench write}: the cache's write kernel by dtype and scales, beside the machine's copy. */
@Command(
        name = "write",
        description = {
            "Time a step's write of K and V into caches of several dtypes and scales, round by round in turn.",
            "GB/s count the rows read and the bytes stored, as those of the copy measured between the rounds do; times"
                    + " are of one layer. The caches hold so many layers, which are written in turn, that a slot has left the"
                    + " processor's caches before it is written again: four times its last level, as far as 256 MiB for a cache in"
                    + " FP8 allow. With --layers 1 few tokens stay in the caches."
        },
        footer = {
            "",
            "Example:",
            "  kv8 bench write --kv-cache-dtype bfloat16,fp8 --scales tensor,channel,dynamic --tokens 16,4096 \\",
            "      --dtype bfloat16 --rope --plot write.svg"
        })
final class BenchWriteCommand extends Kv8Command {
    @Mixin
    MeasuredCaches caches;

    @Mixin
    Measurement measurement;

    @Option(
            names = "--tokens",
            paramLabel = "N",
            split = ",",
            defaultValue = "4096",
            description = "Written by a step (default: ${DEFAULT-VALUE}).")
    List<Integer> tokens = new ArrayList<>();

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            split = ",",
            defaultValue = "bfloat16",
            converter = ModelDType.class,
            completionCandidates = ModelDType.class,
            description = "Of K and V before: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    List<DType> rowTypes = new ArrayList<>();

    @Option(names = "--rope", description = "Rotate K on the way.")
    boolean rope;

    @Option(
            names = "--layers",
            paramLabel = "N",
            defaultValue = "0",
            description = "Of each cache; 0: as many as meet cold memory (default: ${DEFAULT-VALUE}).")
    int layers;

    /** Of the smallest cache, unless it has a layer alone or processors keep much. A block is taken as a whole, whatever is written of it. */
    private static final long MOST_BYTES = 256L << 20;

    /** A cache under measurement. */
    private record Run(WriteCase.Shape shape, KvCacheDType dtype, Granularity scales, long bytes, Timings timings) {
        double microseconds() {
            return timings.medianSeconds() * 1e6 / shape.layers();
        }

        double gbps() {
            return bytes / timings.medianSeconds() * 1e-9;
        }

        String scaleLabel() {
            return scales.name().toLowerCase(Locale.ROOT);
        }

        String line() {
            return ElementType.shortName(shape.rows()) + " to " + dtype.label() + "/" + scaleLabel();
        }

        double relativeToBf16(List<Run> runs) {
            return runs.stream()
                    .filter(run -> run.shape.equals(shape) && run.dtype.resolve(DType.BFLOAT16) == DType.BFLOAT16)
                    .findFirst()
                    .map(run -> timings.relativeTo(run.timings))
                    .orElse(Double.NaN);
        }
    }

    @Override
    public Integer call() throws IOException {
        tokens.forEach(value -> checkAtLeastOne("--tokens", value));
        checkAtLeastOne("--kv-heads", caches.kvHeads);
        checkAtLeastOne("--rounds", measurement.rounds);
        try (KvBackend backend = KvBackend.open()) {
            measure(backend, shapes(LastLevelCache.of(backend.info()).coldBytes()));
        }
        return 0;
    }

    private void measure(KvBackend backend, List<WriteCase.Shape> shapes) throws IOException {
        List<Run> runs = new ArrayList<>();
        try (MemoryBandwidth bandwidth = new MemoryBandwidth(backend, shapes.size() * measurement.rounds);
                ProgressLine progress = new ProgressLine(err(), "measure")) {
            for (int i = 0; i < shapes.size(); i++) {
                runs.addAll(measure(backend, shapes.get(i), bandwidth, i * measurement.rounds));
                progress.update(i + 1, shapes.size());
            }
            report(MeasuredMachine.of(backend.info(), bandwidth), runs);
        }
    }

    private List<WriteCase.Shape> shapes(long coldBytes) {
        List<WriteCase.Shape> shapes = new ArrayList<>();
        for (DType rows : rowTypes) {
            for (int count : tokens) {
                shapes.add(new WriteCase.Shape(
                        count, layersOf(count, coldBytes), caches.kvHeads, caches.headSize, rows, rope));
            }
        }
        return shapes;
    }

    private int layersOf(int count, long coldBytes) {
        if (layers > 0) {
            return layers;
        }
        long token = 2L * caches.kvHeads * caches.headSize; // one byte an element
        long cold = (coldBytes + token * count - 1) / (token * count);
        return (int) Math.max(1, Math.min(cold, Math.max(MOST_BYTES, coldBytes) / (token * WriteCase.slots(count))));
    }

    private List<Run> measure(KvBackend backend, WriteCase.Shape shape, MemoryBandwidth bandwidth, int firstRound) {
        List<Run> runs = new ArrayList<>();
        List<WriteCase> cases = new ArrayList<>();
        try {
            for (MeasuredCaches.Kind kind : caches.kinds()) {
                WriteCase write = fromOptions(() -> new WriteCase(backend, shape, kind.dtype(), kind.scales()));
                cases.add(write);
                runs.add(new Run(shape, kind.dtype(), kind.scales(), write.bytes(), new Timings(measurement.rounds)));
            }
            cases.forEach(WriteCase::write);
            for (int round = 0; round < measurement.rounds; round++) {
                bandwidth.measure(firstRound + round);
                for (int i = 0; i < runs.size(); i++) {
                    runs.get(i).timings().time(round, cases.get(i)::write);
                }
            }
        } finally {
            cases.forEach(WriteCase::close);
        }
        return runs;
    }

    private void report(MeasuredMachine machine, List<Run> runs) throws IOException {
        if (json) {
            printJson(generator -> machine.write(generator, runs, (to, run) -> write(to, machine, run, runs)));
        } else {
            out().println(machine.line());
            out().println(caches.kvHeads + " KV heads of " + caches.headSize + (rope ? ", K rotated" : "")
                    + "; median of " + measurement.rounds);
            out().println();
            TextTable table = new TextTable(
                    "kv_cache_dtype", "scales", "from", "tokens", "us", "ns/element", "GB/s", "% of copy", "vs bf16");
            for (Run run : runs) {
                table.row(
                        run.dtype().label(),
                        run.scaleLabel(),
                        ElementType.shortName(run.shape().rows()),
                        String.valueOf(run.shape().tokens()),
                        Numbers.fixed(run.microseconds(), 1),
                        Numbers.fixed(
                                run.microseconds() * 1e3 / (2 * run.shape().elements()), 3),
                        Numbers.fixed(run.gbps(), 1),
                        Numbers.fixed(100 * run.gbps() / machine.copyGbps(), 1),
                        Numbers.fixedOrDash(run.relativeToBf16(runs), 3));
            }
            table.print(out());
        }
        PlotFile plot = measurement.plot;
        if (plot != null) {
            plot.write(BenchChart.of(
                    machine.titled("Cache writes"),
                    "tokens of a step",
                    "copy bandwidth",
                    machine.copyGbps(),
                    BenchChart.lines(runs, Run::line, run -> run.shape().tokens(), Run::gbps)));
        }
    }

    private void write(JsonGenerator generator, MeasuredMachine machine, Run run, List<Run> runs) throws IOException {
        generator.writeStartObject();
        generator.writeStringField("backend", machine.device().backend());
        generator.writeStringField("isa", machine.device().arch());
        generator.writeNumberField("tokens", run.shape().tokens());
        generator.writeNumberField("layers", run.shape().layers());
        generator.writeNumberField("kv_heads", caches.kvHeads);
        generator.writeNumberField("head_size", caches.headSize);
        generator.writeStringField("dtype", run.shape().rows().label());
        generator.writeBooleanField("rope", rope);
        generator.writeStringField("kv_cache_dtype", run.dtype().label());
        generator.writeStringField("scales", run.scaleLabel());
        generator.writeNumberField("us", run.microseconds());
        generator.writeNumberField("gbps", run.gbps());
        generator.writeNumberField("percent_of_copy_bandwidth", 100 * run.gbps() / machine.copyGbps());
        writeNumber(generator, "time_vs_bf16", run.relativeToBf16(runs));
        generator.writeEndObject();
    }
}
