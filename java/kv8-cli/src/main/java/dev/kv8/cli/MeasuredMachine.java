package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DeviceInfo;
import java.io.IOException;
import java.util.List;
import java.util.Locale;

/** What a benchmark of kernels says of the machine that it ran on: also how fast its memory was meanwhile. */
record MeasuredMachine(DeviceInfo device, LastLevelCache cache, double readGbps, double copyGbps) {
    static MeasuredMachine of(DeviceInfo device, MemoryBandwidth bandwidth) {
        return new MeasuredMachine(device, bandwidth.cache(), bandwidth.readGbps(), bandwidth.copyGbps());
    }

    /** One line for people. */
    String line() {
        return String.format(
                Locale.ROOT,
                "%s%s; reads %.1f GB/s, copies %.1f GB/s (read and written)",
                new Machine(device).line(),
                cache.bytes() == 0 ? "" : ", " + Numbers.mebibytes(cache.bytes()) + " MiB of last-level cache",
                readGbps,
                copyGbps);
    }

    /** A chart's title: what it shows, and on what. */
    String titled(String subject) {
        return subject + ", " + device.arch() + ", " + device.threads() + " threads";
    }

    /** Writes a run as an object. */
    interface RunWriter<R> {
        void write(JsonGenerator generator, R run) throws IOException;
    }

    /** The fields "machine" and "runs". */
    <R> void write(JsonGenerator generator, List<R> runs, RunWriter<R> writer) throws IOException {
        new Machine(device).write(generator, fields -> {
            fields.writeNumberField("last_level_cache_bytes", cache.bytes());
            fields.writeNumberField("read_gbps", readGbps);
            fields.writeNumberField("copy_gbps", copyGbps);
        });
        generator.writeArrayFieldStart("runs");
        for (R run : runs) {
            writer.write(generator, run);
        }
        generator.writeEndArray();
    }
}
