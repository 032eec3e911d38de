package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What whole blocks sequences share that begin alike, how long it stays, and what makes it unreachable. */
class PrefixReuseTest {
    private static final int BLOCKS = 6;

    private final SilentBackend backend = new SilentBackend();
    private final DeviceMemory memory = backend.allocate(64 * 64 * 4L);
    private final HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, 64);
    private final KvCache cache = KvCache.create(backend, config().build());
    private final Batch batch = cache.batch();

    /** Six blocks of eight tokens. */
    private static KvCacheConfig.Builder config() {
        return OneLayer.config()
                .partialReuse(false)
                .eviction(EvictionPolicyKind.LRU)
                .blocks(BLOCKS);
    }

    @AfterEach
    void close() {
        OneLayer.close(cache, backend, memory);
    }

    private Sequence computed(int first, int count) {
        return compute(cache.open(tokens(first, count)));
    }

    private Sequence compute(Sequence sequence) {
        assertThat(batch.add(sequence)).isTrue();
        cache.write(0, batch, rows, rows);
        batch.commit();
        return sequence;
    }

    private int cached(int first, int count) {
        try (Sequence opened = cache.open(tokens(first, count))) {
            assertThat(opened.computedTokens()).isEqualTo(opened.cachedTokens());
            return opened.cachedTokens();
        }
    }

    @Test
    void aSequenceThatBeginsAlikeSharesFullBlocks() {
        Sequence first = computed(0, 20);
        Sequence second = cache.open(tokens(0, 22));
        assertThat(second.cachedTokens()).isEqualTo(16);
        assertThat(second.computedTokens()).isEqualTo(16);
        assertThat(second.pendingTokens()).isEqualTo(6);
        assertThat(second.table.block(1)).isEqualTo(first.table.block(1));
        CacheStats stats = cache.stats();
        assertThat(stats.usedBlocks()).isEqualTo(3);
        assertThat(stats.storedTokens()).isEqualTo(36);
        assertThat(stats.prefixQueryTokens()).isEqualTo(42);
        assertThat(stats.prefixHitTokens()).isEqualTo(16);
        compute(second);
        assertThat(cache.stats().copiedBlocks())
                .as("a full block is not written")
                .isZero();
    }

    @Test
    void oneTokenIsAlwaysLeftToCompute() {
        computed(0, 16);
        assertThat(cached(0, 16)).isEqualTo(8);
        assertThat(cached(0, 17)).isEqualTo(16);
        assertThat(cached(0, 8)).isZero();
        assertThat(cached(0, 0)).isZero();
    }

    @Test
    void aBlockBehindOtherTokensIsAnother() {
        computed(0, 16);
        int[] other = tokens(0, 17);
        other[3] = 99;
        Sequence sequence = cache.open(other);
        assertThat(sequence.cachedTokens()).isZero();
    }

    @Test
    void onlyCommittedTokensAreShared() {
        Sequence sequence = cache.open(tokens(0, 16));
        assertThat(batch.add(sequence)).isTrue();
        assertThat(cached(0, 17)).isZero();
        batch.clear();
        assertThat(cached(0, 17)).isZero();
        assertThat(batch.add(sequence, 12)).isTrue();
        batch.commit();
        assertThat(cached(0, 17)).isEqualTo(8);
        compute(sequence);
        assertThat(cached(0, 17)).isEqualTo(16);
    }

    @Test
    void drawnTokensAreSharedToo() {
        Sequence sequence = computed(0, 7);
        for (int token = 7; token < 10; token++) {
            sequence.append(token);
            compute(sequence);
        }
        assertThat(cached(0, 10)).isEqualTo(8);
    }

    @Test
    void aClosedSequencesBlocksStayUntilTheirSpaceIsNeeded() {
        computed(0, 20).close();
        CacheStats stats = cache.stats();
        assertThat(stats.freeBlocks()).isEqualTo(BLOCKS);
        assertThat(stats.cachedBlocks()).isEqualTo(2);
        assertThat(stats.usedBlocks()).isZero();
        Sequence other = computed(100, 8 * (BLOCKS - 2));
        assertThat(cache.stats().evictedBlocks()).isZero();
        other.close();
        assertThat(cached(0, 20)).isEqualTo(16);
        computed(200, 8 * BLOCKS);
        assertThat(cache.stats().evictedBlocks()).isEqualTo(BLOCKS);
        assertThat(cached(0, 20)).isZero();
    }

    @Test
    void theTailOfTheChainThatWasLeftAloneLongestGoesFirst() {
        computed(0, 16).close();
        computed(100, 16).close();
        assertThat(cached(0, 17)).as("used again").isEqualTo(16);
        Sequence three = computed(200, 24);
        assertThat(cached(100, 17)).isEqualTo(8);
        assertThat(cached(0, 17)).isEqualTo(16);
        three.append(1);
        compute(three);
        assertThat(cached(0, 17)).isEqualTo(16);
        assertThat(cached(100, 17)).isZero();
    }

    /** The default: what was of use again is kept through prompts that are of use once. */
    @Test
    void arcKeepsWhatWasUsedAgainAndLruDoesNot() {
        for (EvictionPolicyKind kind : EvictionPolicyKind.values()) {
            try (KvCache other = KvCache.create(backend, config().eviction(kind).build());
                    Batch step = other.batch()) {
                for (int use = 0; use < 2; use++) {
                    computeAndClose(other, step, tokens(0, 17));
                }
                for (int once = 1; once <= 2 * BLOCKS; once++) {
                    computeAndClose(other, step, tokens(1000 * once, 9));
                }
                try (Sequence again = other.open(tokens(0, 17))) {
                    assertThat(again.cachedTokens())
                            .as(kind.label())
                            .isEqualTo(kind == EvictionPolicyKind.ARC ? 16 : 0);
                }
                other.ledger().pool().checkInvariants();
            }
        }
        assertThat(config().build().eviction()).isEqualTo(EvictionPolicyKind.LRU);
        assertThat(KvCacheConfig.builder()
                        .layers(1)
                        .kvHeads(1)
                        .headSize(64)
                        .blocks(1)
                        .build()
                        .eviction())
                .isEqualTo(EvictionPolicyKind.ARC);
    }

    private void computeAndClose(KvCache other, Batch step, int[] prompt) {
        try (Sequence sequence = other.open(prompt)) {
            assertThat(step.add(sequence)).isTrue();
            step.commit();
        }
    }

    @Test
    void whatIsSharedIsNotEvicted() {
        computed(0, 16).close();
        Sequence second = cache.open(tokens(0, 17));
        assertThat(batch.add(cache.open(tokens(100, 8 * (BLOCKS - 2) + 1)))).isFalse();
        compute(cache.open(tokens(100, 8 * (BLOCKS - 2))));
        assertThat(batch.add(second)).isFalse();
        assertThat(second.computedTokens()).isEqualTo(16);
        assertThat(cache.stats().evictedBlocks()).isZero();
    }

    @Test
    void whoTruncatesIntoACachedBlockWritesACopy() {
        Sequence sequence = computed(0, 16);
        sequence.truncate(12);
        sequence.append(77);
        int shared = sequence.table.block(1);
        compute(sequence);
        assertThat(sequence.table.block(1)).isNotEqualTo(shared);
        assertThat(cache.stats().copiedBlocks()).isEqualTo(1);
        assertThat(cached(0, 17)).as("what was there before").isEqualTo(16);
        sequence.append(tokens(78, 3));
        compute(sequence);
        int[] changed = IntStream.concat(IntStream.range(0, 12), IntStream.of(77, 78, 79, 80, 0))
                .toArray();
        Sequence other = cache.open(changed);
        assertThat(other.cachedTokens()).as("and what came instead").isEqualTo(16);
    }

    @Test
    void aCachedBlockIsGivenUpWhenItsCopyHasNoRoom() {
        Sequence sequence = computed(0, 8 * BLOCKS);
        sequence.truncate(8 * BLOCKS - 1);
        sequence.append(77);
        assertThat(batch.add(sequence)).as("as without reuse").isTrue();
        assertThat(cache.stats().copiedBlocks()).isZero();
        batch.clear();
        assertThat(cached(0, 8 * BLOCKS)).isEqualTo(8 * (BLOCKS - 1));
    }

    @Test
    void aForksOwnBlocksAreSharedAsWell() {
        Sequence child = computed(0, 12).fork();
        assertThat(child.cachedTokens()).isZero();
        child.append(tokens(12, 5));
        compute(child);
        assertThat(cached(0, 17)).isEqualTo(16);
    }

    @Test
    void clearedPrefixesAreNotFoundAgainNorWhatTheirHoldersAdd() {
        Sequence held = computed(0, 16);
        computed(100, 16).close();
        cache.clearPrefixes();
        assertThat(cache.stats().cachedBlocks()).isZero();
        assertThat(cached(0, 17)).isZero();
        assertThat(cached(100, 17)).isZero();
        held.append(tokens(16, 9));
        compute(held);
        assertThat(cached(0, 25)).isZero();
        Sequence fork = held.fork();
        fork.append(tokens(25, 8));
        compute(fork);
        assertThat(cached(0, 33)).isZero();
        fork.close();
        held.truncate(0);
        held.append(tokens(0, 16));
        compute(held);
        assertThat(cached(0, 17)).as("computed anew").isEqualTo(16);
    }

    @Test
    void aStepThatTheClearingInterruptedIsNotShared() {
        Sequence sequence = cache.open(tokens(0, 16));
        assertThat(batch.add(sequence)).isTrue();
        cache.write(0, batch, rows, rows);
        cache.clearPrefixes();
        batch.commit();
        assertThat(cached(0, 17)).isZero();
    }

    @Test
    void newScalesMakeOldBlocksUnreachable() {
        LayerScales scales = new LayerScales(Side.tensor(0.5f), Side.tensor(0.25f));
        Sequence sequence = computed(0, 16);
        sequence.close();
        Sequence again = cache.open(tokens(0, 17));
        assertThat(again.cachedTokens()).isEqualTo(16);
        assertThatThrownBy(() -> cache.setScales(0, scales))
                .as("codes of the present scales are held")
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("Layer 0 holds tokens");
        assertThat(cached(0, 17)).as("nothing has changed").isEqualTo(16);
        again.close();
        cache.setScales(0, scales);
        assertThat(cache.stats().cachedBlocks()).isZero();
        assertThat(cached(0, 17)).isZero();
        computed(0, 16).close();
        assertThat(cached(0, 17)).isEqualTo(16);
        cache.setScales(0, LayerScales.NONE);
        assertThat(cached(0, 17)).as("back at the first scales").isZero();
    }

    @Test
    void withoutPrefixCachingNothingIsSharedOrCounted() {
        try (KvCache plain =
                        KvCache.create(backend, config().prefixCaching(false).build());
                Batch step = plain.batch()) {
            Sequence first = plain.open(tokens(0, 20));
            assertThat(step.add(first)).isTrue();
            step.commit();
            assertThat(plain.open(tokens(0, 20)).cachedTokens()).isZero();
            first.truncate(12);
            first.append(1);
            assertThat(step.add(first)).isTrue();
            assertThat(plain.stats().copiedBlocks()).isZero();
            step.commit();
            first.close();
            assertThat(plain.stats().cachedBlocks()).isZero();
            assertThat(plain.stats().prefixQueryTokens()).isZero();
        }
    }

    @Test
    void equalBlocksComputedAtTheSameTimeStayApartAndOneOfThemIsShared() {
        Sequence a = cache.open(tokens(0, 16));
        Sequence b = cache.open(tokens(0, 16));
        assertThat(batch.add(a)).isTrue();
        assertThat(batch.add(b)).isTrue();
        batch.commit();
        assertThat(a.table.block(0)).isNotEqualTo(b.table.block(0));
        b.close();
        assertThat(cache.stats().cachedBlocks()).isZero();
        a.close();
        assertThat(cache.stats().cachedBlocks()).isEqualTo(2);
        assertThat(cached(0, 17)).isEqualTo(16);
    }
}
