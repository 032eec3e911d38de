package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales.Granularity;
import java.io.IOException;
import java.util.List;
import java.util.Locale;
import java.util.function.Predicate;

/** One cache of one shape under measurement, with its times round by round. */
record DecodeRun(DecodeCase.Shape shape, KvCacheDType dtype, Granularity scales, long bytes, Timings timings) {
    double microseconds() {
        return timings.medianSeconds() * 1e6 / shape.layers();
    }

    /** Bytes of K, V and scales by token that are read in a second. */
    double gbps() {
        return bytes / timings.medianSeconds() * 1e-9;
    }

    /**
     * Whether it computes in float32 alone, "precise", or in products of 16-bit numbers with float32 sums, "fast". Of the CPU's
     * kernels the latter are those of one instruction set; a GPU's are, but for float32 queries or caches.
     */
    String path(DeviceInfo device) {
        boolean has16BitProducts =
                !device.backend().equals("cpu") || device.arch().equals("avx512_bf16");
        boolean is16Bit = shape.queryType() != DType.FLOAT32 && dtype.resolve(DType.BFLOAT16) != DType.FLOAT32;
        return has16BitProducts && is16Bit ? "fast" : "precise";
    }

    boolean isBf16() {
        return dtype.resolve(DType.BFLOAT16) == DType.BFLOAT16; // auto is
    }

    boolean isByTensor() {
        return dtype.isFp8() && scales == Granularity.TENSOR;
    }

    String scaleLabel() {
        return scales.name().toLowerCase(Locale.ROOT);
    }

    /** This one's time by that of the first run of the same shape which fits, or NaN where none does. */
    double relativeTo(List<DecodeRun> runs, Predicate<DecodeRun> fits) {
        return runs.stream()
                .filter(run -> run.shape.equals(shape) && fits.test(run))
                .findFirst()
                .map(run -> timings.relativeTo(run.timings))
                .orElse(Double.NaN);
    }

    /** What a chart calls the runs that differ from this one by context only. */
    String line() {
        return String.format(
                Locale.ROOT,
                "%s/%s, batch %d, %d/%d heads, q %s",
                dtype.label(),
                scaleLabel(),
                shape.batch(),
                shape.queryHeads(),
                shape.kvHeads(),
                shape.queryType().label());
    }

    void write(JsonGenerator generator, DeviceInfo device, String values, double readGbps, List<DecodeRun> runs)
            throws IOException {
        generator.writeStartObject();
        generator.writeStringField("backend", device.backend());
        generator.writeStringField("isa", device.arch());
        generator.writeStringField("path", path(device));
        generator.writeNumberField("batch", shape.batch());
        generator.writeNumberField("queries", shape.queries());
        generator.writeStringField("values", values);
        generator.writeNumberField("context", shape.context());
        generator.writeNumberField("layers", shape.layers());
        generator.writeNumberField("cache_bytes", bytes);
        generator.writeNumberField("q_heads", shape.queryHeads());
        generator.writeNumberField("kv_heads", shape.kvHeads());
        generator.writeNumberField("head_size", shape.headSize());
        generator.writeStringField("q_dtype", shape.queryType().label());
        generator.writeStringField("kv_cache_dtype", dtype.label());
        generator.writeStringField("scales", scaleLabel());
        generator.writeNumberField("threads", device.threads());
        generator.writeNumberField("us", microseconds());
        generator.writeNumberField("gbps", gbps());
        generator.writeNumberField("percent_of_read_bandwidth", 100 * gbps() / readGbps);
        Kv8Command.writeNumber(generator, "time_vs_bf16", relativeTo(runs, DecodeRun::isBf16));
        Kv8Command.writeNumber(generator, "time_vs_tensor", relativeTo(runs, DecodeRun::isByTensor));
        generator.writeEndObject();
    }
}
