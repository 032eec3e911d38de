package dev.kv8.cli;

import dev.kv8.KvCacheDType;
import dev.kv8.llm.KvScaleCalculation;
import dev.kv8.llm.LLM;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import picocli.CommandLine.Option;

/** The cache dtypes that a benchmark of the engine compares, and an engine for each. */
final class ComparedEngines {
    @Option(
            names = "--kv-cache-dtype",
            paramLabel = "D",
            split = ",",
            defaultValue = "auto,fp8",
            converter = CacheDType.class,
            completionCandidates = CacheDType.class,
            description =
                    "One or more of ${COMPLETION-CANDIDATES}; FP8 with scales by tensor, found by a pass over random"
                            + " tokens (default: ${DEFAULT-VALUE}).")
    List<KvCacheDType> list = new ArrayList<>();

    /** In their order, each once. */
    Set<KvCacheDType> dtypes() {
        return new LinkedHashSet<>(list);
    }

    /** What {@code settings} build, with a cache of {@code dtype}. */
    static LLM open(LLM.Builder settings, KvCacheDType dtype) {
        settings.kvCacheDType(dtype);
        return (dtype.isFp8() ? settings.calculateKvScales(KvScaleCalculation.randomTokens()) : settings).build();
    }
}
