package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 bench move}: a sequence's way to host memory and back, beside the machine's copy. */
@Command(
        name = "move",
        description = {
            "Time a sequence's blocks on their way to host memory and back, as preemption by swap moves them.",
            "Out is to new host memory. Once the blocks are neighbours in the pool, which are copied together, and once"
                    + " another sequence's blocks are between them, round by round in turn. GB/s count the bytes read and written,"
                    + " as those of the copy between the rounds do."
        },
        footer = {"", "Example:", "  kv8 bench move --kv-cache-dtype bfloat16,fp8 --tokens 512,4096 --layers 32"})
final class BenchMoveCommand extends Kv8Command {
    @Mixin
    CacheDTypes dtypes;

    @Mixin
    Measurement measurement;

    @Option(
            names = "--tokens",
            paramLabel = "N",
            split = ",",
            defaultValue = "4096",
            description = "Of the sequence (default: ${DEFAULT-VALUE}).")
    List<Integer> tokens = new ArrayList<>();

    @Option(names = "--layers", paramLabel = "N", defaultValue = "32", description = "Default: ${DEFAULT-VALUE}.")
    int layers;

    @Option(names = "--kv-heads", paramLabel = "N", defaultValue = "8", description = "Default: ${DEFAULT-VALUE}.")
    int kvHeads;

    @Option(names = "--head-size", paramLabel = "N", defaultValue = "128", description = "Default: ${DEFAULT-VALUE}.")
    int headSize;

    /** A way under measurement. */
    private record Run(MoveCase.Shape shape, KvCacheDType dtype, String way, long bytes, Timings timings) {
        double gbps() {
            return 2 * bytes / timings.medianSeconds() * 1e-9;
        }

        String blocks() {
            return shape.scattered() ? "scattered" : "neighbours";
        }

        String line() {
            return dtype.label() + ", " + blocks() + ", " + way;
        }
    }

    @Override
    public Integer call() throws IOException {
        tokens.forEach(value -> checkAtLeastOne("--tokens", value));
        checkAtLeastOne("--layers", layers);
        checkAtLeastOne("--kv-heads", kvHeads);
        checkAtLeastOne("--rounds", measurement.rounds);
        List<Run> runs = new ArrayList<>();
        try (KvBackend backend = KvBackend.open();
                MemoryBandwidth bandwidth = new MemoryBandwidth(backend, tokens.size() * measurement.rounds);
                ProgressLine progress = new ProgressLine(err(), "measure")) {
            for (int i = 0; i < tokens.size(); i++) {
                runs.addAll(measure(backend, tokens.get(i), bandwidth, i * measurement.rounds));
                progress.update(i + 1, tokens.size());
            }
            report(MeasuredMachine.of(backend.info(), bandwidth), runs);
        }
        return 0;
    }

    private List<Run> measure(KvBackend backend, int count, MemoryBandwidth bandwidth, int firstRound) {
        List<Run> runs = new ArrayList<>(); // two for each case: out, in
        List<MoveCase> cases = new ArrayList<>();
        try {
            for (KvCacheDType dtype : dtypes.list) {
                for (boolean scattered : new boolean[] {false, true}) {
                    MoveCase.Shape shape = new MoveCase.Shape(count, layers, kvHeads, headSize, scattered);
                    MoveCase move = fromOptions(() -> new MoveCase(backend, shape, dtype));
                    cases.add(move);
                    for (String way : List.of("out", "in")) {
                        runs.add(new Run(shape, dtype, way, move.bytes(), new Timings(measurement.rounds)));
                    }
                    move.out();
                    move.back();
                }
            }
            for (int round = 0; round < measurement.rounds; round++) {
                bandwidth.measure(firstRound + round);
                for (int i = 0; i < cases.size(); i++) {
                    runs.get(2 * i).timings().time(round, cases.get(i)::out);
                    runs.get(2 * i + 1).timings().time(round, cases.get(i)::back);
                }
            }
        } finally {
            cases.forEach(MoveCase::close);
        }
        return runs;
    }

    private void report(MeasuredMachine machine, List<Run> runs) throws IOException {
        if (json) {
            printJson(generator -> machine.write(generator, runs, (to, run) -> write(to, machine, run)));
        } else {
            out().println(machine.line());
            out().println(layers + " layers, " + kvHeads + " KV heads of " + headSize + "; median of "
                    + measurement.rounds);
            out().println();
            TextTable table =
                    new TextTable("kv_cache_dtype", "tokens", "blocks", "way", "MiB", "us", "GB/s", "% of copy");
            for (Run run : runs) {
                table.row(
                        run.dtype().label(),
                        String.valueOf(run.shape().tokens()),
                        run.blocks(),
                        run.way(),
                        Numbers.mebibytes(run.bytes()),
                        Numbers.fixed(run.timings().medianSeconds() * 1e6, 1),
                        Numbers.fixed(run.gbps(), 1),
                        Numbers.fixed(100 * run.gbps() / machine.copyGbps(), 1));
            }
            table.print(out());
        }
        PlotFile plot = measurement.plot;
        if (plot != null) {
            plot.write(BenchChart.of(
                    machine.titled("Moves to host memory and back"),
                    "tokens of the sequence",
                    "copy bandwidth",
                    machine.copyGbps(),
                    BenchChart.lines(runs, Run::line, run -> run.shape().tokens(), Run::gbps)));
        }
    }

    private void write(JsonGenerator generator, MeasuredMachine machine, Run run) throws IOException {
        generator.writeStartObject();
        generator.writeStringField("backend", machine.device().backend());
        generator.writeStringField("isa", machine.device().arch());
        generator.writeNumberField("tokens", run.shape().tokens());
        generator.writeNumberField("layers", layers);
        generator.writeNumberField("kv_heads", kvHeads);
        generator.writeNumberField("head_size", headSize);
        generator.writeStringField("kv_cache_dtype", run.dtype().label());
        generator.writeStringField("blocks", run.blocks());
        generator.writeStringField("way", run.way());
        generator.writeNumberField("bytes", run.bytes());
        generator.writeNumberField("us", run.timings().medianSeconds() * 1e6);
        generator.writeNumberField("gbps", run.gbps());
        generator.writeNumberField("percent_of_copy_bandwidth", 100 * run.gbps() / machine.copyGbps());
        generator.writeEndObject();
    }
}
