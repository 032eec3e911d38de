package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A block that lies in a tier only and begins as a prompt goes on: when it is fetched for a copy of its beginning, and that this is right. */
class TieredPartsTest {
    private static final int BLOCK = TieredCache.BLOCK_SIZE;
    private static final int[] PROMPT = TieredCache.prompt(1, 41); // five whole blocks, and one token to compute

    private static HostBlockStore host(int blocks) {
        return HostBlockStore.create(ByteSize.of((long) blocks * TieredCache.frameBytes()), EvictionPolicyKind.LRU);
    }

    private static Tiers.Builder written(BlockStore store) {
        return TieredCache.tiers(store).writtenOnFirstUse(true);
    }

    /** The first {@code same} tokens of {@link #PROMPT}, then others. */
    private static int[] leaving(int same) {
        int[] tokens = PROMPT.clone();
        for (int i = same; i < tokens.length; i++) {
            tokens[i] = 500_000 + 100 * same + i;
        }
        return tokens;
    }

    private static void store(TieredCache test) {
        test.serve(PROMPT);
        test.settle();
        test.evictAll();
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void halfABlockIsFetchedAndLessIsNot(boolean hostAccessible) {
        for (int same = 0; same <= 40; same++) {
            KvCacheConfig config =
                    TieredCache.config(12, written(host(100)).build()).build();
            try (TieredCache test = new TieredCache(hostAccessible, config)) {
                store(test);
                int inBlock = same % BLOCK;
                boolean fetched = inBlock >= BLOCK / 2;
                assertThat(test.serve(leaving(same)))
                        .as("%d tokens in common", same)
                        .isEqualTo(fetched ? same : same - inBlock);
                assertThat(test.tier(0).loaded()).isEqualTo(same / BLOCK + (fetched ? 1 : 0));
                assertThat(test.cache.stats().prefixPartialTokens()).isEqualTo(fetched ? inBlock : 0);
                assertThat(test.serve(PROMPT))
                        .as("the block itself is as it was")
                        .isEqualTo(40);
                test.checkIdle();
            }
        }
    }

    @Test
    void aSequenceOfWhichThePoolHasAllWholeBlocksGetsItToo() {
        try (TieredCache test = new TieredCache(12, written(host(100)).build())) {
            store(test);
            assertThat(test.serve(TieredCache.prompt(1, 17))).isEqualTo(16);
            assertThat(test.serve(TieredCache.prompt(1, 23))).isEqualTo(22);
            assertThat(test.tier(0).loaded()).isEqualTo(3);
            assertThat(test.serve(TieredCache.prompt(1, 24)))
                    .as("from the pool now")
                    .isEqualTo(23);
            assertThat(test.tier(0).loaded()).isEqualTo(3);
            test.checkIdle();
        }
    }

    @Test
    void sequencesThatGoOnAlikeWaitForOneLoad() {
        try (TieredCache test = new TieredCache(12, written(host(100)).build())) {
            store(test);
            List<Sequence> waiting = new ArrayList<>();
            for (int length : new int[] {7, 8, 17}) {
                int[] prompt = Arrays.copyOf(PROMPT, length);
                prompt[length - 1] = 99;
                waiting.add(test.cache.open(prompt));
            }
            waiting.forEach(Sequence::awaitLoaded);
            assertThat(waiting.get(0).cachedTokens()).isEqualTo(6);
            assertThat(waiting.get(1).cachedTokens()).isEqualTo(7);
            assertThat(waiting.get(2).cachedTokens()).isEqualTo(15 + 1);
            assertThat(test.tier(0).loaded()).isEqualTo(2);
            for (Sequence sequence : waiting) {
                test.compute(sequence);
                test.checkContent(sequence);
                sequence.close();
            }
            test.checkIdle();
        }
    }

    @Test
    void anotherSaltSharesNoPart() {
        try (TieredCache test = new TieredCache(12, written(host(100)).build())) {
            store(test);
            SequenceOptions other = SequenceOptions.builder().salt("other").build();
            try (Sequence sequence = test.cache.open(other, leaving(7))) {
                sequence.awaitLoaded();
                assertThat(sequence.cachedTokens()).isZero();
            }
            assertThat(test.serve(leaving(7))).isEqualTo(7);
        }
    }

    @Test
    void noPartIsFoundUnderOtherWeights() {
        try (TieredCache test = new TieredCache(12, written(host(100)).build())) {
            store(test);
            test.cache.clearPrefixes("other");
            assertThat(test.serve(leaving(7))).isZero();
            test.cache.clearPrefixes("");
            assertThat(test.serve(leaving(6))).isEqualTo(6);
        }
    }

    @Test
    void whatTheTierHasEvictedIsAskedForOnce() {
        HostBlockStore host = host(100);
        try (TieredCache test = new TieredCache(12, written(host).build())) {
            store(test);
            try (Sequence sequence = test.cache.open(PROMPT)) {
                sequence.awaitLoaded();
                for (int i = 0; i < 5; i++) {
                    host.forget(test.cache.ledger().pool().key(sequence.table.block(i)));
                }
            }
            test.evictAll();
            long absent = test.tier(0).absent();
            assertThat(test.serve(TieredCache.prompt(1, 6))).isZero();
            assertThat(test.tier(0).absent()).isEqualTo(absent + 1);
            test.evictAll();
            absent = test.tier(0).absent();
            assertThat(test.serve(TieredCache.prompt(1, 7))).isZero();
            assertThat(test.tier(0).absent()).as("not asked again").isEqualTo(absent);
        }
    }

    /** Keys are all that a store has: the tokens of what another process left there are known once it has been loaded. */
    @Test
    void whatWasThereBeforeIsFoundInPartsOnceItWasLoaded(@TempDir Path folder) throws IOException {
        try (FileBlockStore files = FileBlockStore.open(folder, ByteSize.mib(10));
                TieredCache first = new TieredCache(12, written(files).build())) {
            store(first);
        }
        try (FileBlockStore files = FileBlockStore.open(folder, ByteSize.mib(10));
                TieredCache second = new TieredCache(12, written(files).build())) {
            assertThat(second.serve(leaving(14))).as("unknown").isEqualTo(8);
            assertThat(second.serve(PROMPT)).isEqualTo(40);
            second.evictAll();
            assertThat(second.serve(leaving(15))).isEqualTo(15);
            assertThat(second.serve(leaving(38))).isEqualTo(38);
            second.checkIdle();
        }
    }

    @Test
    void aPartIsComputedWhereThatIsFaster() {
        Tiers tiers = written(host(100)).prefillTokensPerSecond(1e15).build();
        try (TieredCache test = new TieredCache(12, tiers)) {
            store(test);
            assertThat(test.serve(leaving(7))).as("no rate is known yet").isEqualTo(7);
            test.evictAll();
            long before = test.tier(0).recomputed();
            assertThat(test.serve(leaving(6))).isZero();
            assertThat(test.tier(0).recomputed()).isEqualTo(before + 1);
        }
    }

    @Test
    void aPartThatWasNotWorthItIsAskedForAgain() {
        Tiers tiers = written(host(100)).prefillTokensPerSecond(1e15).build();
        try (TieredCache test = new TieredCache(12, tiers)) {
            store(test);
            assertThat(test.serve(TieredCache.prompt(1, 7)))
                    .as("no rate is known yet")
                    .isEqualTo(6);
            for (int i = 1; i <= 3; i++) {
                test.evictAll();
                long before = test.tier(0).recomputed();
                assertThat(test.serve(TieredCache.prompt(1, 6))).isZero();
                assertThat(test.tier(0).recomputed()).as("time %d", i).isEqualTo(before + 1);
            }
        }
    }

    @Test
    void aPartThatNobodyWaitedForIsAskedForAgain() {
        try (TieredCache test = new TieredCache(12, written(host(100)).build())) {
            store(test);
            test.cache.open(TieredCache.prompt(1, 7)).close();
            test.cache.poll();
            assertThat(test.serve(TieredCache.prompt(1, 7))).isEqualTo(6);
        }
    }

    @Test
    void aPartThatCouldNotBeLoadedIsAskedForAgain() {
        MoodyStore store = new MoodyStore(host(100));
        try (TieredCache test = new TieredCache(12, written(store).build())) {
            store(test);
            store.becomes(MoodyStore.Mood.FAILING_LOADS);
            assertThat(test.serve(TieredCache.prompt(1, 7))).isZero();
            store.becomes(MoodyStore.Mood.GOOD);
            assertThat(test.serve(TieredCache.prompt(1, 7))).isEqualTo(6);
        }
    }

    @Test
    void theOldestIsForgottenWhenAllPlacesAreTaken() {
        TieredParts parts = new TieredParts(3, BLOCK);
        for (int i = 0; i < 4; i++) {
            parts.add(77, PROMPT, i * BLOCK);
            parts.add(77, PROMPT, i * BLOCK);
        }
        assertThat(parts.find(77, PROMPT, 0, BLOCK)).isEqualTo(PartialBlockIndex.NONE);
        for (int i = 1; i < 4; i++) {
            int found = parts.find(77, PROMPT, i * BLOCK, BLOCK);
            assertThat(parts.tokens(found)).isEqualTo(Arrays.copyOfRange(PROMPT, i * BLOCK, (i + 1) * BLOCK));
        }
        parts.remove(78, PROMPT, 2 * BLOCK);
        assertThat(parts.find(77, PROMPT, 2 * BLOCK, BLOCK)).isNotEqualTo(PartialBlockIndex.NONE);
        parts.remove(77, PROMPT, 2 * BLOCK);
        parts.remove(77, PROMPT, 2 * BLOCK);
        assertThat(parts.find(77, PROMPT, 2 * BLOCK, BLOCK)).isEqualTo(PartialBlockIndex.NONE);
        parts.add(77, PROMPT, 2 * BLOCK);
        assertThat(parts.find(77, PROMPT, 2 * BLOCK, BLOCK)).isNotEqualTo(PartialBlockIndex.NONE);
        assertThat(parts.find(77, PROMPT, BLOCK, BLOCK))
                .as("its place was the oldest")
                .isEqualTo(PartialBlockIndex.NONE);
    }

    /**
     * Random prompts that leave each other anywhere, above a tier that keeps everything: each gets what the longest common beginning with
     * one of those before it allows, and right bytes.
     */
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3})
    void randomPromptsGetTheirLongestCommonBeginning(long seed) {
        Random random = new Random(seed);
        List<int[]> served = new ArrayList<>();
        try (TieredCache test = new TieredCache(14, written(host(4000)).build())) {
            for (int i = 0; i < 300; i++) {
                int[] prompt = prompt(random, served, i);
                int common = 0;
                for (int[] other : served) {
                    common = Math.max(common, common(prompt, other));
                }
                int whole = common / BLOCK * BLOCK;
                int most = common - whole >= BLOCK / 2 ? common : whole;
                int least = common - whole >= BLOCK / 2 ? whole + BLOCK / 2 : whole;
                assertThat(test.serve(prompt))
                        .as("seed %d, prompt %d, %d tokens in common", seed, i, common)
                        .isBetween(least, most);
                test.settle();
                served.add(prompt);
            }
            assertThat(test.cache.stats().prefixPartialTokens()).isGreaterThan(300);
            assertThat(test.cache.stats().evictedBlocks()).isGreaterThan(300);
            test.checkIdle();
        }
    }

    private static int[] prompt(Random random, List<int[]> served, int number) {
        int[] prompt = TieredCache.prompt(1000 + number, 2 + random.nextInt(60));
        if (!served.isEmpty() && random.nextInt(8) > 0) {
            int[] other = served.get(random.nextInt(served.size()));
            System.arraycopy(other, 0, prompt, 0, random.nextInt(Math.min(other.length, prompt.length)));
        }
        return prompt;
    }

    /** Tokens of whole blocks of {@code stored}, and not the last of {@code prompt}, that both begin with. */
    private static int common(int[] prompt, int[] stored) {
        int most = Math.min(prompt.length - 1, stored.length / BLOCK * BLOCK);
        int mismatch = Arrays.mismatch(prompt, 0, most, stored, 0, most);
        return mismatch < 0 ? most : mismatch;
    }
}
