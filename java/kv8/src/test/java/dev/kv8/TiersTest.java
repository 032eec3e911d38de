package dev.kv8;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a cache does with a tier that works: what goes there, when, and how it comes back. */
class TiersTest {
    private static final int[] PROMPT = TieredCache.prompt(1, 41); // five whole blocks, and one token to compute

    private static HostBlockStore host(int blocks) {
        return HostBlockStore.create(ByteSize.of((long) blocks * TieredCache.frameBytes()), EvictionPolicyKind.LRU);
    }

    /** Tiers that have the blocks of {@code prompt}. */
    private static Tiers having(int[] prompt) {
        Tiers tiers = TieredCache.tiers(host(100)).writtenOnFirstUse(true).build();
        try (TieredCache test = new TieredCache(40, tiers)) {
            test.serve(prompt);
            test.settle();
        }
        return tiers;
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void aBlockComesBackFromTheTierBitForBit(boolean hostAccessible) {
        HostBlockStore host = host(100);
        KvCacheConfig config =
                TieredCache.config(12, TieredCache.tiers(host).build()).build();
        try (TieredCache test = new TieredCache(hostAccessible, config)) {
            assertThat(test.serve(PROMPT)).isZero();
            assertThat(test.serve(PROMPT)).as("from the pool").isEqualTo(40);
            test.settle();
            assertThat(host.blocks()).isEqualTo(5);
            test.evictAll();
            assertThat(test.serve(PROMPT)).as("from the tier").isEqualTo(40);
            assertThat(test.tier(0).loaded()).isEqualTo(5);
            assertThat(test.serve(PROMPT)).as("from the pool again").isEqualTo(40);
            assertThat(test.tier(0).loaded()).isEqualTo(5);
            test.checkIdle();
        }
    }

    @Test
    void blocksGoToTheTierOnTheirSecondUseOnly() {
        HostBlockStore host = host(100);
        try (TieredCache test = new TieredCache(30, TieredCache.tiers(host).build())) {
            test.serve(PROMPT);
            test.settle();
            assertThat(host.blocks()).isZero();
            test.serve(TieredCache.prompt(1, 25)); // shares three blocks
            test.settle();
            assertThat(host.blocks()).isEqualTo(3);
            test.serve(PROMPT);
            test.settle();
            assertThat(host.blocks()).isEqualTo(5);
            assertThat(test.tier(0).stored()).as("each once").isEqualTo(5);
        }
    }

    @Test
    void aBlockThatIsComputedAgainGoesToTheTier() {
        HostBlockStore host = host(100);
        try (TieredCache test = new TieredCache(12, TieredCache.tiers(host).build())) {
            test.serve(PROMPT);
            test.evictAll();
            assertThat(host.blocks()).isZero();
            test.serve(PROMPT);
            test.settle();
            assertThat(host.blocks()).isEqualTo(5);
        }
    }

    @Test
    void anotherCacheFindsWhatThisOneStored() {
        Tiers tiers = having(PROMPT);
        try (TieredCache other = new TieredCache(12, tiers)) {
            assertThat(other.serve(PROMPT)).isEqualTo(40);
        }
    }

    @Test
    void whatASlowerTierHasIsGivenToTheFasterOne() {
        HostBlockStore fast = host(100);
        NamedStore slow = new NamedStore("slow", host(100));
        try (TieredCache test = new TieredCache(
                12, TieredCache.tiers(slow).writtenOnFirstUse(true).build())) {
            test.serve(PROMPT);
            test.settle();
        }
        try (TieredCache test =
                new TieredCache(12, TieredCache.tiers(fast, slow).build())) {
            assertThat(test.serve(PROMPT)).isEqualTo(40);
            test.settle();
            assertThat(fast.blocks()).isEqualTo(5);
            assertThat(test.tier(1).stored())
                    .as("written back to where it came from")
                    .isZero();
        }
    }

    @Test
    void oneTierHasTheHeadAndAnotherTheTail() {
        HostBlockStore fast = host(3);
        NamedStore slow = new NamedStore("slow", host(100));
        Tiers tiers = TieredCache.tiers(fast, slow).writtenOnFirstUse(true).build();
        try (TieredCache test = new TieredCache(12, tiers)) {
            test.serve(TieredCache.prompt(1, 25));
            test.settle();
        }
        try (TieredCache test = new TieredCache(
                12, TieredCache.tiers(slow).writtenOnFirstUse(true).build())) {
            test.serve(PROMPT);
            test.settle();
        }
        try (TieredCache test = new TieredCache(12, tiers)) {
            assertThat(test.serve(PROMPT)).isEqualTo(40);
            assertThat(test.tier(0).loaded()).isEqualTo(3);
            assertThat(test.tier(1).loaded()).isEqualTo(2);
        }
    }

    @Test
    void sequencesOfOnePrefixWaitForOneLoad() {
        Tiers tiers = having(PROMPT);
        try (TieredCache test = new TieredCache(40, tiers);
                Sequence shorter = test.cache.open(TieredCache.prompt(1, 25));
                Sequence whole = test.cache.open(PROMPT)) {
            TieredCache.await(() -> !shorter.isLoading() && !whole.isLoading());
            assertThat(shorter.cachedTokens()).isEqualTo(24);
            assertThat(whole.cachedTokens())
                    .as("the rest of a longer prompt is fetched too")
                    .isEqualTo(40);
            assertThat(test.tier(0).loaded()).as("each once").isEqualTo(5);
            test.checkContent(shorter);
            test.checkContent(whole);
        }
    }

    /** Whoever began the load may be gone when it ends, and the rest has no deadline of its own. */
    @Test
    void theRestOfALongerPromptComesUntilTheSameDeadlineWhoeverBegan() {
        Tiers tiers = having(PROMPT);
        try (TieredCache test = new TieredCache(40, tiers)) {
            Sequence shorter = test.cache.open(TieredCache.prompt(1, 25));
            Sequence whole = test.cache.open(PROMPT);
            PrefixLoad first = requireNonNull(whole.loading);
            shorter.close();
            TieredCache.await(() -> {
                test.cache.poll();
                return whole.loading != first;
            });
            assertThat(requireNonNull(whole.loading).deadlineNanos()).isEqualTo(first.deadlineNanos());
            TieredCache.await(() -> !whole.isLoading());
            assertThat(whole.cachedTokens()).isEqualTo(40);
            assertThat(test.tier(0).loaded()).as("each once").isEqualTo(5);
            test.checkContent(whole);
            whole.close();
        }
    }

    @Test
    void whatIsAbsentIsAskedForOnceHoweverManyWait() {
        Tiers tiers = having(TieredCache.prompt(1, 25));
        try (TieredCache test = new TieredCache(40, tiers);
                Sequence first = test.cache.open(PROMPT);
                Sequence second = test.cache.open(PROMPT);
                Sequence longer = test.cache.open(TieredCache.prompt(1, 57))) {
            TieredCache.await(() -> !first.isLoading() && !second.isLoading() && !longer.isLoading());
            assertThat(second.cachedTokens()).isEqualTo(24);
            assertThat(longer.cachedTokens()).isEqualTo(24);
            assertThat(test.tier(0).absent()).as("blocks of the first").isEqualTo(2);
        }
    }

    @Test
    void newWeightsMakeEverythingStoredUnreachable() {
        HostBlockStore host = host(100);
        Tiers tiers = TieredCache.tiers(host).writtenOnFirstUse(true).build();
        try (TieredCache test = new TieredCache(40, tiers)) {
            test.serve(PROMPT);
            test.settle();
            test.cache.clearPrefixes();
            assertThat(test.serve(PROMPT)).isZero();
            test.settle();
            test.cache.clearPrefixes("step 2");
            assertThat(test.serve(PROMPT)).isZero();
            test.settle();
            assertThat(test.tier(0).loaded()).isZero();
            try (TieredCache other = new TieredCache(40, tiers)) {
                other.cache.clearPrefixes("step 2");
                assertThat(other.serve(PROMPT)).as("the same weights by name").isEqualTo(40);
                other.cache.clearPrefixes("");
                assertThat(other.serve(PROMPT)).as("the model's own weights").isEqualTo(40);
            }
        }
    }

    @Test
    void newScalesMakeEverythingStoredUnreachable() {
        HostBlockStore host = host(100);
        Tiers tiers = TieredCache.tiers(host).writtenOnFirstUse(true).build();
        try (TieredCache test = new TieredCache(40, tiers)) {
            test.serve(PROMPT);
            test.settle();
            test.cache.setScales(0, new KvScales.LayerScales(KvScales.Side.tensor(0.5f), KvScales.Side.NONE));
            try (Sequence sequence = test.cache.open(PROMPT)) {
                sequence.awaitLoaded();
                assertThat(sequence.cachedTokens()).isZero();
            }
            assertThat(test.tier(0).loaded()).isZero();
        }
    }

    @Test
    void scalesCantChangeUnderALoadedSequence() {
        Tiers tiers = having(PROMPT);
        try (TieredCache test = new TieredCache(40, tiers);
                Sequence sequence = test.cache.open(PROMPT)) {
            sequence.awaitLoaded();
            KvScales.LayerScales scales = test.cache.scales().layer(0);
            assertThatThrownBy(() -> test.cache.setScales(0, scales))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("present scales");
        }
    }

    @Test
    void otherScalesTypesWindowsModelsAndSaltsFindNothing() {
        Tiers tiers = having(PROMPT);
        KvScales.Builder scales = KvScales.builder(2, TokenContent.KV_HEADS, TokenContent.HEAD_SIZE)
                .layer(0, new KvScales.LayerScales(KvScales.Side.tensor(0.5f), KvScales.Side.NONE))
                .layer(1, new KvScales.LayerScales(KvScales.Side.DYNAMIC, KvScales.Side.NONE));
        for (KvCacheConfig.Builder other : new KvCacheConfig.Builder[] {
            TieredCache.config(40, tiers).salt("tenant"),
            TieredCache.config(40, tiers).modelId("another"),
            TieredCache.config(40, tiers).window(16),
            TieredCache.config(40, tiers).scales(scales.build()),
            TieredCache.config(40, tiers).kDtype(KvCacheDType.FP8_E5M2)
        }) {
            try (TieredCache test = new TieredCache(true, other.build());
                    Sequence sequence = test.cache.open(PROMPT)) {
                sequence.awaitLoaded();
                assertThat(sequence.cachedTokens()).isZero();
                assertThat(test.tier(0).loaded()).isZero();
            }
        }
    }

    @Test
    void aFullPoolTakesWhatFits() {
        Tiers tiers = having(PROMPT);
        try (TieredCache test = new TieredCache(12, tiers);
                Sequence large = test.cache.open(TieredCache.prompt(7, 72))) {
            test.compute(large);
            Sequence sequence = test.cache.open(PROMPT);
            sequence.awaitLoaded();
            assertThat(sequence.cachedTokens()).as("three blocks were left").isEqualTo(24);
            test.checkContent(sequence);
            test.checkContent(large);
            sequence.close();
            test.settle();
            test.awaitFrames();
        }
    }

    @Test
    void addingALoadingSequenceComputesItAtOnce() {
        SilentStore silent = new SilentStore();
        try (TieredCache test = new TieredCache(12, TieredCache.tiers(silent).build());
                Sequence sequence = test.cache.open(PROMPT)) {
            assertThat(sequence.isLoading()).isTrue();
            test.compute(sequence);
            assertThat(sequence.isLoading()).isFalse();
            test.checkContent(sequence);
            silent.failAll();
        }
    }

    @Test
    void aLoadingSequenceThatDoesNotFitGoesOnLoading() {
        SilentStore silent = new SilentStore();
        Tiers tiers = TieredCache.tiers(silent).build();
        try (TieredCache test = new TieredCache(12, tiers);
                Sequence large = test.cache.open(TieredCache.prompt(7, 72));
                Batch batch = test.cache.batch()) {
            test.compute(large);
            Sequence sequence = test.cache.open(PROMPT);
            assertThat(batch.add(sequence)).as("three blocks are left").isFalse();
            assertThat(sequence.isLoading()).isTrue();
            assertThat(batch.add(sequence, 24)).isTrue();
            assertThat(sequence.isLoading()).isFalse();
            batch.clear();
            sequence.close();
            silent.failAll();
        }
    }

    @Test
    void aConfigurationWithTiersIsCheckedAsAWhole() {
        HostBlockStore host = host(4);
        assertThatThrownBy(
                        () -> TieredCache.config(4, Tiers.of(host)).modelId("").build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("modelId");
        assertThatThrownBy(() -> TieredCache.config(4, Tiers.of(host))
                        .prefixCaching(false)
                        .build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("prefixCaching");
        assertThatThrownBy(() -> TieredCache.config(
                                4,
                                Tiers.builder()
                                        .add(host)
                                        .staging(ByteSize.of(100))
                                        .build())
                        .build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("at least four blocks");
        assertThatThrownBy(() -> Tiers.of(host, host(4)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Two tiers are named \"host\"");
        assertThatThrownBy(() -> KvCacheConfig.builder()
                        .layers(600)
                        .kvHeads(256)
                        .headSize(256)
                        .blockSize(128)
                        .blocks(1)
                        .modelId("vast")
                        .tiers(Tiers.of(host))
                        .build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("less than 2 GiB");
    }

    @Test
    void aTierThatCantTakeTheBlocksRefusesTheCacheAndNothingStaysAllocated() {
        InMemoryBackend backend = new InMemoryBackend(true);
        HostBlockStore small = HostBlockStore.create(ByteSize.of(1000));
        assertThatThrownBy(() -> KvCache.create(
                        backend, TieredCache.config(4, Tiers.of(small)).build()))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("one block takes");
        assertThat(backend.liveAllocations()).isZero();
        HostBlockStore taken = host(4);
        taken.prepare(4711);
        assertThatThrownBy(() -> KvCache.create(
                        backend, TieredCache.config(4, Tiers.of(taken)).build()))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("a tier of its own");
        taken.close();
        assertThatThrownBy(() -> KvCache.create(
                        backend, TieredCache.config(4, Tiers.of(taken)).build()))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
        assertThat(backend.liveAllocations()).isZero();
    }

    @Test
    void closingTheCacheInTheMiddleOfALoadIsFine() {
        SilentStore silent = new SilentStore();
        TieredCache test = new TieredCache(12, TieredCache.tiers(silent).build());
        Sequence sequence = test.cache.open(PROMPT);
        TieredCache.await(() -> silent.held() > 0);
        test.close();
        silent.failAll();
        sequence.close();
        test.awaitFrames();
    }

    @Test
    void anInterruptedThreadDoesNotWait() {
        SilentStore silent = new SilentStore();
        Tiers tiers = TieredCache.tiers(silent).build();
        try (TieredCache test = new TieredCache(40, tiers);
                Sequence sequence = test.cache.open(PROMPT)) {
            Thread.currentThread().interrupt();
            sequence.awaitLoaded();
            assertThat(Thread.interrupted()).as("still").isTrue();
            assertThat(sequence.isLoading()).isTrue();
            silent.failAll();
        }
    }

    @Test
    void nobodyWaitsForASequenceThatLoads() {
        SilentStore silent = new SilentStore();
        Tiers tiers = TieredCache.tiers(silent).build();
        try (TieredCache test = new TieredCache(40, tiers)) {
            Sequence first = test.cache.open(PROMPT);
            Sequence second = test.cache.open(PROMPT);
            assertThat(first.isLoading()).isTrue();
            assertThat(first.catchUp()).as("it does not compute").isFalse();
            assertThat(second.catchUp()).isFalse();
            test.compute(second); // all the same
            assertThat(second.isLoading()).isFalse();
            TieredCache.await(() -> silent.held() > 0);
            silent.failAll();
            TieredCache.await(() -> !first.isLoading());
            assertThat(first.catchUp()).isTrue();
            assertThat(first.cachedTokens()).as("what the second computed").isEqualTo(40);
            test.compute(first);
            test.checkContent(first);
            first.close();
            second.close();
        }
    }

    /** The first to be computed is the one that the others wait for, from the end of the load on. */
    @Test
    void whenNothingCameOneComputesAndTheOthersWait() {
        SilentStore silent = new SilentStore();
        Tiers tiers = TieredCache.tiers(silent).build();
        try (TieredCache test = new TieredCache(40, tiers)) {
            Sequence first = test.cache.open(PROMPT);
            Sequence second = test.cache.open(PROMPT);
            TieredCache.await(() -> silent.held() > 0);
            silent.failAll();
            TieredCache.await(() -> !first.isLoading() && !second.isLoading());
            assertThat(first.catchUp()).isTrue();
            assertThat(second.catchUp()).isFalse();
            test.compute(first);
            assertThat(second.catchUp()).isTrue();
            assertThat(second.cachedTokens()).isEqualTo(40);
            test.compute(second);
            test.checkContent(second);
            first.close();
            second.close();
        }
    }

    /** Blocks of one salt are not found by sequences of another, in no tier. */
    @Test
    void tiersKeepSaltsApart() {
        HostBlockStore host = host(100);
        Tiers tiers = TieredCache.tiers(host).writtenOnFirstUse(true).build();
        SequenceOptions salted = SequenceOptions.builder().salt("a tenant").build();
        try (TieredCache test = new TieredCache(12, tiers)) {
            Sequence first = test.cache.open(salted, PROMPT);
            first.awaitLoaded();
            test.compute(first);
            first.close();
            test.settle();
            assertThat(host.blocks()).isEqualTo(5);
        }
        try (TieredCache other = new TieredCache(12, tiers)) {
            assertThat(other.serve(PROMPT)).isZero();
            Sequence again = other.cache.open(salted, PROMPT);
            again.awaitLoaded();
            assertThat(again.cachedTokens()).isEqualTo(40);
            other.checkContent(again);
            again.close();
        }
    }
}
