package dev.kv8.micrometer;

import dev.kv8.CacheStats;
import dev.kv8.KvCache;
import dev.kv8.TierStats;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.List;
import java.util.function.ToDoubleFunction;

/**
 * The counters of a cache and its tiers as meters: {@code new KvCacheMetrics(cache).bindTo(registry)}.
 *
 * <p>Each meter reads {@link KvCache#stats} or {@link KvCache#tierStats} when it is asked, from whatever thread, and costs the cache
 * nothing. A registry refers weakly to the cache: one that was garbage-collected gives NaN in gauges, and counters stay as they were;
 * one that was closed keeps its last values. Several caches in one registry need tags that tell them apart.
 *
 * <table>
 * <caption>Meters</caption>
 * <tr><td>{@code kv8.cache.blocks}</td><td>gauge; {@code state} is free, cached or held, which add up to the pool</td></tr>
 * <tr><td>{@code kv8.cache.pool.size}</td><td>gauge, bytes</td></tr>
 * <tr><td>{@code kv8.cache.tokens}, {@code kv8.cache.sequences}</td><td>gauges: stored by open sequences; open</td></tr>
 * <tr><td>{@code kv8.cache.allocations}, {@code kv8.cache.copies}, {@code kv8.cache.evictions}</td><td>counters, blocks</td></tr>
 * <tr><td>{@code kv8.cache.prefix.queries}, {@code kv8.cache.prefix.hits}, {@code kv8.cache.prefix.partial}</td><td>counters, tokens: of
 * prompts; of these, not computed; of these, in copies of parts of blocks</td></tr>
 * <tr><td>{@code kv8.cache.pinned}</td><td>gauge, blocks of the held ones</td></tr>
 * <tr><td>{@code kv8.cache.saturated}</td><td>gauge, values, as {@link KvCache#saturation} last found</td></tr>
 * <tr><td>{@code kv8.tier.blocks}</td><td>counter; {@code tier} and {@code result}, named as in {@link TierStats}</td></tr>
 * <tr><td>{@code kv8.tier.transferred}</td><td>counter, bytes; {@code tier}, and {@code direction} is load or store</td></tr>
 * <tr><td>{@code kv8.tier.rate}</td><td>gauge, bytes per second of loads; {@code tier}; 0 when unknown</td></tr>
 * <tr><td>{@code kv8.tier.open}</td><td>gauge; {@code tier}; 1 while it is left alone because it fails</td></tr>
 * </table>
 */
public final class KvCacheMetrics implements MeterBinder {
    private final KvCache cache;
    private final Tags tags;

    public KvCacheMetrics(KvCache cache) {
        this(cache, Tags.empty());
    }

    /** With tags for all meters, such as the model's name. */
    public KvCacheMetrics(KvCache cache, Iterable<Tag> tags) {
        this.cache = cache;
        this.tags = Tags.of(tags);
    }

    @Override
    public void bindTo(MeterRegistry registry) {
        bindCache(registry);
        List<TierStats> tiers = cache.tierStats();
        for (int i = 0; i < tiers.size(); i++) {
            bindTier(registry, i, tags.and("tier", tiers.get(i).name()));
        }
    }

    private void bindCache(MeterRegistry registry) {
        String blocks = "kv8.cache.blocks";
        String what = "Blocks of the pool";
        gauge(registry, blocks, what, "blocks", tags.and("state", "free"), s -> s.freeBlocks() - s.cachedBlocks());
        gauge(registry, blocks, what, "blocks", tags.and("state", "cached"), CacheStats::cachedBlocks);
        gauge(registry, blocks, what, "blocks", tags.and("state", "held"), CacheStats::usedBlocks);
        gauge(registry, "kv8.cache.pinned", "Held blocks that a pin holds", "blocks", tags, CacheStats::pinnedBlocks);
        gauge(registry, "kv8.cache.pool.size", "Memory of the pool", "bytes", tags, CacheStats::poolBytes);
        gauge(registry, "kv8.cache.tokens", "Tokens of open sequences", "tokens", tags, CacheStats::storedTokens);
        gauge(registry, "kv8.cache.sequences", "Open sequences", "sequences", tags, CacheStats::openSequences);
        gauge(
                registry,
                "kv8.cache.saturated",
                "Values that the scales could not hold, as last counted",
                "values",
                tags,
                CacheStats::saturatedValues);
        counter(registry, "kv8.cache.allocations", "Blocks handed out", "blocks", tags, CacheStats::allocatedBlocks);
        counter(
                registry,
                "kv8.cache.copies",
                "Shared blocks copied to write",
                "blocks",
                tags,
                CacheStats::copiedBlocks);
        counter(
                registry,
                "kv8.cache.evictions",
                "Cached blocks whose room was needed",
                "blocks",
                tags,
                CacheStats::evictedBlocks);
        bindPrefixes(registry);
    }

    /** No counter of misses: a sequence that waits takes over later what was a miss when it was opened, and a counter must not fall. */
    private void bindPrefixes(MeterRegistry registry) {
        counter(
                registry,
                "kv8.cache.prefix.queries",
                "Tokens that sequences were opened with or asked for later",
                "tokens",
                tags,
                CacheStats::prefixQueryTokens);
        counter(
                registry,
                "kv8.cache.prefix.hits",
                "Of the queried tokens, those not computed",
                "tokens",
                tags,
                CacheStats::prefixHitTokens);
        counter(
                registry,
                "kv8.cache.prefix.partial",
                "Of the hits, tokens in copies of parts of blocks",
                "tokens",
                tags,
                CacheStats::prefixPartialTokens);
    }

    private void gauge(
            MeterRegistry registry,
            String name,
            String description,
            String unit,
            Tags ofMeter,
            ToDoubleFunction<CacheStats> value) {
        Gauge.builder(name, cache, c -> value.applyAsDouble(c.stats()))
                .description(description)
                .baseUnit(unit)
                .tags(ofMeter)
                .register(registry);
    }

    private void counter(
            MeterRegistry registry,
            String name,
            String description,
            String unit,
            Tags ofMeter,
            ToDoubleFunction<CacheStats> value) {
        count(registry, name, description, unit, ofMeter, c -> value.applyAsDouble(c.stats()));
    }

    private void count(
            MeterRegistry registry,
            String name,
            String description,
            String unit,
            Tags ofMeter,
            ToDoubleFunction<KvCache> value) {
        FunctionCounter.builder(name, cache, value)
                .description(description)
                .baseUnit(unit)
                .tags(ofMeter)
                .register(registry);
    }

    private void bindTier(MeterRegistry registry, int tier, Tags ofTier) {
        blocks(registry, tier, ofTier.and("result", "loaded"), TierStats::loaded);
        blocks(registry, tier, ofTier.and("result", "absent"), TierStats::absent);
        blocks(registry, tier, ofTier.and("result", "damaged"), TierStats::damaged);
        blocks(registry, tier, ofTier.and("result", "incompatible"), TierStats::incompatible);
        blocks(registry, tier, ofTier.and("result", "failed"), TierStats::failed);
        blocks(registry, tier, ofTier.and("result", "late"), TierStats::late);
        blocks(registry, tier, ofTier.and("result", "repeated"), TierStats::repeated);
        blocks(registry, tier, ofTier.and("result", "recomputed"), TierStats::recomputed);
        blocks(registry, tier, ofTier.and("result", "stored"), TierStats::stored);
        blocks(registry, tier, ofTier.and("result", "refused"), TierStats::refused);
        blocks(registry, tier, ofTier.and("result", "dropped"), TierStats::dropped);
        bytes(registry, tier, ofTier.and("direction", "load"), TierStats::loadedBytes);
        bytes(registry, tier, ofTier.and("direction", "store"), TierStats::storedBytes);
        Gauge.builder("kv8.tier.rate", cache, of(tier, TierStats::bytesPerSecond))
                .description("Bytes per second at which loads lately arrived")
                .baseUnit("bytes")
                .tags(ofTier)
                .register(registry);
        Gauge.builder("kv8.tier.open", cache, of(tier, s -> s.open() ? 1 : 0))
                .description("1 while the tier is left alone because it fails")
                .tags(ofTier)
                .register(registry);
    }

    private void blocks(MeterRegistry registry, int tier, Tags ofMeter, ToDoubleFunction<TierStats> value) {
        count(registry, "kv8.tier.blocks", "What became of a tier's blocks", "blocks", ofMeter, of(tier, value));
    }

    private void bytes(MeterRegistry registry, int tier, Tags ofMeter, ToDoubleFunction<TierStats> value) {
        count(
                registry,
                "kv8.tier.transferred",
                "Bytes moved between the cache and a tier",
                "bytes",
                ofMeter,
                of(tier, value));
    }

    /** Must not capture the cache, to which a registry refers weakly. */
    private static ToDoubleFunction<KvCache> of(int tier, ToDoubleFunction<TierStats> value) {
        return c -> value.applyAsDouble(c.tierStats().get(tier));
    }
}
