package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Tiers and files of a cache whose second layer has a window, and so blocks of its own. */
class GroupedTiersTest {
    private static final int WINDOW = 20;
    private static final int[] PROMPT = TieredCache.prompt(1, 81); // ten whole blocks, and one token to compute
    private static final int WINDOW_BLOCKS = 10 - firstNeeded(1, 10);

    private static HostBlockStore host() {
        return host(500);
    }

    private static HostBlockStore host(long blocks) {
        return HostBlockStore.create(ByteSize.of(blocks * frameBytes()), EvictionPolicyKind.LRU);
    }

    private static KvCacheConfig.Builder config(int blocks, Tiers tiers) {
        return TieredCache.config(blocks, tiers).layerWindows(0, WINDOW);
    }

    private static int frameBytes() {
        return Math.toIntExact(config(1, Tiers.NONE).build().blockBytes()) + BlockFrame.HEADER;
    }

    private static TieredCache cache(int blocks, Tiers tiers) {
        return new TieredCache(true, config(blocks, tiers).build());
    }

    private static int firstNeeded(int group, int blocks) {
        return group == 0 ? 0 : Math.max(0, 8 * blocks - WINDOW + 1) / 8;
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void aPrefixComesBackWithItsLastWindowAndNoMore(boolean hostAccessible) {
        HostBlockStore host = host();
        try (TieredCache test = new TieredCache(
                hostAccessible, config(30, TieredCache.tiers(host).build()).build())) {
            assertThat(test.serve(PROMPT)).isZero();
            assertThat(test.serve(PROMPT)).as("from the pool").isEqualTo(80);
            test.settle();
            assertThat(host.blocks()).isEqualTo(10 + WINDOW_BLOCKS);
            test.evictAll();
            assertThat(test.serve(PROMPT)).as("from the tier").isEqualTo(80);
            assertThat(test.tier(0).loaded()).isEqualTo(10 + WINDOW_BLOCKS);
            assertThat(test.serve(PROMPT)).as("from the pool again").isEqualTo(80);
            assertThat(test.tier(0).loaded()).isEqualTo(10 + WINDOW_BLOCKS);
            test.checkIdle();
        }
    }

    /** Where the blocks of all keys go on but no window ends, nothing is worth loading. */
    @Test
    void aHitEndsWhereATierHasAWindow() {
        HostBlockStore host = host();
        int[] other = PROMPT.clone();
        Arrays.fill(other, 40, other.length, 7);
        try (TieredCache test = cache(30, TieredCache.tiers(host).build())) {
            test.serve(PROMPT);
            test.serve(PROMPT);
            test.evictAll();
            assertThat(test.serve(other)).isZero();
            assertThat(test.tier(0).loaded()).isZero();
            test.settle();
            int[] begin = Arrays.copyOf(PROMPT, 41);
            test.serve(begin);
            test.serve(begin);
            test.evictAll();
            assertThat(test.serve(other)).isEqualTo(40);
            assertThat(test.tier(0).loaded()).isEqualTo(5 + 5 - firstNeeded(1, 5));
        }
    }

    @Test
    void sequencesOfOnePrefixWaitForOneLoad() {
        HostBlockStore host = host();
        Tiers tiers = TieredCache.tiers(host).writtenOnFirstUse(true).build();
        try (TieredCache test = cache(60, tiers)) {
            test.serve(PROMPT);
            test.settle();
        }
        try (TieredCache test = cache(60, tiers);
                Sequence shorter = test.cache.open(Arrays.copyOf(PROMPT, 41));
                Sequence whole = test.cache.open(PROMPT)) {
            TieredCache.await(() -> !shorter.isLoading() && !whole.isLoading());
            assertThat(shorter.cachedTokens()).isEqualTo(40);
            assertThat(whole.cachedTokens())
                    .as("the rest of a longer prompt is fetched too")
                    .isEqualTo(80);
            test.checkContent(shorter);
            test.checkContent(whole);
        }
    }

    @Test
    void addingALoadingSequenceComputesItAtOnce() {
        SilentStore silent = new SilentStore();
        try (TieredCache test = cache(30, TieredCache.tiers(silent).build());
                Sequence sequence = test.cache.open(PROMPT)) {
            assertThat(sequence.isLoading()).isTrue();
            test.compute(sequence);
            assertThat(sequence.isLoading()).isFalse();
            test.checkContent(sequence);
            silent.failAll();
        }
    }

    private static boolean has(BlockStore store, BlockKey key) throws IOException {
        return store.lookup(List.of(key), TestFrames.soon()) == 1;
    }

    /** Against a search of every end, over blocks that are in the pool, in one tier or another, or nowhere at random. */
    @Test
    void theLongestPrefixThatPoolAndTiersHaveTogetherIsFound() throws IOException {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        int longer = 0;
        for (int round = 0; round < 60; round++) {
            BlockStore first = new NamedStore("first", host(32)); // every block of the prompt
            BlockStore second = new NamedStore("second", host(32));
            Tiers tiers =
                    TieredCache.tiers(first, second).writtenOnFirstUse(true).build();
            try (TieredCache test = cache(90, tiers)) {
                int[] prompt = TieredCache.prompt(round, 8 * 16 + 3);
                BlockKey[][] missing = new BlockKey[2][16]; // in the pool
                Sequence all = test.cache.open(prompt);
                all.awaitLoaded();
                test.compute(all);
                test.settle();
                int most = random.nextInt(2) == 0 ? 20 : 3;
                for (int group = 0; group < 2; group++) {
                    for (int index = 0; index < 16; index++) {
                        int block = all.table.block(index, group);
                        BlockKey key = test.cache.ledger().pool().key(block);
                        if (random.nextInt(2) == 0) {
                            test.cache.ledger().pool().unregister(block);
                            missing[group][index] = key;
                        }
                        for (BlockStore store : List.of(first, second)) {
                            if (random.nextInt(most) == 0) {
                                store.forget(key);
                            }
                        }
                    }
                }
                all.close();
                int cached = 0;
                int expected = 0;
                for (int end = 1; end <= 16; end++) {
                    boolean inPool = true;
                    boolean anywhere = true;
                    for (int group = 0; group < 2; group++) {
                        for (int index = firstNeeded(group, end); index < end; index++) {
                            BlockKey key = missing[group][index];
                            inPool &= key == null;
                            anywhere &= key == null || has(first, key) || has(second, key);
                        }
                    }
                    cached = inPool ? end : cached;
                    expected = anywhere ? end : expected;
                }
                int loads = 0;
                for (int group = 0; group < 2; group++) {
                    for (int index = Math.max(cached, firstNeeded(group, expected)); index < expected; index++) {
                        loads += missing[group][index] == null ? 0 : 1;
                    }
                }
                assertThat(test.serve(prompt))
                        .as("seed %d, round %d", seed, round)
                        .isEqualTo(8 * expected);
                assertThat(test.tier(0).loaded() + test.tier(1).loaded())
                        .as("blocks that were loaded, seed %d, round %d", seed, round)
                        .isEqualTo(loads);
                longer += expected > cached ? 1 : 0;
                test.settle();
                test.awaitFrames();
                test.cache.ledger().pool().checkInvariants();
            }
        }
        assertThat(longer).as("seed %d", seed).isGreaterThan(20);
    }

    private record Stored(BlockKey parent, int position, IntBuffer tokens) {}

    private static final class StoredBlocks implements CacheListener {
        final Map<BlockKey, Stored> blocks = new HashMap<>();

        @Override
        public void stored(BlockKey key, BlockKey parent, int position, IntBuffer tokens) {
            blocks.put(
                    key,
                    new Stored(
                            parent,
                            position,
                            IntBuffer.allocate(tokens.remaining()).put(tokens).flip()));
        }
    }

    @Test
    void aListenerHearsOfALoadedBlockAsOfAComputedOne() {
        HostBlockStore host = host();
        Tiers tiers = TieredCache.tiers(host).writtenOnFirstUse(true).build();
        StoredBlocks computed = new StoredBlocks();
        StoredBlocks loaded = new StoredBlocks();
        for (StoredBlocks listener : List.of(computed, loaded)) {
            KvCacheConfig config = config(60, tiers).listener(listener).build();
            try (TieredCache test = new TieredCache(true, config)) {
                test.serve(PROMPT);
                test.settle();
            }
        }
        assertThat(computed.blocks).hasSize(20);
        assertThat(loaded.blocks).hasSize(10 + WINDOW_BLOCKS);
        assertThat(computed.blocks).containsAllEntriesOf(loaded.blocks);
    }

    /** The first layer's page is as large as the second's, which has row scales; what was there before does not leave the cache. */
    @Test
    void whatAPageHasBehindItsLayersStaysThere() {
        HostBlockStore host = host();
        KvCacheConfig config = config(30, TieredCache.tiers(host).build()).build();
        long ofGroup =
                config.layout().layer(0, 1).v().offset() + 8L * TokenContent.KV_HEADS * TokenContent.HEAD_SIZE * 4;
        assertThat(ofGroup).isLessThan(config.blockBytes());
        try (TieredCache test = new TieredCache(true, config)) {
            test.serve(PROMPT);
            test.serve(PROMPT);
            test.settle();
            try (Sequence sequence = test.cache.open(PROMPT)) {
                for (int index = 0; index < 10; index++) {
                    BlockKey key = test.cache.ledger().pool().key(sequence.table.block(index, 0));
                    ByteBuffer frame = ByteBuffer.allocate(frameBytes());
                    TestFrames.Waiting loaded = new TestFrames.Waiting(1);
                    host.load(new BlockTransfer(List.of(key), List.of(frame), TestFrames.soon(), loaded));
                    assertThat(loaded.await().outcomes).containsExactly(BlockTransfer.Outcome.DONE);
                    for (int i = BlockFrame.HEADER + (int) ofGroup; i < frame.limit(); i++) {
                        assertThat(frame.get(i)).isZero();
                    }
                }
            }
        }
    }

    // ---- files

    @TempDir
    Path folder;

    @Test
    void aSavedSequenceGoesOnWithTheWindowsThatItHas() throws IOException {
        Path file = folder.resolve("sequence");
        for (int tokens : new int[] {0, 1, 8, 15, 20, 21, 60, 81}) {
            int held;
            try (TieredCache test = cache(40, Tiers.NONE);
                    Sequence sequence = test.cache.open(TieredCache.prompt(3, tokens))) {
                while (sequence.pendingTokens() > 0) {
                    computeSome(test, sequence);
                }
                held = test.cache.stats().usedBlocks();
                test.cache.save(sequence, file);
            }
            try (TieredCache test = cache(40, Tiers.NONE)) {
                test.serve(TieredCache.prompt(4, 100));
                Sequence restored = test.cache.restore(file);
                assertThat(restored.computedTokens()).isEqualTo(tokens);
                assertThat(test.cache.stats().usedBlocks()).isEqualTo(held);
                test.checkContent(restored);
                for (int more = 0; more < 30; more++) {
                    restored.append(3000 + tokens + more);
                    test.compute(restored);
                    test.checkContent(restored);
                }
                restored.close();
                try (Sequence same = test.cache.open(TieredCache.prompt(3, tokens + 1))) {
                    assertThat(same.cachedTokens()).isLessThanOrEqualTo(tokens);
                    test.compute(same);
                    test.checkContent(same);
                }
                test.cache.ledger().pool().checkInvariants();
                assertThat(test.cache.stats().usedBlocks()).isZero();
            }
        }
    }

    /** Eleven tokens in a step of their own, so that what falls out of the window goes back on the way. */
    private static void computeSome(TieredCache test, Sequence sequence) {
        int[] rest = new int[Math.max(0, sequence.pendingTokens() - 11)];
        Arrays.setAll(rest, i -> sequence.token(sequence.computedTokens() + 11 + i));
        sequence.truncate(sequence.length() - rest.length);
        test.compute(sequence);
        sequence.append(rest);
    }

    @Test
    void aFileOfAGroupedCacheHasNothingOfOthers() throws IOException {
        byte[][] files = new byte[2][];
        for (int i = 0; i < 2; i++) {
            try (TieredCache test = cache(24, Tiers.NONE)) {
                if (i == 1) {
                    test.evictAll();
                }
                Sequence sequence = test.cache.open(TieredCache.prompt(3, 45));
                test.compute(sequence);
                Path file = folder.resolve("file" + i);
                test.cache.save(sequence, file);
                files[i] = Files.readAllBytes(file);
                sequence.close();
            }
        }
        assertThat(files[1]).isEqualTo(files[0]);
    }
}
