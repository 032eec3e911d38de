package dev.kv8;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.LongStream;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestReporter;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** An hour of real requests through a {@link KvCache}'s own door, and what {@link PrefixReplay} says of them. */
class ConversationTraceTest {
    private static final Path TRACE = Path.of("..", "..", "tests", "traces", "mooncake-fast25-conversation.tsv.gz");
    private static final int BLOCK = 16;

    private static final List<int[]> REQUESTS = new ArrayList<>();

    /** Of a replay: blocks by where they came from, and what was written to the tier. */
    private record Served(long cache, long tier, long written) {}

    @BeforeAll
    static void read() throws IOException {
        try (BufferedReader lines =
                new BufferedReader(new InputStreamReader(new GZIPInputStream(Files.newInputStream(TRACE)), UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (!line.startsWith("#")) {
                    REQUESTS.add(blocks(line.split("\t")[3]));
                }
            }
        }
        assertThat(REQUESTS.stream().mapToLong(blocks -> blocks.length).sum()).isEqualTo(288_500);
    }

    private static int[] blocks(String ranges) {
        LongStream ids = LongStream.empty();
        for (String range : ranges.split(",")) {
            String[] ends = range.split("-");
            ids = LongStream.concat(
                    ids, LongStream.rangeClosed(Long.parseLong(ends[0]), Long.parseLong(ends[ends.length - 1])));
        }
        return ids.mapToInt(Math::toIntExact).toArray();
    }

    @ParameterizedTest
    @CsvSource({
        "1000, 12847",
        "2000, 15665",
        "5000, 32260",
        "10000, 61046",
        "20000, 83035",
        "50000, 102290",
        "100000, 104924"
    })
    void aCacheWithLruServesExactlyWhatIsPublishedWithTheTrace(int capacity, long hits, TestReporter reporter) {
        long start = System.nanoTime();
        assertThat(served(REQUESTS, EvictionPolicyKind.LRU, capacity, Tiers.NONE)
                        .cache())
                .isEqualTo(hits);
        reporter.publishEntry(
                capacity + " blocks", (System.nanoTime() - start) / 1_000_000 + " ms for the whole trace");
    }

    /** To 0.04 points: other keys fill the lines of {@link FingerprintBuckets} otherwise, and other evicted ones are forgotten before their time. */
    @ParameterizedTest
    @CsvSource({"1000, 7.3", "5000, 14.0", "10000, 22.3", "20000, 29.6"})
    void aCacheWithArcServesMoreAndWhatTheReplaySays(int capacity, double percent) {
        long hits =
                served(REQUESTS, EvictionPolicyKind.ARC, capacity, Tiers.NONE).cache();
        assertThat(hits).isGreaterThanOrEqualTo((long) (percent / 100 * 288_500));
        PrefixReplay replay = new PrefixReplay(EvictionPolicyKind.ARC, capacity);
        REQUESTS.forEach(request -> replay.request(keys(request), 0, request.length));
        assertThat(replay.hits()).isCloseTo(hits, within(100L));
    }

    /** Of a part of the trace, because every request waits for threads. The whole: ReplayCommandTest. */
    @ParameterizedTest
    @ValueSource(ints = {2000, 4000, 8000})
    void aTierThatIsWrittenOnTheSecondUseServesWhatTheReplaySays(int tier) {
        List<int[]> requests = REQUESTS.subList(0, 3000);
        Served served = servedWithTier(requests, tier);
        PrefixReplay replay =
                PrefixReplay.withTier(EvictionPolicyKind.LRU, 1000, EvictionPolicyKind.LRU, tier, 1 << 17, false);
        requests.forEach(request -> replay.request(keys(request), 0, request.length));
        assertThat(served).isEqualTo(new Served(replay.hits(), replay.tierHits(), replay.tierWrites()));
        assertThat(served.tier()).isPositive();
    }

    private static long[] keys(int[] request) {
        return Arrays.stream(request).asLongStream().toArray();
    }

    private static Served servedWithTier(List<int[]> requests, int tier) {
        try (HostBlockStore host = HostBlockStore.create(ByteSize.of((long) tier * (BlockFrame.HEADER + 2048)))) {
            Tiers tiers = TieredCache.tiers(host).build();
            return served(requests, EvictionPolicyKind.LRU, 1000, tiers);
        }
    }

    /** Every request is opened, computed and closed before the next one; what is under way to the tier gets there first. */
    private static Served served(List<int[]> requests, EvictionPolicyKind policy, int capacity, Tiers tiers) {
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(1)
                .kvHeads(1)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blockSize(BLOCK)
                .blocks(capacity + 1) // one for the token behind each prompt, which is never cached
                .eviction(policy)
                .partialReuse(false)
                .modelId("trace")
                .tiers(tiers)
                .build();
        long fromCache = 0;
        long fromTier = 0;
        try (SilentBackend backend = new SilentBackend();
                KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch()) {
            for (int[] request : requests) {
                try (Sequence sequence = cache.open(tokens(request, capacity))) {
                    int found = sequence.cachedTokens() / BLOCK;
                    sequence.awaitLoaded();
                    fromCache += found;
                    fromTier += sequence.cachedTokens() / BLOCK - found;
                    assertThat(batch.add(sequence)).isTrue();
                    batch.commit();
                }
                while (cache.poll()) {
                    Thread.onSpinWait();
                }
            }
            List<TierStats> stats = cache.tierStats();
            assertThat(stats).allMatch(tier -> tier.dropped() + tier.late() + tier.damaged() + tier.failed() == 0);
            return new Served(
                    fromCache,
                    fromTier,
                    stats.stream().mapToLong(TierStats::stored).sum());
        }
    }

    /** Blocks that begin with the id of theirs in the trace, and one token behind them. */
    private static int[] tokens(int[] request, int capacity) {
        int blocks = Math.min(request.length, capacity);
        int[] tokens = new int[blocks * BLOCK + 1];
        for (int i = 0; i < blocks; i++) {
            tokens[i * BLOCK] = request[i];
        }
        return tokens;
    }
}
