package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.EvictionPolicyKind;
import dev.kv8.PrefixReplay;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code kv8 replay}: what eviction policies and capacities are worth for a workload, without a model. */
@Command(
        name = "replay",
        description = {
            "Replay a trace of requests through the cache's eviction policies: hit rate by policy and capacity.",
            "A line of the trace is timestamp_ms, input_tokens, output_tokens and block_ids, separated by tabs;",
            "block_ids as in 0,46-57,2353: equal ids are equal prefixes up to that block. gzip is read too."
        },
        footer = {
            "",
            "Example:",
            "  kv8 replay mooncake-fast25-conversation.tsv.gz --capacity 1000,5000,20000 --plot hits.svg"
        })
final class ReplayCommand extends Kv8Command {
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();
    private static final int WARM_UP_ROUNDS = 3;
    /** As many as a cache remembers by default. */
    private static final int REMEMBERED_KEYS = 1 << 17;

    @Parameters(index = "0", paramLabel = "TRACE", description = "File of requests, plain or compressed by gzip.")
    Path trace;

    @Option(
            names = "--policy",
            paramLabel = "P",
            split = ",",
            defaultValue = "lru,arc",
            converter = EvictionPolicyName.class,
            completionCandidates = EvictionPolicyName.class,
            description = "One or more of ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    List<EvictionPolicyKind> policies = new ArrayList<>();

    @Option(
            names = "--capacity",
            paramLabel = "BLOCKS",
            split = ",",
            required = true,
            description = "Sizes of the cache in blocks of the trace, for instance 1000,5000.")
    List<Integer> capacities = new ArrayList<>();

    @Option(
            names = "--block-size",
            paramLabel = "TOKENS",
            description = "Tokens in a block of the trace: checks each line, and shows capacities in tokens.")
    @Nullable
    Integer blockSize;

    @Option(
            names = "--window",
            paramLabel = "BLOCKS",
            description =
                    "Half of the layers see a window of this many blocks: a block takes a page for those that see all"
                            + " keys, and one for the others while their window reaches it. Capacities are in pages then.")
    @Nullable
    Integer window;

    @Option(
            names = "--tier",
            paramLabel = "BLOCKS",
            description =
                    "Put a second tier of this many blocks below the cache: shows what both serve, and the writes.")
    @Nullable
    Integer tier;

    @Option(
            names = "--write-on",
            paramLabel = "USE",
            split = ",",
            defaultValue = "second",
            description =
                    "When a block is written to the tier, ${COMPLETION-CANDIDATES} or both (default: ${DEFAULT-VALUE}).")
    List<WriteOn> writeOn = new ArrayList<>();

    @Option(
            names = "--plot",
            paramLabel = "FILE",
            converter = PlotFile.Converter.class,
            description = "Draw the hit rate by capacity, as .svg or .png.")
    @Nullable
    PlotFile plot;

    /** The use of a block at which it goes to the tier. */
    enum WriteOn {
        first,
        second
    }

    /** A replay and the processor time that it took: what else the machine does is not in it. */
    private static final class Run {
        final PrefixReplay replay;
        final @Nullable WriteOn writeOn;
        long nanoseconds;

        Run(PrefixReplay replay) {
            this.replay = replay;
            writeOn = null;
        }

        /** Above a tier, which evicts the block idle for longest. */
        Run(EvictionPolicyKind policy, int capacity, int tier, WriteOn writeOn) {
            boolean first = writeOn == WriteOn.first;
            replay = PrefixReplay.withTier(policy, capacity, EvictionPolicyKind.LRU, tier, REMEMBERED_KEYS, first);
            this.writeOn = writeOn;
        }

        double totalHitRate() {
            return (double) (replay.hits() + replay.tierHits()) / replay.references();
        }

        double writtenShare() {
            return (double) replay.tierWrites() / replay.references();
        }

        double nanosecondsPerReference() {
            return (double) nanoseconds / replay.references();
        }
    }

    @Override
    public Integer call() throws IOException {
        if (blockSize != null && blockSize < 1) {
            throw wrongUsage("--block-size is " + blockSize + "; a block has at least one token.");
        }
        for (int capacity : capacities) {
            if (capacity < 1 || capacity > PrefixReplay.MAX_CAPACITY) {
                throw wrongUsage(
                        "--capacity is " + capacity + "; it must be 1 to " + PrefixReplay.MAX_CAPACITY + " blocks.");
            }
        }
        if (tier != null && (tier < 1 || tier > PrefixReplay.MAX_CAPACITY)) {
            throw wrongUsage("--tier is " + tier + "; it must be 1 to " + PrefixReplay.MAX_CAPACITY + " blocks.");
        }
        if (window != null) {
            checkWindow(window);
        }
        List<Run> runs = replay();
        List<PrefixReplay> replays = runs.stream().map(run -> run.replay).toList();
        if (plot != null) {
            plot.write(ReplayChart.of("Prefix hits: " + trace.getFileName(), replays));
        }
        if (json) {
            printJson(generator -> write(generator, runs));
        } else {
            print(runs);
        }
        return 0;
    }

    /** How many tokens are in a unit of the capacity; null when it is not known, as of a page, which has not all of their layers. */
    private @Nullable Integer tokensOfCapacity() {
        return window == null ? blockSize : null;
    }

    private void checkWindow(int blocks) {
        if (blocks < 1 || blocks > PrefixReplay.MAX_CAPACITY) {
            throw wrongUsage("--window is " + blocks + "; it must be 1 to " + PrefixReplay.MAX_CAPACITY + " blocks.");
        }
        if (tier != null) {
            throw wrongUsage("--window and --tier can't be replayed together; give one of them.");
        }
        if (capacities.contains(1)) {
            throw wrongUsage("--capacity is 1; with --window it must be 2 pages or more.");
        }
    }

    /** Reads the trace once, part by part, and passes each part through every run. */
    private List<Run> replay() throws IOException {
        try (RequestTrace requests = new RequestTrace(trace, blockSize == null ? 0 : blockSize);
                ProgressLine progress = new ProgressLine(err(), "replay")) {
            List<Run> runs = List.of();
            TracePart part = new TracePart();
            while (requests.read(part)) {
                if (runs.isEmpty()) {
                    warmUp(requests, part);
                    runs = runs();
                }
                for (Run run : runs) {
                    place(requests, part, run);
                }
                progress.update(requests.position(), requests.bytes());
            }
            if (runs.isEmpty()) {
                throw new IOException(trace + " has no request.");
            }
            return runs;
        }
    }

    /** So that the code of all policies is compiled before the first run's time is taken. */
    private void warmUp(RequestTrace requests, TracePart part) throws IOException {
        for (int round = 0; round < WARM_UP_ROUNDS; round++) {
            for (EvictionPolicyKind policy : policies) {
                place(requests, part, run(policy, capacities.get(0)));
            }
        }
    }

    private List<Run> runs() {
        Set<Integer> sizes = new LinkedHashSet<>(capacities);
        return new LinkedHashSet<>(policies)
                .stream()
                        .flatMap(policy -> sizes.stream().flatMap(size -> runs(policy, size)))
                        .toList();
    }

    private Stream<Run> runs(EvictionPolicyKind policy, int capacity) {
        Integer below = tier;
        return below == null
                ? Stream.of(run(policy, capacity))
                : new LinkedHashSet<>(writeOn).stream().map(use -> new Run(policy, capacity, below, use));
    }

    /** Without a tier. */
    private Run run(EvictionPolicyKind policy, int capacity) {
        return new Run(
                window == null
                        ? new PrefixReplay(policy, capacity)
                        : PrefixReplay.withWindow(policy, capacity, window));
    }

    private static void place(RequestTrace requests, TracePart part, Run run) throws IOException {
        int request = 0;
        long start = THREADS.getCurrentThreadCpuTime();
        try {
            for (; request < part.requests(); request++) {
                run.replay.request(part.chains(), part.begin(request), part.end(request));
            }
        } catch (IllegalArgumentException e) {
            throw requests.malformed(part.line(request), String.valueOf(e.getMessage()));
        }
        run.nanoseconds += THREADS.getCurrentThreadCpuTime() - start;
    }

    private void print(List<Run> runs) {
        PrefixReplay any = runs.get(0).replay;
        out().println(trace.getFileName() + ": " + any.requests() + " requests, " + any.references() + " blocks");
        out().println();
        List<String> header = new ArrayList<>(List.of("policy", "capacity"));
        Integer unit = tokensOfCapacity();
        if (unit != null) {
            header.add("tokens");
        }
        header.addAll(List.of("hits", "hit rate", "evictions", "ns/reference"));
        if (tier != null) {
            header.addAll(List.of("tier", "write on", "tier hits", "with tier", "written"));
        }
        TextTable table = new TextTable(header.toArray(String[]::new));
        for (Run run : runs) {
            PrefixReplay replay = run.replay;
            List<String> row = new ArrayList<>(List.of(replay.policy().label(), Integer.toString(replay.capacity())));
            if (unit != null) {
                row.add(Long.toString((long) replay.capacity() * unit));
            }
            row.add(Long.toString(replay.hits()));
            row.add(Numbers.fixed(100 * replay.hitRate(), 2) + " %");
            row.add(Long.toString(replay.evictions()));
            row.add(Numbers.fixed(run.nanosecondsPerReference(), 1));
            if (tier != null) {
                row.add(tier.toString());
                row.add(String.valueOf(run.writeOn));
                row.add(Long.toString(replay.tierHits()));
                row.add(Numbers.fixed(100 * run.totalHitRate(), 2) + " %");
                row.add(Numbers.fixed(100 * run.writtenShare(), 2) + " %");
            }
            table.row(row);
        }
        table.print(out());
    }

    private void write(JsonGenerator generator, List<Run> runs) throws IOException {
        generator.writeStringField("trace", trace.toString());
        generator.writeNumberField("requests", runs.get(0).replay.requests());
        if (blockSize != null) {
            generator.writeNumberField("block_size", blockSize);
        }
        if (window != null) {
            generator.writeNumberField("window", window);
        }
        generator.writeArrayFieldStart("runs");
        for (Run run : runs) {
            PrefixReplay replay = run.replay;
            generator.writeStartObject();
            generator.writeStringField("policy", replay.policy().label());
            generator.writeNumberField("capacity", replay.capacity());
            Integer unit = tokensOfCapacity();
            if (unit != null) {
                generator.writeNumberField("capacity_tokens", (long) replay.capacity() * unit);
            }
            generator.writeNumberField("hits", replay.hits());
            generator.writeNumberField("references", replay.references());
            generator.writeNumberField("hit_rate", replay.hitRate());
            generator.writeNumberField("evictions", replay.evictions());
            generator.writeNumberField("ns_per_reference", run.nanosecondsPerReference());
            if (tier != null) {
                generator.writeNumberField("tier_capacity", tier);
                generator.writeStringField("write_on", String.valueOf(run.writeOn));
                generator.writeNumberField("tier_hits", replay.tierHits());
                generator.writeNumberField("total_hit_rate", run.totalHitRate());
                generator.writeNumberField("tier_writes", replay.tierWrites());
                generator.writeNumberField("written_share", run.writtenShare());
            }
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }
}
