package dev.kv8.micrometer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.Batch;
import dev.kv8.ByteSize;
import dev.kv8.CacheStats;
import dev.kv8.EvictionPolicyKind;
import dev.kv8.HostBlockStore;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.Sequence;
import dev.kv8.TierStats;
import dev.kv8.Tiers;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What a registry shows of a cache with a tier on the CPU backend. */
class KvCacheMetricsTest {
    private static final int BLOCK = 16;
    private final SimpleMeterRegistry registry = new SimpleMeterRegistry();
    private KvBackend backend;
    private KvCache cache;
    private Batch batch;

    @BeforeEach
    void open() {
        backend = KvBackend.open("cpu");
        cache = cache(6);
        batch = cache.batch();
    }

    private KvCache cache(int blocks) {
        HostBlockStore host = HostBlockStore.create(ByteSize.mib(8), EvictionPolicyKind.LRU);
        return KvCache.create(
                backend,
                KvCacheConfig.builder()
                        .layers(1)
                        .kvHeads(1)
                        .headSize(64)
                        .blocks(blocks)
                        .blockSize(BLOCK)
                        .modelId("metered")
                        .tiers(Tiers.builder().add(host).writtenOnFirstUse(true).build())
                        .build());
    }

    @AfterEach
    void close() {
        cache.close();
        backend.close();
    }

    private void serve(int seed, int tokens) {
        int[] prompt = new int[tokens];
        Arrays.setAll(prompt, i -> seed * 1000 + i);
        try (Sequence sequence = cache.open(prompt)) {
            sequence.awaitLoaded();
            assertThat(batch.add(sequence)).isTrue();
            batch.commit();
        }
        while (cache.poll()) {
            Thread.onSpinWait();
        }
    }

    private long gauge(String name, String... tags) {
        return (long) registry.get(name).tags(tags).gauge().value();
    }

    private long counter(String name, String... tags) {
        return (long) registry.get(name).tags(tags).functionCounter().count();
    }

    @Test
    void metersShowTheCountersOfTheCache() {
        new KvCacheMetrics(cache).bindTo(registry);
        try (Sequence held = cache.open(1, 2, 3)) {
            assertThat(batch.add(held)).isTrue();
            batch.commit();
            serve(1, 4 * BLOCK + 1);
            serve(1, 4 * BLOCK + 1);
            serve(2, 4 * BLOCK + 1);
            CacheStats stats = cache.stats();
            assertThat(gauge("kv8.cache.blocks", "state", "held")).isEqualTo(1);
            assertThat(gauge("kv8.cache.blocks", "state", "cached"))
                    .isEqualTo(stats.cachedBlocks())
                    .isPositive();
            assertThat(gauge("kv8.cache.blocks", "state", "free")).isEqualTo(5 - stats.cachedBlocks());
            assertThat(gauge("kv8.cache.pool.size")).isEqualTo(stats.poolBytes());
            assertThat(gauge("kv8.cache.tokens")).isEqualTo(3);
            assertThat(gauge("kv8.cache.sequences")).isEqualTo(1);
            assertThat(gauge("kv8.cache.saturated")).isZero();
            assertThat(counter("kv8.cache.allocations")).isEqualTo(stats.allocatedBlocks());
            assertThat(counter("kv8.cache.copies")).isEqualTo(stats.copiedBlocks());
            assertThat(counter("kv8.cache.evictions"))
                    .isEqualTo(stats.evictedBlocks())
                    .isPositive();
            assertThat(counter("kv8.cache.prefix.hits"))
                    .isEqualTo(stats.prefixHitTokens())
                    .isEqualTo(4 * BLOCK);
            assertThat(counter("kv8.cache.prefix.queries")).isEqualTo(3 + 3 * (4 * BLOCK + 1));
            assertThat(counter("kv8.cache.prefix.partial")).isEqualTo(stats.prefixPartialTokens());
            assertThat(gauge("kv8.cache.pinned")).isZero();
        }
    }

    @Test
    void metersShowTheCountersOfEachTier() {
        new KvCacheMetrics(cache).bindTo(registry);
        serve(1, 4 * BLOCK + 1);
        serve(2, 4 * BLOCK + 1);
        TierStats tier = cache.tierStats().get(0);
        assertThat(counter("kv8.tier.blocks", "tier", tier.name(), "result", "stored"))
                .isEqualTo(tier.stored())
                .isPositive();
        assertThat(counter("kv8.tier.blocks", "tier", tier.name(), "result", "absent"))
                .isEqualTo(tier.absent())
                .isPositive();
        assertThat(counter("kv8.tier.transferred", "tier", tier.name(), "direction", "store"))
                .isEqualTo(tier.storedBytes())
                .isPositive();
        assertThat(registry.find("kv8.tier.blocks").functionCounters()).hasSize(11);
        assertThat(gauge("kv8.tier.open", "tier", tier.name())).isZero();
        assertThat(gauge("kv8.tier.rate", "tier", tier.name())).isEqualTo((long) tier.bytesPerSecond());
    }

    @Test
    void tagsTellTwoCachesApartAndAClosedOneKeepsItsValues() {
        try (KvCache other = cache(9)) {
            new KvCacheMetrics(cache, Tags.of("cache", "a")).bindTo(registry);
            new KvCacheMetrics(other, Tags.of("cache", "b")).bindTo(registry);
            assertThat(gauge("kv8.cache.blocks", "cache", "a", "state", "free")).isEqualTo(6);
            assertThat(gauge("kv8.cache.blocks", "cache", "b", "state", "free")).isEqualTo(9);
        }
        assertThat(gauge("kv8.cache.blocks", "cache", "b", "state", "free")).isEqualTo(9);
    }
}
