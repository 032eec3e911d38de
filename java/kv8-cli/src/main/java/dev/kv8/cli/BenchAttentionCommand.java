package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales.Granularity;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 bench attention}: decode attention by what the cache stores and how it is scaled. */
@Command(
        name = "attention",
        description = {
            "Time a decode step's attention over caches of several dtypes and scales, round by round in turn.",
            "The caches hold so many layers (up to 256) that a pass over them meets cold memory; times are of one layer."
        },
        footer = {
            "",
            "Example:",
            "  kv8 bench attention --kv-cache-dtype bfloat16,fp8 --scales tensor,head,channel,dynamic \\",
            "      --batch 16 --context 4096 --q-heads 32 --kv-heads 8 --head-size 128"
        })
final class BenchAttentionCommand extends Kv8Command {
    @Mixin
    CacheDTypes dtypes;

    @Option(
            names = "--scales",
            paramLabel = "G",
            split = ",",
            defaultValue = "tensor",
            description = "Scales of FP8 caches: none, tensor, head, channel, dynamic (default: ${DEFAULT-VALUE}).")
    List<Granularity> granularities = new ArrayList<>();

    @Option(
            names = "--batch",
            paramLabel = "N",
            defaultValue = "16",
            description = "Sequences (default: ${DEFAULT-VALUE}).")
    int batch;

    @Option(
            names = "--context",
            paramLabel = "N",
            defaultValue = "4096",
            description = "Keys of each sequence (default: ${DEFAULT-VALUE}).")
    int context;

    @Option(names = "--q-heads", paramLabel = "N", defaultValue = "32", description = "Default: ${DEFAULT-VALUE}.")
    int queryHeads;

    @Option(names = "--kv-heads", paramLabel = "N", defaultValue = "8", description = "Default: ${DEFAULT-VALUE}.")
    int kvHeads;

    @Option(names = "--head-size", paramLabel = "N", defaultValue = "128", description = "Default: ${DEFAULT-VALUE}.")
    int headSize;

    @Option(
            names = "--q-dtype",
            paramLabel = "TYPE",
            defaultValue = "float32",
            converter = ModelDType.class,
            completionCandidates = ModelDType.class,
            description = "Of queries and results: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    DType queryType;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "9",
            description = "Measurements of each, of which the median counts (default: ${DEFAULT-VALUE}).")
    int rounds;

    /** Bytes of the smallest cache, beyond what processors keep. */
    private static final long COLD_BYTES = 128L << 20;

    private static final int MOST_LAYERS = 256;

    private static final int WARM_UP = 2;

    /** A cache under measurement. */
    private record Run(KvCacheDType dtype, Granularity scales, DecodeCase decode, Timings timings) {
        boolean isBf16() {
            return dtype.resolve(DType.BFLOAT16) == DType.BFLOAT16; // auto is
        }

        boolean isByTensor() {
            return dtype.isFp8() && scales == Granularity.TENSOR;
        }

        String scaleLabel() {
            return scales.name().toLowerCase(Locale.ROOT);
        }
    }

    @Override
    public Integer call() throws IOException {
        check("--batch", batch);
        check("--context", context);
        check("--q-heads", queryHeads);
        check("--kv-heads", kvHeads);
        check("--rounds", rounds);
        if (queryHeads % kvHeads != 0) {
            throw wrongUsage(
                    "--q-heads is " + queryHeads + "; give a multiple of --kv-heads, which is " + kvHeads + ".");
        }
        List<Run> runs = new ArrayList<>();
        try (KvBackend backend = KvBackend.open();
                ReadBandwidth bandwidth = new ReadBandwidth(backend)) {
            DecodeCase.Shape shape = shape();
            try {
                open(backend, shape, runs);
                Timings reads = new Timings(rounds);
                measure(runs, bandwidth, reads);
                report(backend.info(), shape, runs, bandwidth.bytes() / reads.medianSeconds() * 1e-9);
            } finally {
                runs.forEach(run -> run.decode().close());
            }
        }
        return 0;
    }

    private void check(String option, int value) {
        if (value < 1) {
            throw wrongUsage(option + " is " + value + "; give 1 or more.");
        }
    }

    private DecodeCase.Shape shape() {
        long smallest = 2L * batch * context * kvHeads * headSize; // one byte an element
        int layers = (int) Math.min(MOST_LAYERS, (COLD_BYTES + smallest - 1) / smallest);
        return new DecodeCase.Shape(batch, context, layers, queryHeads, kvHeads, headSize, queryType);
    }

    private void open(KvBackend backend, DecodeCase.Shape shape, List<Run> runs) {
        try {
            for (KvCacheDType dtype : dtypes.list) {
                for (Granularity scales : dtype.isFp8() ? granularities : List.of(Granularity.NONE)) {
                    DecodeCase decode = new DecodeCase(backend, shape, dtype, scales);
                    runs.add(new Run(dtype, scales, decode, new Timings(rounds)));
                }
            }
        } catch (IllegalArgumentException e) {
            throw wrongUsage(e);
        }
    }

    private void measure(List<Run> runs, ReadBandwidth bandwidth, Timings reads) {
        try (ProgressLine progress = new ProgressLine(err(), "measure")) {
            for (int i = 0; i < WARM_UP; i++) {
                bandwidth.read();
                runs.forEach(run -> run.decode().attend());
            }
            for (int round = 0; round < rounds; round++) {
                reads.time(round, bandwidth::read);
                for (Run run : runs) {
                    run.timings().time(round, run.decode()::attend);
                }
                progress.update(round + 1, rounds);
            }
        }
    }

    private void report(DeviceInfo device, DecodeCase.Shape shape, List<Run> runs, double readGbps) throws IOException {
        if (json) {
            printJson(generator -> write(generator, device, shape, runs, readGbps));
            return;
        }
        out().printf(
                        Locale.ROOT,
                        "%s, %s (%s), %d threads, reads %.1f GB/s (amax kernel)%n",
                        device.name(),
                        device.backend(),
                        device.arch(),
                        device.threads(),
                        readGbps);
        out().printf(
                        Locale.ROOT,
                        "%d layers of %d sequences of %d, %d/%d heads of %d, q %s, median of %d%n%n",
                        shape.layers(),
                        batch,
                        context,
                        queryHeads,
                        kvHeads,
                        headSize,
                        queryType,
                        rounds);
        TextTable table = new TextTable("kv_cache_dtype", "scales", "us", "GB/s", "% of read", "vs bf16", "vs tensor");
        for (Run run : runs) {
            table.row(
                    run.dtype().label(),
                    run.scaleLabel(),
                    Numbers.fixed(microseconds(shape, run), 1),
                    Numbers.fixed(gbps(run), 1),
                    Numbers.fixed(100 * gbps(run) / readGbps, 1),
                    ratio(run, runs.stream().filter(Run::isBf16).findFirst()),
                    ratio(run, runs.stream().filter(Run::isByTensor).findFirst()));
        }
        table.print(out());
    }

    private static double microseconds(DecodeCase.Shape shape, Run run) {
        return run.timings().medianSeconds() * 1e6 / shape.layers();
    }

    private static double gbps(Run run) {
        return run.decode().bytes() / run.timings().medianSeconds() * 1e-9;
    }

    private static String ratio(Run run, Optional<Run> other) {
        return other.map(o -> Numbers.fixed(run.timings().relativeTo(o.timings()), 3))
                .orElse("-");
    }

    private void write(
            JsonGenerator generator, DeviceInfo device, DecodeCase.Shape shape, List<Run> runs, double readGbps)
            throws IOException {
        generator.writeObjectFieldStart("machine");
        generator.writeStringField("name", device.name());
        generator.writeNumberField("threads", device.threads());
        generator.writeNumberField("read_gbps", readGbps);
        generator.writeEndObject();
        generator.writeArrayFieldStart("runs");
        for (Run run : runs) {
            generator.writeStartObject();
            generator.writeStringField("backend", device.backend());
            generator.writeStringField("isa", device.arch());
            generator.writeNumberField("batch", batch);
            generator.writeNumberField("context", context);
            generator.writeNumberField("layers", shape.layers());
            generator.writeNumberField("q_heads", queryHeads);
            generator.writeNumberField("kv_heads", kvHeads);
            generator.writeNumberField("head_size", headSize);
            generator.writeStringField("q_dtype", queryType.label());
            generator.writeStringField("kv_cache_dtype", run.dtype().label());
            generator.writeStringField("scales", run.scaleLabel());
            generator.writeNumberField("threads", device.threads());
            generator.writeNumberField("us", microseconds(shape, run));
            generator.writeNumberField("gbps", gbps(run));
            generator.writeNumberField("percent_of_read_bandwidth", 100 * gbps(run) / readGbps);
            writeRatio(
                    generator,
                    "time_vs_bf16",
                    run,
                    runs.stream().filter(Run::isBf16).findFirst());
            writeRatio(
                    generator,
                    "time_vs_tensor",
                    run,
                    runs.stream().filter(Run::isByTensor).findFirst());
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }

    private static void writeRatio(JsonGenerator generator, String name, Run run, Optional<Run> other)
            throws IOException {
        writeNumber(
                generator,
                name,
                other.map(o -> run.timings().relativeTo(o.timings())).orElse(Double.NaN));
    }
}
