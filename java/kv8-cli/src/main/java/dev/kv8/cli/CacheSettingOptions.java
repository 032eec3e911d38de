package dev.kv8.cli;

import dev.kv8.KvCacheDType;
import dev.kv8.llm.CacheSetting;
import dev.kv8.llm.ScaleMode;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import picocli.CommandLine.Option;

/** The cache settings that a command compares: every dtype with every kind of scales. */
final class CacheSettingOptions {
    private static final String ALL = "all";
    private static final List<KvCacheDType> ALL_DTYPES = List.of(
            KvCacheDType.AUTO,
            KvCacheDType.BFLOAT16,
            KvCacheDType.FLOAT16,
            KvCacheDType.FP8_E4M3,
            KvCacheDType.FP8_E5M2);
    private static final List<ScaleMode> ALL_SCALES =
            List.of(ScaleMode.NONE, ScaleMode.TENSOR, ScaleMode.HEAD, ScaleMode.CHANNEL, ScaleMode.DYNAMIC);

    @Option(
            names = "--kv-cache-dtype",
            paramLabel = "D",
            split = ",",
            defaultValue = "auto,fp8",
            completionCandidates = CacheDType.class,
            description = "One or more of ${COMPLETION-CANDIDATES}; K's and V's as D:D where they differ; or all,"
                    + " for auto and each 16-bit and FP8 type (default: ${DEFAULT-VALUE}).")
    List<String> dtypes = new ArrayList<>();

    @Option(
            names = "--scales",
            paramLabel = "G",
            split = ",",
            defaultValue = "tensor",
            completionCandidates = ScaleModes.class,
            description = "One or more of ${COMPLETION-CANDIDATES}; or all, for none to dynamic"
                    + " (default: ${DEFAULT-VALUE}).")
    List<String> scales = new ArrayList<>();

    /**
     * Each dtype with each kind of scales; a dtype without scales once.
     *
     * @throws IllegalArgumentException naming what is not allowed
     */
    Set<CacheSetting> settings() {
        Set<CacheSetting> settings = new LinkedHashSet<>();
        for (CacheSetting dtype : dtypes()) {
            modes().forEach(mode -> settings.add(dtype.withScales(mode)));
        }
        return settings;
    }

    private List<CacheSetting> dtypes() {
        List<CacheSetting> result = new ArrayList<>();
        for (String name : dtypes) {
            if (name.equals(ALL)) {
                ALL_DTYPES.forEach(dtype -> result.add(CacheSetting.of(dtype, ScaleMode.NONE)));
            } else {
                result.add(CacheSetting.parse(name));
            }
        }
        return result;
    }

    private List<ScaleMode> modes() {
        List<ScaleMode> result = new ArrayList<>();
        for (String name : scales) {
            if (name.equals(ALL)) {
                result.addAll(ALL_SCALES);
            } else {
                result.add(ScaleMode.parse(name));
            }
        }
        return result;
    }
}
