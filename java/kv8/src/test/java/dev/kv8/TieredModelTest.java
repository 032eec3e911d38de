package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * All that can be done with sequences, at random, above a store. A {@link FaultyStore} brings some of their blocks, now, late, damaged or
 * never: what is cached at a moment depends on its threads then, so the oracle knows less than {@link CacheOracle}, the tokens of each
 * sequence, and by {@link TokenContent} what must be stored for them.
 *
 * <p>Above a store that keeps everything and is waited for, the oracle knows what a prompt finds to the block: all that was ever computed,
 * wherever the pool has let it go. Which blocks are in the pool and which come from the store it does not say. That follows from the order
 * in which loads take blocks of the pool and give them back, which could only be copied from {@link PrefixLoads}; without tiers {@link
 * KvCacheModelTest} knows the order. -Dkv8.seed=N repeats a seed as far as threads let it, -Dkv8.operations=N sets how many operations a
 * run has.
 */
class TieredModelTest {
    private static final int OPERATIONS = Integer.getInteger("kv8.operations", 4000);
    private static final int BLOCKS = 70;
    /** Enough for all sequences and a pin, so that little else is kept in the pool. */
    private static final int FEW_BLOCKS = 48;

    private static final int MOST_SEQUENCES = 4;
    private static final int MOST_TOKENS = 64;

    @TempDir
    Path folder;

    static Stream<Arguments> runs() {
        Long given = Long.getLong("kv8.seed");
        Stream<Long> seeds = given != null ? Stream.of(given) : Stream.of(1L, System.nanoTime());
        return seeds.flatMap(seed -> Stream.of(
                Arguments.of(seed, EvictionPolicyKind.LRU, 0), Arguments.of(seed, EvictionPolicyKind.ARC, 12)));
    }

    /** @param window of the second layer, which then has blocks of its own; 0 for none */
    @ParameterizedTest(name = "seed {0}, {1}, window {2}")
    @MethodSource("runs")
    void whatEverSequenceStoresIsOfItsTokens(long seed, EvictionPolicyKind eviction, int window) throws IOException {
        FaultyStore store = new FaultyStore(seed, 0.002);
        Tiers tiers = Tiers.builder()
                .add(store)
                .loadDeadline(Duration.ofMillis(5))
                .storeDeadline(Duration.ofMillis(10))
                .prefillTokensPerSecond(1) // so that fetching is always worth it
                .build();
        int blocks = window == 0 ? BLOCKS : 2 * BLOCKS;
        KvCacheConfig config = TieredCache.config(blocks, tiers)
                .layerWindows(0, window)
                .eviction(eviction)
                .build();
        try (TieredCache test = new TieredCache(true, config)) {
            RandomDriver driver = new RandomDriver(test, new Random(seed), folder, 8);
            ModelRun.of("seed " + seed, OPERATIONS, driver);
            assertThat(test.cache.stats().prefixHitTokens())
                    .as("tokens taken over")
                    .isPositive();
            driver.closeAll();
            store.close();
            TieredCache.await(() -> !test.cache.poll() && test.cache.framesInUse() == 0);
            assertThat(test.cache.stats().freeBlocks()).as("leaked blocks").isEqualTo(blocks);
            assertThat(test.cache.stats().storedTokens()).isZero();
            assertThat(test.cache.swappedBytes()).isZero();
            test.cache.ledger().pool().checkInvariants();
        }
    }

    /** Nothing comes late, and everything is written at its first use. */
    @ParameterizedTest(name = "seed {0}, {1}, window {2}")
    @MethodSource("runs")
    void whatWasOnceComputedIsFoundForEver(long seed, EvictionPolicyKind eviction, int window) {
        try (HostBlockStore store = HostBlockStore.create(ByteSize.of(1L << 28))) {
            Tiers tiers = TieredCache.tiers(store).writtenOnFirstUse(true).build();
            KvCacheConfig config = TieredCache.config(window == 0 ? FEW_BLOCKS : 2 * FEW_BLOCKS, tiers)
                    .layerWindows(0, window)
                    .eviction(eviction)
                    .build();
            try (TieredCache test = new TieredCache(true, config)) {
                RandomDriver driver = new RandomDriver(test, new Random(seed), folder, 16);
                EverythingWritten oracle = new EverythingWritten(driver);
                int run = 0;
                do {
                    ModelRun.of("seed " + seed + ", run " + run, OPERATIONS / 8, oracle);
                } while (test.tier(0).loaded() == 0 && ++run < 10); // one seed in 20 needs a second run
                assertThat(test.tier(0).loaded()).as("loads").isPositive();
                assertThat(oracle.found).as("blocks found").isPositive();
                TierStats stats = test.tier(0);
                assertThat(stats.dropped() + stats.late() + stats.refused() + stats.failed() + stats.damaged())
                        .as("%s", stats)
                        .isZero();
                driver.closeAll();
                test.checkIdle();
            }
        }
    }

    /** What a prompt finds above a store that keeps everything: the longest prefix of whose blocks none was never written. */
    private static final class EverythingWritten implements ModelRun.Driver {
        /** A page of a block: whose weights, the tokens up to its end, and which layers. */
        private record Page(String weights, List<Integer> tokens, int group) {}

        private final RandomDriver driver;
        private final TieredCache test;
        private final LayerGroups groups;
        private final Set<Page> written = new HashSet<>();
        int found;

        EverythingWritten(RandomDriver driver) {
            this.driver = driver;
            test = driver.test;
            groups = test.cache.config().groups();
        }

        @Override
        public void operate() throws IOException {
            driver.operate();
        }

        @Override
        public String last() {
            return driver.last();
        }

        @Override
        public void check(int operation) {
            driver.check(operation);
            if (driver.opened != null) {
                Sequence sequence = driver.opened.sequence();
                sequence.awaitLoaded();
                int expected = longest(driver.opened.tokens());
                assertThat(sequence.cachedTokens() / TieredCache.BLOCK_SIZE)
                        .as("whole blocks found")
                        .isEqualTo(expected);
                found += expected;
            }
            test.settle();
            driver.tracked.forEach(this::note);
        }

        private int longest(List<Integer> prompt) {
            int longest = 0;
            for (int end = 1; end * TieredCache.BLOCK_SIZE < prompt.size(); end++) {
                longest = isThere(prompt, end) ? end : longest;
            }
            return longest;
        }

        private boolean isThere(List<Integer> prompt, int end) {
            for (int group = 0; group < groups.count(); group++) {
                for (int index = groups.firstNeeded(group, end); index < end; index++) {
                    if (!written.contains(page(prompt, index, group))) {
                        return false;
                    }
                }
            }
            return true;
        }

        private Page page(List<Integer> tokens, int index, int group) {
            return new Page(
                    driver.weights, List.copyOf(tokens.subList(0, (index + 1) * TieredCache.BLOCK_SIZE)), group);
        }

        /** What a sequence has computed under the present weights. */
        private void note(Tracked one) {
            BlockTable table = one.sequence().table;
            if (table.epoch != test.cache.ledger().prefixes().epoch()) {
                return;
            }
            for (int group = 0; group < groups.count(); group++) {
                for (int index = table.gone(group); index < table.computed / TieredCache.BLOCK_SIZE; index++) {
                    written.add(page(one.tokens(), index, group));
                }
            }
        }
    }

    /** A sequence and the tokens that it should have. */
    private record Tracked(Sequence sequence, List<Integer> tokens) {
        static Tracked of(Sequence sequence, List<Integer> tokens) {
            return new Tracked(sequence, new ArrayList<>(tokens));
        }
    }

    /** A sequence in host memory and its tokens. */
    private record Away(SwappedSequence swapped, List<Integer> tokens) {}

    private static final class RandomDriver implements ModelRun.Driver {
        private final TieredCache test;
        private final Random random;
        private final Path file;
        private final int texts;
        private final List<Tracked> tracked = new ArrayList<>();
        private final List<Away> away = new ArrayList<>();
        private final List<PinnedPrefix> pins = new ArrayList<>();
        private List<Integer> savedTokens = List.of();
        private String savedWeights = "none";
        private String weights = "";
        /** By the last operation. */
        @Nullable
        private Tracked opened;

        String last = "nothing";

        /** @param texts how many different ones prompts begin as */
        RandomDriver(TieredCache test, Random random, Path folder, int texts) {
            this.texts = texts;
            this.test = test;
            this.random = random;
            file = folder.resolve("sequence");
        }

        @Override
        public String last() {
            return last;
        }

        @Override
        public void operate() throws IOException {
            int choice = random.nextInt(100);
            opened = null;
            if (tracked.isEmpty() || (choice < 25 && tracked.size() < MOST_SEQUENCES)) {
                last = "open";
                List<Integer> prompt = tokens(random.nextInt(texts), 2 + random.nextInt(50));
                int[] ids = prompt.stream().mapToInt(Integer::intValue).toArray();
                opened = Tracked.of(test.cache.open(ids), prompt);
                tracked.add(opened);
            } else if (choice < 50) {
                compute(any());
            } else if (choice < 56) {
                last = "catchUp";
                any().sequence().catchUp();
            } else if (choice < 66) {
                append(any());
            } else if (choice < 70) {
                truncate(any());
            } else if (choice < 74) {
                fork(any());
            } else if (choice < 78) {
                reorder();
            } else if (choice < 81) {
                pin(any());
            } else if (choice < 85) {
                swap();
            } else if (choice < 88) {
                file();
            } else if (choice < 94) {
                end(any());
            } else if (choice == 94) {
                last = "clearPrefixes";
                weights = random.nextBoolean() ? "" : "other";
                test.cache.clearPrefixes(weights);
            } else {
                last = "poll";
                test.cache.poll();
            }
        }

        private Tracked any() {
            return tracked.get(random.nextInt(tracked.size()));
        }

        /** Beginnings of a few texts, so that most are known; some have an end of their own. */
        private List<Integer> tokens(int text, int count) {
            List<Integer> tokens = new ArrayList<>();
            int own = random.nextInt(3) == 0 ? random.nextInt(count) : count;
            for (int i = 0; i < count; i++) {
                tokens.add(i < own ? text * 1000 + i : 100_000 + random.nextInt(4));
            }
            return tokens;
        }

        /** An engine waits for what loads, but now and then it does not. */
        private void compute(Tracked one) {
            last = "compute";
            Sequence sequence = one.sequence();
            if (random.nextInt(8) == 0) {
                sequence.awaitLoaded();
            }
            boolean waits = sequence.isLoading() && random.nextInt(20) != 0;
            if (!waits && sequence.pendingTokens() > 0) {
                test.compute(sequence);
                assertThat(sequence.pendingTokens()).isZero();
            }
        }

        private void append(Tracked one) {
            last = "append";
            int count = Math.min(MOST_TOKENS - one.tokens().size(), 1 + random.nextInt(24));
            for (int token :
                    tokens(random.nextInt(texts), Math.max(0, count) + 1).subList(0, Math.max(0, count))) {
                one.sequence().append(token);
                one.tokens().add(token);
            }
        }

        private void truncate(Tracked one) {
            int length = random.nextInt(one.tokens().size() + 1);
            last = "truncate to " + length;
            int least = Math.min(
                    one.sequence().computedTokens(), test.cache.ledger().leastLength(one.sequence().table));
            if (length != 0 && length < least) {
                assertThatThrownBy(() -> one.sequence().truncate(length)).isInstanceOf(IllegalArgumentException.class);
            } else {
                one.sequence().truncate(length);
                one.tokens().subList(length, one.tokens().size()).clear();
            }
        }

        private void fork(Tracked one) {
            last = "fork";
            if (tracked.size() < MOST_SEQUENCES) {
                tracked.add(Tracked.of(one.sequence().fork(), one.tokens()));
            }
        }

        private void reorder() {
            int[] parents = tracked.stream()
                    .mapToInt(one -> random.nextInt(tracked.size()))
                    .toArray();
            last = "reorder";
            test.cache.reorder(tracked.stream().map(Tracked::sequence).toArray(Sequence[]::new), parents);
            List<Tracked> before = List.copyOf(tracked);
            for (int i = 0; i < parents.length; i++) {
                tracked.set(
                        i,
                        Tracked.of(
                                before.get(i).sequence(), before.get(parents[i]).tokens()));
            }
        }

        private void pin(Tracked one) {
            last = "pin";
            if (!pins.isEmpty()) {
                pins.remove(0).close();
                return;
            }
            try {
                pins.add(one.sequence().pin());
            } catch (IllegalStateException e) {
                assertThat(e).hasMessageContaining("nothing to pin");
            }
        }

        private void swap() {
            if (!away.isEmpty() && tracked.size() < MOST_SEQUENCES) {
                last = "swapIn";
                Away one = away.remove(0);
                tracked.add(Tracked.of(test.cache.swapIn(one.swapped()).orElseThrow(), one.tokens()));
            } else if (away.isEmpty()) {
                last = "swapOut";
                Tracked one = any();
                away.add(new Away(test.cache.swapOut(one.sequence()), one.tokens()));
                tracked.remove(one);
            }
        }

        private void file() throws IOException {
            boolean isKnown = savedWeights.equals(weights);
            if (isKnown && tracked.size() < MOST_SEQUENCES) {
                last = "restore";
                tracked.add(Tracked.of(test.cache.restore(file), savedTokens));
                savedWeights = "none";
                return;
            }
            last = "save";
            Tracked one = any();
            try {
                test.cache.save(one.sequence(), file);
                savedTokens = List.copyOf(one.tokens());
                savedWeights = weights;
            } catch (IllegalStateException e) {
                assertThat(e).hasMessageContaining("computed before clearPrefixes");
            }
        }

        private void end(Tracked one) {
            last = "close";
            if (random.nextInt(4) == 0) {
                one.sequence().cancel();
            } else {
                one.sequence().close(random.nextBoolean() ? ReleaseHint.KEEP : ReleaseHint.DISCARD);
            }
            tracked.remove(one);
        }

        @Override
        public void check(int operation) {
            test.cache.ledger().pool().checkInvariants();
            long stored = 0;
            for (Tracked one : tracked) {
                Sequence sequence = one.sequence();
                assertThat(sequence.length()).isEqualTo(one.tokens().size());
                for (int i = 0; i < one.tokens().size(); i++) {
                    assertThat(sequence.token(i)).isEqualTo(one.tokens().get(i));
                }
                assertThat(sequence.cachedTokens()).isBetween(0, sequence.computedTokens());
                stored += sequence.computedTokens();
            }
            assertThat(test.cache.stats().storedTokens()).isEqualTo(stored);
            assertThat(test.cache.stats().openSequences()).isEqualTo(tracked.size());
            if (!tracked.isEmpty()) {
                Tracked one = any();
                if (one.sequence().computedTokens() > 0) {
                    test.checkContent(one.sequence());
                }
            }
        }

        void closeAll() {
            List<Tracked> all = new ArrayList<>(tracked);
            Collections.reverse(all);
            all.forEach(one -> one.sequence().close());
            pins.forEach(PinnedPrefix::close);
            away.forEach(one -> one.swapped().close());
        }
    }
}
