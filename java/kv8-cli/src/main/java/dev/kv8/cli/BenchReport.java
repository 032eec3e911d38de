package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DeviceInfo;
import java.io.IOException;
import java.util.Locale;

/** What the benchmarks of kernels say of the machine that they ran on. */
record BenchReport(DeviceInfo device, LastLevelCache cache, double readGbps, double copyGbps) {
    static BenchReport of(DeviceInfo device, MemoryBandwidth bandwidth) {
        return new BenchReport(device, bandwidth.cache(), bandwidth.readGbps(), bandwidth.copyGbps());
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

    /** The field "machine". */
    void write(JsonGenerator generator) throws IOException {
        generator.writeObjectFieldStart("machine");
        generator.writeStringField("name", device.name());
        generator.writeNumberField("threads", device.threads());
        generator.writeNumberField("last_level_cache_bytes", cache.bytes());
        generator.writeNumberField("read_gbps", readGbps);
        generator.writeNumberField("copy_gbps", copyGbps);
        generator.writeEndObject();
    }
}
