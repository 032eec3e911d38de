package dev.kv8.cli;

import dev.kv8.AttentionOptions;
import dev.kv8.AttentionPlan;
import dev.kv8.CacheView;
import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.LayerLayout;
import java.io.IOException;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;

/** {@code kv8 attend}: one attention case from files, computed by the selected backend's kernel. */
@Command(
        name = "attend",
        description = {
            "Run one paged attention case on the selected backend.",
            "CASE_DIR has the files described in tests/goldens/README.md;"
                    + " out.f32 and lse.f32 (natural log, sinks counted) are written to OUT_DIR."
        },
        footer = {"", "Example:", "  kv8 attend tests/goldens/01_d128_gqa_decode_e4m3 /tmp/result"})
final class AttendCommand extends Kv8Command {
    @Parameters(index = "0", paramLabel = "CASE_DIR", description = "Folder of the case.")
    Path caseDir;

    @Parameters(index = "1", paramLabel = "OUT_DIR", description = "Folder for the results; made when missing.")
    Path outDir;

    @Override
    public Integer call() throws IOException {
        AttentionCase attentionCase = AttentionCase.read(caseDir);
        Files.createDirectories(outDir);
        try (KvBackend backend = KvBackend.open()) {
            long nanoseconds = attend(backend, attentionCase);
            report(attentionCase, backend.info(), nanoseconds * 1e-3);
        }
        return 0;
    }

    private long attend(KvBackend backend, AttentionCase c) throws IOException {
        try (DeviceMemory pool = backend.allocate(2 * c.cacheBytes());
                DeviceMemory kScale = loadWhole(backend, c.file("k_scale.f32"));
                DeviceMemory vScale = loadWhole(backend, c.file("v_scale.f32"));
                CacheView view = openView(backend, c, pool, kScale, vScale);
                DeviceMemory starts = hostIntegers(backend, c.integers("q_start.i32"));
                DeviceMemory lengths = hostIntegers(backend, c.integers("seq_lens.i32"));
                DeviceMemory blockTable = loadWhole(backend, c.file("block_table.i32"));
                DeviceMemory q = loadWhole(backend, c.file("q.f32"));
                DeviceMemory out = backend.allocate(c.rowBytes());
                DeviceMemory lse = backend.allocate(c.lseBytes());
                DeviceMemory sinks = c.hasSinks() ? loadWhole(backend, c.file("sinks.f32")) : null;
                DeviceMemory slopes = c.hasAlibi() ? loadWhole(backend, c.file("alibi_slopes.f32")) : null;
                AttentionPlan plan = backend.attentionPlan(c.queryHeads(), c.kvHeads(), c.headSize(), c.window())) {
            DeviceArrays.load(backend, c.file("k_cache.u8"), c.cacheBytes(), pool, 0);
            DeviceArrays.load(backend, c.file("v_cache.u8"), c.cacheBytes(), pool, c.cacheBytes());
            long start = System.nanoTime();
            plan.update(c.sequences(), starts, lengths);
            backend.attend(
                    view,
                    plan,
                    blockTable,
                    c.maxBlocksPerSequence(),
                    HeadRows.of(q, DType.FLOAT32, c.queryHeads(), c.headSize()),
                    HeadRows.of(out, DType.FLOAT32, c.queryHeads(), c.headSize()),
                    lse,
                    new AttentionOptions(c.softmaxScale(), c.window(), c.softcap(), sinks, slopes));
            backend.synchronize();
            long nanoseconds = System.nanoTime() - start;
            DeviceArrays.store(backend, out, c.rowBytes(), outDir.resolve("out.f32"));
            DeviceArrays.store(backend, lse, c.lseBytes(), outDir.resolve("lse.f32"));
            return nanoseconds;
        }
    }

    private static CacheView openView(
            KvBackend backend, AttentionCase c, DeviceMemory pool, DeviceMemory kScale, DeviceMemory vScale) {
        LayerLayout layout = c.layout();
        return backend.view(pool, layout, scales(c, kScale), scales(c, vScale));
    }

    private static ChannelScales scales(AttentionCase c, DeviceMemory values) {
        return new ChannelScales(values, c.scales() == 1 ? 0 : 1, 0);
    }

    private static DeviceMemory loadWhole(KvBackend backend, Path file) throws IOException {
        long bytes = Files.size(file);
        DeviceMemory memory = backend.allocate(bytes);
        try {
            DeviceArrays.load(backend, file, bytes, memory, 0);
            return memory;
        } catch (IOException | RuntimeException e) {
            memory.close();
            throw e;
        }
    }

    private static DeviceMemory hostIntegers(KvBackend backend, IntBuffer values) {
        int bytes = values.remaining() * Integer.BYTES;
        DeviceMemory memory = backend.allocateHost(bytes);
        backend.hostView(memory, 0, bytes)
                .order(ByteOrder.nativeOrder())
                .asIntBuffer()
                .put(values);
        return memory;
    }

    private void report(AttentionCase c, DeviceInfo device, double microseconds) throws IOException {
        if (json) {
            printJson(generator -> {
                generator.writeStringField("case", c.name());
                generator.writeStringField("backend", device.backend());
                generator.writeStringField("isa", device.arch());
                generator.writeNumberField("sequences", c.sequences());
                generator.writeNumberField("queries", c.queries());
                generator.writeNumberField("us", microseconds);
            });
        } else {
            out().printf(
                            Locale.ROOT,
                            "%s: %d sequences, %d query tokens, %d/%d heads of %d, %s, on %s (%s), %.0f us%n",
                            c.name(),
                            c.sequences(),
                            c.queries(),
                            c.queryHeads(),
                            c.kvHeads(),
                            c.headSize(),
                            c.storedType(),
                            device.backend(),
                            device.arch(),
                            microseconds);
        }
    }
}
