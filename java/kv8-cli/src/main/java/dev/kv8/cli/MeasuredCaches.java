package dev.kv8.cli;

import dev.kv8.KvCacheDType;
import dev.kv8.KvScales.Granularity;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The caches that a benchmark compares: what they store, how that is scaled, and a layer's heads. */
final class MeasuredCaches {
    @Mixin
    CacheDTypes dtypes;

    @Option(
            names = "--scales",
            paramLabel = "G",
            split = ",",
            defaultValue = "tensor",
            description = "Scales of FP8 caches: none, tensor, head, channel, dynamic (default: ${DEFAULT-VALUE}).")
    List<Granularity> granularities = new ArrayList<>();

    @Option(names = "--kv-heads", paramLabel = "N", defaultValue = "8", description = "Default: ${DEFAULT-VALUE}.")
    int kvHeads;

    @Option(names = "--head-size", paramLabel = "N", defaultValue = "128", description = "Default: ${DEFAULT-VALUE}.")
    int headSize;

    /** What a cache stores. */
    record Kind(KvCacheDType dtype, Granularity scales) {}

    /** Each FP8 dtype with each granularity, the others alone. */
    List<Kind> kinds() {
        List<Kind> kinds = new ArrayList<>();
        for (KvCacheDType dtype : dtypes.list) {
            for (Granularity scales : dtype.isFp8() ? granularities : List.of(Granularity.NONE)) {
                kinds.add(new Kind(dtype, scales));
            }
        }
        return kinds;
    }
}
