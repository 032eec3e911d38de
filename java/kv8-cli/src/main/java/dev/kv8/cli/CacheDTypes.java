package dev.kv8.cli;

import dev.kv8.KvCacheDType;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Option;

/** The cache dtypes that a command compares. */
final class CacheDTypes {
    @Option(
            names = "--kv-cache-dtype",
            paramLabel = "D",
            split = ",",
            defaultValue = "auto,fp8",
            converter = CacheDType.class,
            completionCandidates = CacheDType.class,
            description = "One or more of ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    List<KvCacheDType> list = new ArrayList<>();
}
