package dev.kv8.cli;

import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.KvBackend;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 bench attention}: attention of decodes and prompts by what the cache stores, how it is scaled, and the batch's shape. */
@Command(
        name = "attention",
        description = {
            "Time a step's attention over caches of several dtypes and scales, round by round in turn.",
            "The step is a decode, or a prompt's last chunk (--queries). Its path is precise where it computes in float32"
                    + " alone, and fast where in 16-bit products. The caches hold so many layers (up to 4096) that a pass meets cold"
                    + " memory: four times the last-level cache, in FP8. Times are of one layer. With --layers 1 small ones stay in"
                    + " the processor's caches. Lists are combined with each other."
        },
        footer = {
            "",
            "Example:",
            "  kv8 bench attention --kv-cache-dtype bfloat16,fp8 --scales tensor,dynamic --batch 1,16 \\",
            "      --context 512,4096 --q-heads 8,32,64 --kv-heads 8 --q-dtype float32,bfloat16 --plot decode.svg"
        })
final class BenchAttentionCommand extends Kv8Command {
    @Mixin
    MeasuredCaches caches;

    @Mixin
    Measurement measurement;

    @Option(
            names = "--batch",
            paramLabel = "N",
            split = ",",
            defaultValue = "16",
            description = "Sequences (default: ${DEFAULT-VALUE}).")
    List<Integer> batches = new ArrayList<>();

    @Option(
            names = "--context",
            paramLabel = "N",
            split = ",",
            defaultValue = "4096",
            description = "Keys of each sequence (default: ${DEFAULT-VALUE}).")
    List<Integer> contexts = new ArrayList<>();

    @Option(
            names = "--queries",
            paramLabel = "N",
            defaultValue = "1",
            description = "Of each sequence, its last tokens: 1 for a decode, more for a prompt's chunk (default:"
                    + " ${DEFAULT-VALUE}).")
    int queries;

    @Option(
            names = "--values",
            paramLabel = "KIND",
            defaultValue = "normal",
            description = "Of K and V: normal, as they are distributed, or subnormal, as FP8 stores them"
                    + " (default: ${DEFAULT-VALUE}).")
    Values values = Values.NORMAL;

    @Option(
            names = "--q-heads",
            paramLabel = "N",
            split = ",",
            defaultValue = "32",
            description = "Default: ${DEFAULT-VALUE}.")
    List<Integer> queryHeads = new ArrayList<>();

    @Option(
            names = "--q-dtype",
            paramLabel = "TYPE",
            split = ",",
            defaultValue = "float32",
            converter = ModelDType.class,
            completionCandidates = ModelDType.class,
            description = "Of queries and results: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    List<DType> queryTypes = new ArrayList<>();

    @Option(
            names = "--layers",
            paramLabel = "N",
            defaultValue = "0",
            description = "Of each cache; 0: as many as meet cold memory (default: ${DEFAULT-VALUE}).")
    int layers;

    enum Values {
        NORMAL,
        SUBNORMAL;

        String label() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    private static final int MOST_LAYERS = 4096;

    private static final int WARM_UP = 2;

    /** Where a cache is small, a round passes over it so often that the clock's and the thread pool's starts do not count. */
    private static final long ROUND_BYTES = 32L << 20;

    @Override
    public Integer call() throws IOException {
        batches.forEach(value -> checkAtLeastOne("--batch", value));
        contexts.forEach(value -> checkAtLeastOne("--context", value));
        queryHeads.forEach(value -> checkAtLeastOne("--q-heads", value));
        checkAtLeastOne("--queries", queries);
        for (int context : contexts) {
            if (context < queries) {
                throw wrongUsage("--queries is " + queries + "; give at most --context, which is " + context + ".");
            }
        }
        checkAtLeastOne("--kv-heads", caches.kvHeads);
        checkAtLeastOne("--rounds", measurement.rounds);
        for (int heads : queryHeads) {
            if (heads % caches.kvHeads != 0) {
                throw wrongUsage(
                        "--q-heads is " + heads + "; give a multiple of --kv-heads, which is " + caches.kvHeads + ".");
            }
        }
        try (KvBackend backend = KvBackend.open()) {
            measure(backend, shapes(LastLevelCache.of(backend.info()).coldBytes()));
        }
        return 0;
    }

    private void measure(KvBackend backend, List<DecodeCase.Shape> shapes) throws IOException {
        List<DecodeRun> runs = new ArrayList<>();
        try (MemoryBandwidth bandwidth = new MemoryBandwidth(backend, shapes.size() * measurement.rounds);
                ProgressLine progress = new ProgressLine(err(), "measure")) {
            for (int i = 0; i < shapes.size(); i++) {
                runs.addAll(measure(
                        backend,
                        shapes.get(i),
                        bandwidth,
                        i * measurement.rounds,
                        progress,
                        shapes.size() * measurement.rounds));
            }
            report(MeasuredMachine.of(backend.info(), bandwidth), runs);
        }
    }

    private List<DecodeCase.Shape> shapes(long coldBytes) {
        List<DecodeCase.Shape> shapes = new ArrayList<>();
        for (DType queryType : queryTypes) {
            for (int heads : queryHeads) {
                for (int batch : batches) {
                    for (int context : contexts) {
                        shapes.add(new DecodeCase.Shape(
                                batch,
                                queries,
                                context,
                                layersOf(batch, context, coldBytes),
                                heads,
                                caches.kvHeads,
                                caches.headSize,
                                queryType));
                    }
                }
            }
        }
        return shapes;
    }

    private int layersOf(int batch, int context, long coldBytes) {
        if (layers > 0) {
            return layers;
        }
        long smallest = 2L * batch * context * caches.kvHeads * caches.headSize; // one byte an element
        return (int) Math.min(MOST_LAYERS, (coldBytes + smallest - 1) / smallest);
    }

    /** Opens a cache of each kind for a shape, times them in turn, and closes them. */
    private List<DecodeRun> measure(
            KvBackend backend,
            DecodeCase.Shape shape,
            MemoryBandwidth bandwidth,
            int firstRound,
            ProgressLine progress,
            int allRounds) {
        List<DecodeRun> runs = new ArrayList<>();
        List<DecodeCase> cases = new ArrayList<>();
        try {
            open(backend, shape, cases, runs);
            int passes = (int) Math.max(1, ROUND_BYTES / cases.get(0).bytes());
            for (int i = 0; i < WARM_UP; i++) {
                cases.forEach(DecodeCase::attend);
            }
            for (int round = 0; round < measurement.rounds; round++) {
                bandwidth.measure(firstRound + round);
                for (int i = 0; i < runs.size(); i++) {
                    DecodeCase decode = cases.get(i);
                    runs.get(i).timings().time(round, passes, decode::attend);
                }
                progress.update(firstRound + round + 1, allRounds);
            }
        } finally {
            cases.forEach(DecodeCase::close);
        }
        return runs;
    }

    private void open(KvBackend backend, DecodeCase.Shape shape, List<DecodeCase> cases, List<DecodeRun> runs) {
        for (MeasuredCaches.Kind kind : caches.kinds()) {
            DecodeCase decode = fromOptions(
                    () -> new DecodeCase(backend, shape, kind.dtype(), kind.scales(), values == Values.SUBNORMAL));
            cases.add(decode);
            runs.add(
                    new DecodeRun(shape, kind.dtype(), kind.scales(), decode.bytes(), new Timings(measurement.rounds)));
        }
    }

    private void report(MeasuredMachine machine, List<DecodeRun> runs) throws IOException {
        if (json) {
            DeviceInfo device = machine.device();
            printJson(generator -> machine.write(
                    generator, runs, (to, run) -> run.write(to, device, values.label(), machine.readGbps(), runs)));
        } else {
            out().println(machine.line());
            out().println("head size " + caches.headSize + ", " + caches.kvHeads
                    + " KV heads, " + queries + (queries == 1 ? " query" : " queries") + " of a sequence, "
                    + values.label()
                    + " values; a layer's time, median of " + measurement.rounds);
            out().println();
            printTable(machine, runs);
        }
        PlotFile plot = measurement.plot;
        if (plot != null) {
            plot.write(BenchChart.of(
                    machine.titled(queries == 1 ? "Decode attention" : "Attention of " + queries + " queries"),
                    "keys of each sequence",
                    "read bandwidth",
                    machine.readGbps(),
                    BenchChart.lines(runs, DecodeRun::line, run -> run.shape().context(), DecodeRun::gbps)));
        }
    }

    private void printTable(MeasuredMachine machine, List<DecodeRun> runs) {
        TextTable table = new TextTable(
                "kv_cache_dtype",
                "scales",
                "q",
                "path",
                "heads",
                "batch",
                "context",
                "MiB",
                "us",
                "GB/s",
                "% of read",
                "vs bf16",
                "vs tensor");
        for (DecodeRun run : runs) {
            table.row(
                    run.dtype().label(),
                    run.scaleLabel(),
                    ElementType.shortName(run.shape().queryType()),
                    run.path(machine.device()),
                    run.shape().queryHeads() + "/" + run.shape().kvHeads(),
                    String.valueOf(run.shape().batch()),
                    String.valueOf(run.shape().context()),
                    Numbers.mebibytes(run.bytes()),
                    Numbers.fixed(run.microseconds(), 1),
                    Numbers.fixed(run.gbps(), 1),
                    Numbers.fixed(100 * run.gbps() / machine.readGbps(), 1),
                    Numbers.fixedOrDash(run.relativeTo(runs, DecodeRun::isBf16), 3),
                    Numbers.fixedOrDash(run.relativeTo(runs, DecodeRun::isByTensor), 3));
        }
        table.print(out());
    }
}
