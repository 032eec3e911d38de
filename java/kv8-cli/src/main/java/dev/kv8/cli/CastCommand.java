package dev.kv8.cli;

import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import dev.kv8.KvScales;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Locale;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code kv8 cast}: converts a raw array of any size through the selected backend, a piece at a time. */
@Command(
        name = "cast",
        description = {
            "Convert a raw little-endian array between float and FP8 types on the selected backend.",
            "To FP8: encode(x / scale), one rounding to nearest even, saturating. From FP8: decode(code) * scale."
        },
        footer = {
            "",
            "Example:",
            "  kv8 cast --from f32 --to e4m3fn --scale 0.05 keys.f32 keys.e4m3fn",
            "  kv8 cast --from e4m3fn --to f32 --scale 0.05 keys.e4m3fn keys.f32"
        })
final class CastCommand extends Kv8Command {
    private static final int ELEMENTS_PER_PIECE = 4 << 20;

    @Option(
            names = "--from",
            required = true,
            paramLabel = "TYPE",
            converter = ElementType.class,
            completionCandidates = ElementType.class,
            description = "Type of IN's elements: ${COMPLETION-CANDIDATES}.")
    DType from;

    @Option(
            names = "--to",
            required = true,
            paramLabel = "TYPE",
            converter = ElementType.class,
            completionCandidates = ElementType.class,
            description = "Type of OUT's elements; one of the same.")
    DType to;

    @Option(
            names = "--scale",
            paramLabel = "S",
            defaultValue = "1",
            description = "Scale of the FP8 values, a positive float32 (default: ${DEFAULT-VALUE}).")
    float scale;

    @Parameters(index = "0", paramLabel = "IN", description = "The array to read.")
    Path in;

    @Parameters(index = "1", paramLabel = "OUT", description = "The array to write; replaced when all is done.")
    Path out;

    @Override
    public Integer call() throws IOException {
        checkUsage();
        long elements = countElements();
        long start = System.nanoTime();
        DeviceInfo device;
        try (KvBackend backend = KvBackend.open()) {
            device = backend.info();
            OutputFile.write(out, target -> castFile(backend, elements, target));
        }
        double seconds = (System.nanoTime() - start) * 1e-9;
        if (json) {
            printJson(generator -> {
                generator.writeStringField("from", ElementType.shortName(from));
                generator.writeStringField("to", ElementType.shortName(to));
                generator.writeNumberField("scale", scale);
                generator.writeNumberField("elements", elements);
                generator.writeStringField("backend", device.backend());
                generator.writeStringField("isa", device.arch());
                generator.writeNumberField("seconds", seconds);
            });
        } else {
            out().printf(
                            Locale.ROOT,
                            "%d elements, %s to %s, scale %s, %s (%s), %.3f s%n",
                            elements,
                            from,
                            to,
                            scale,
                            device.backend(),
                            device.arch(),
                            seconds);
        }
        return 0;
    }

    private void checkUsage() {
        try {
            KvScales.checkScale(scale, "--scale");
        } catch (IllegalArgumentException e) {
            throw wrongUsage(e);
        }
        if (scale != 1 && from.isFp8() == to.isFp8()) {
            throw wrongUsage("--scale is for a cast to FP8 or from FP8, not from " + from + " to " + to + ".");
        }
    }

    private long countElements() throws IOException {
        if (Files.exists(in) && !Files.isRegularFile(in)) {
            throw new IOException(in + " is not a file.");
        }
        long bytes = Files.size(in);
        if (bytes % from.bytes() != 0) {
            throw new IOException(in + " has " + bytes + " bytes, which is not a multiple of the " + from.bytes()
                    + " bytes of a " + from + "; is --from right and the file complete?");
        }
        return bytes / from.bytes();
    }

    private void castFile(KvBackend backend, long elements, FileChannel target) throws IOException {
        int piece = (int) Math.max(1, Math.min(elements, ELEMENTS_PER_PIECE));
        ByteBuffer read = ByteBuffer.allocateDirect(piece * from.bytes());
        ByteBuffer written = ByteBuffer.allocateDirect(piece * to.bytes());
        try (FileChannel source = FileChannel.open(in, StandardOpenOption.READ);
                DeviceMemory input = backend.allocate(read.capacity());
                DeviceMemory output = backend.allocate(written.capacity());
                ProgressLine progress = new ProgressLine(err(), "cast")) {
            for (long done = 0; done < elements; ) {
                int count = (int) Math.min(piece, elements - done);
                DeviceArrays.readFully(source, read.clear().limit(count * from.bytes()), in);
                backend.upload(read.flip(), input, 0);
                backend.cast(input, from, output, to, count, scale);
                backend.download(output, 0, written.clear().limit(count * to.bytes()));
                DeviceArrays.writeFully(target, written.rewind());
                done += count;
                progress.update(done, elements);
            }
        }
    }
}
