package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a flight recording says about a cache. */
class FlightRecordingTest {
    private static final int BLOCK = TieredCache.BLOCK_SIZE;

    @TempDir
    private Path folder;

    private List<RecordedEvent> stopped(Recording recording) throws IOException {
        recording.stop();
        Path file = folder.resolve("recording.jfr");
        recording.dump(file);
        return RecordingFile.readAllEvents(file);
    }

    private static List<RecordedEvent> of(List<RecordedEvent> events, String name) {
        return events.stream()
                .filter(event -> event.getEventType().getName().equals(name))
                .toList();
    }

    @Test
    void aRecordingHasTheCountersAndTheReservationsThatEvicted() throws IOException {
        try (Recording recording = new Recording();
                TieredCache test = new TieredCache(6, Tiers.NONE)) {
            recording.enable("dev.kv8.CacheStatistics").with("period", "endChunk");
            recording.enable("dev.kv8.Eviction").withoutThreshold();
            recording.start();
            for (int seed : List.of(1, 2, 2)) {
                test.serve(TieredCache.prompt(seed, 5 * BLOCK + 1));
            }
            CacheStats stats = test.cache.stats();
            List<RecordedEvent> events = stopped(recording);

            List<RecordedEvent> statistics = of(events, "dev.kv8.CacheStatistics").stream()
                    .filter(event -> event.getInt("totalBlocks") == 6)
                    .toList();
            assertThat(statistics).isNotEmpty();
            RecordedEvent last = statistics.get(statistics.size() - 1);
            assertThat(last.getString("model")).isEqualTo("test");
            assertThat(last.getInt("cache")).isPositive();
            assertThat(last.getInt("freeBlocks")).isEqualTo(stats.freeBlocks());
            assertThat(last.getInt("cachedBlocks")).isEqualTo(stats.cachedBlocks());
            assertThat(last.getLong("evictedBlocks")).isEqualTo(stats.evictedBlocks());
            assertThat(last.getLong("prefixQueryTokens")).isEqualTo(stats.prefixQueryTokens());
            assertThat(last.getLong("prefixHitTokens"))
                    .isEqualTo(stats.prefixHitTokens())
                    .isPositive();
            assertThat(last.getLong("poolBytes")).isEqualTo(stats.poolBytes());

            List<RecordedEvent> evictions = of(events, "dev.kv8.Eviction");
            assertThat(evictions).hasSize(1);
            assertThat((long) evictions.get(0).getInt("evictedBlocks"))
                    .isEqualTo(stats.evictedBlocks())
                    .isPositive();
            assertThat(evictions.get(0).getInt("tokens")).isEqualTo(5 * BLOCK + 1);
            assertThat(evictions.get(0).getDuration()).isPositive();
        }
    }

    @Test
    void aRecordingHasTheTransfersOfTiersAndTheyAddUp() throws IOException {
        HostBlockStore host =
                HostBlockStore.create(ByteSize.of(100L * TieredCache.frameBytes()), EvictionPolicyKind.LRU);
        Tiers tiers = TieredCache.tiers(host).writtenOnFirstUse(true).build();
        try (Recording recording = new Recording();
                TieredCache test = new TieredCache(6, tiers)) {
            recording.enable("dev.kv8.TierLoad").withoutThreshold();
            recording.enable("dev.kv8.TierStore").withoutThreshold();
            recording.start();
            for (int seed : List.of(1, 2, 1)) {
                test.serve(TieredCache.prompt(seed, 5 * BLOCK + 1));
                test.settle();
            }
            test.cache.close(); // waits for the tiers' threads
            TierStats tier = test.tier(0);
            List<RecordedEvent> events = stopped(recording);

            List<RecordedEvent> loads = of(events, "dev.kv8.TierLoad");
            assertThat(loads).hasSize(1);
            assertThat(loads.get(0).getString("tier")).isEqualTo(tier.name());
            assertThat((long) loads.get(0).getInt("movedBlocks"))
                    .isEqualTo(tier.loaded())
                    .isPositive();
            assertThat(loads.get(0).getLong("movedBytes")).isEqualTo(tier.loadedBytes());
            assertThat(loads.get(0).getBoolean("failed")).isFalse();
            assertThat(loads.get(0).getDuration()).isPositive();

            List<RecordedEvent> stores = of(events, "dev.kv8.TierStore");
            assertThat(sum(stores, "movedBlocks")).isEqualTo(tier.stored()).isPositive();
            assertThat(sum(stores, "movedBytes")).isEqualTo(tier.storedBytes());
        }
    }

    private static long sum(List<RecordedEvent> events, String field) {
        return events.stream().mapToLong(event -> event.getLong(field)).sum();
    }

    @Test
    void aClosedCacheIsInNoRecording() throws IOException {
        try (Recording recording = new Recording();
                TieredCache closed = new TieredCache(7, Tiers.NONE);
                TieredCache open = new TieredCache(9, Tiers.NONE)) {
            recording.enable("dev.kv8.CacheStatistics").with("period", "endChunk");
            recording.start();
            Sequence left = closed.cache.open(1);
            closed.cache.close();
            left.close();
            open.cache.open(1).close(); // a cache shows up at its first use
            List<Integer> caches = of(stopped(recording), "dev.kv8.CacheStatistics").stream()
                    .map(event -> event.getInt("totalBlocks"))
                    .toList();
            assertThat(caches).contains(9).doesNotContain(7);
        }
    }
}
