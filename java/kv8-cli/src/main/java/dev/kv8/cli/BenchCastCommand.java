package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 bench cast}: casts between FP8 and wider types, beside the machine's copy. */
@Command(
        name = "cast",
        description = {
            "Time casts between FP8 and other types, round by round in turn.",
            "Every type in --from is cast to every one in --to, where one is FP8 and the other is not. GB/s count the"
                    + " bytes read and written, as those of the copy measured between the rounds do."
        },
        footer = {
            "",
            "Example:",
            "  kv8 bench cast --from f32,bf16,e4m3fn --to e4m3fn,f32,bf16 --elements 65536,16777216"
        })
final class BenchCastCommand extends Kv8Command {
    @Mixin
    Measurement measurement;

    @Option(
            names = "--from",
            paramLabel = "TYPE",
            split = ",",
            defaultValue = "f32,f16,bf16,e4m3fn,e5m2",
            converter = ElementType.class,
            completionCandidates = ElementType.class,
            description = "Some of ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    List<DType> from = new ArrayList<>();

    @Option(
            names = "--to",
            paramLabel = "TYPE",
            split = ",",
            defaultValue = "f32,f16,bf16,e4m3fn,e5m2",
            converter = ElementType.class,
            completionCandidates = ElementType.class,
            description = "Some of the same (default: ${DEFAULT-VALUE}).")
    List<DType> to = new ArrayList<>();

    @Option(
            names = "--elements",
            paramLabel = "N",
            split = ",",
            defaultValue = "0",
            description = "In an array; 0: as many as no cache holds (default: ${DEFAULT-VALUE}).")
    List<Integer> elements = new ArrayList<>();

    @Option(
            names = "--scale",
            paramLabel = "S",
            defaultValue = "0.013",
            description = "Of the FP8 values (default: ${DEFAULT-VALUE}; by a power of two division is a product).")
    float scale;

    /** The arrays of float32 take a gigabyte each then. */
    private static final int MOST_ELEMENTS = 1 << 28;

    /** Read and written of an element: a code, and 16 bits. */
    private static final int LEAST_BYTES = 3;

    /** Elements of small arrays are cast again until a round takes about a millisecond. */
    private static final int ROUND_ELEMENTS = 1 << 21;

    /** A cast under measurement. */
    private record Run(DType from, DType to, int elements, Timings timings) {
        double gbps() {
            return (double) elements * (from.bytes() + to.bytes()) / timings.medianSeconds() * 1e-9;
        }

        String line() {
            return ElementType.shortName(from) + " to " + ElementType.shortName(to);
        }
    }

    @Override
    public Integer call() throws IOException {
        checkAtLeastOne("--rounds", measurement.rounds);
        for (int count : elements) {
            if (count < 0 || count > MOST_ELEMENTS) {
                throw wrongUsage("--elements is " + count + "; give 0 to " + MOST_ELEMENTS + ".");
            }
        }
        if (from.stream().allMatch(source -> to.stream().allMatch(target -> source.isFp8() == target.isFp8()))) {
            throw wrongUsage("No type in --from and --to makes a pair of an FP8 type and another; give one of each.");
        }
        try (KvBackend backend = KvBackend.open();
                MemoryBandwidth bandwidth = new MemoryBandwidth(backend, measurement.rounds)) {
            List<Run> runs = runs(bandwidth.cache().coldBytes());
            measure(backend, bandwidth, runs);
            report(MeasuredMachine.of(backend.info(), bandwidth), runs);
        } catch (IllegalArgumentException e) {
            throw wrongUsage(e);
        }
        return 0;
    }

    private List<Run> runs(long coldBytes) {
        int cold = (int) Math.min(MOST_ELEMENTS, coldBytes / LEAST_BYTES);
        List<Run> runs = new ArrayList<>();
        for (int given : elements) {
            int count = given == 0 ? cold : given;
            for (DType source : from) {
                for (DType target : to) {
                    if (source.isFp8() != target.isFp8()) {
                        runs.add(new Run(source, target, count, new Timings(measurement.rounds)));
                    }
                }
            }
        }
        return runs;
    }

    private void measure(KvBackend backend, MemoryBandwidth bandwidth, List<Run> runs) {
        int most = runs.stream().mapToInt(Run::elements).max().orElseThrow();
        try (DeviceMemory wide = backend.allocate((long) most * Float.BYTES);
                DeviceMemory source = backend.allocate((long) most * Float.BYTES);
                DeviceMemory target = backend.allocate((long) most * Float.BYTES);
                ProgressLine progress = new ProgressLine(err(), "measure")) {
            NormalValues.upload(backend, wide, most, new Random(8));
            for (int round = 0; round < measurement.rounds; round++) {
                bandwidth.measure(round);
                for (Run run : runs) {
                    float written = run.from().isFp8() ? scale : 1;
                    backend.cast(wide, DType.FLOAT32, source, run.from(), run.elements(), written);
                    cast(backend, source, target, run);
                    int repetitions = Math.max(1, ROUND_ELEMENTS / run.elements());
                    run.timings().time(round, repetitions, () -> cast(backend, source, target, run));
                }
                progress.update(round + 1, measurement.rounds);
            }
        }
    }

    private void cast(KvBackend backend, DeviceMemory source, DeviceMemory target, Run run) {
        backend.cast(source, run.from(), target, run.to(), run.elements(), scale);
        backend.synchronize();
    }

    private void report(MeasuredMachine machine, List<Run> runs) throws IOException {
        if (json) {
            printJson(generator -> machine.write(generator, runs, (to, run) -> write(to, machine, run)));
        } else {
            out().println(machine.line());
            out().println();
            TextTable table = new TextTable("cast", "elements", "us", "ns/element", "GB/s", "% of copy");
            for (Run run : runs) {
                table.row(
                        run.line(),
                        String.valueOf(run.elements()),
                        Numbers.fixed(run.timings().medianSeconds() * 1e6, 1),
                        Numbers.fixed(run.timings().medianSeconds() * 1e9 / run.elements(), 3),
                        Numbers.fixed(run.gbps(), 1),
                        Numbers.fixed(100 * run.gbps() / machine.copyGbps(), 1));
            }
            table.print(out());
        }
        PlotFile plot = measurement.plot;
        if (plot != null) {
            plot.write(BenchChart.of(
                    machine.titled("Casts"),
                    "elements",
                    "copy bandwidth",
                    machine.copyGbps(),
                    BenchChart.lines(runs, Run::line, Run::elements, Run::gbps)));
        }
    }

    private void write(JsonGenerator generator, MeasuredMachine machine, Run run) throws IOException {
        generator.writeStartObject();
        generator.writeStringField("backend", machine.device().backend());
        generator.writeStringField("isa", machine.device().arch());
        generator.writeStringField("from", ElementType.shortName(run.from()));
        generator.writeStringField("to", ElementType.shortName(run.to()));
        generator.writeNumberField("elements", run.elements());
        generator.writeNumberField("us", run.timings().medianSeconds() * 1e6);
        generator.writeNumberField("gbps", run.gbps());
        generator.writeNumberField("percent_of_copy_bandwidth", 100 * run.gbps() / machine.copyGbps());
        generator.writeEndObject();
    }
}
