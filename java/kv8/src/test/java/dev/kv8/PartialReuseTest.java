package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.CacheOracle.Entry;
import dev.kv8.CacheUnderTest.Step;
import dev.kv8.CacheUnderTest.Tracked;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** A block that only begins as a prompt goes on: what of it is copied, when, and that the copy is right. */
class PartialReuseTest {
    private final SilentBackend backend = new SilentBackend();

    /** Blocks of eight tokens. */
    private static KvCacheConfig.Builder config(int blocks) {
        return OneLayer.config().blocks(blocks);
    }

    /** The first {@code same} of {@code tokens}, then others up to {@code length}. */
    private static int[] leaving(int[] tokens, int same, int length) {
        return IntStream.range(0, length)
                .map(i -> i < same ? tokens[i] : 10_000 + i)
                .toArray();
    }

    private static Sequence computed(KvCache cache, int... tokens) {
        Sequence sequence = cache.open(tokens);
        try (Batch batch = cache.batch()) {
            assertThat(batch.add(sequence)).isTrue();
            batch.commit();
        }
        return sequence;
    }

    private static int cached(KvCache cache, int... tokens) {
        try (Sequence opened = cache.open(tokens)) {
            assertThat(opened.computedTokens()).isEqualTo(opened.cachedTokens());
            return opened.cachedTokens();
        }
    }

    @Test
    void halfABlockIsCopiedAndLessIsNot() {
        try (KvCache cache = KvCache.create(backend, config(16).build())) {
            int[] known = tokens(0, 24);
            computed(cache, known).close();
            for (int same = 0; same <= 24; same++) {
                int inBlock = same % 8;
                int expected = inBlock >= 4 ? same : same - inBlock;
                assertThat(cached(cache, leaving(known, same, 40)))
                        .as("%d tokens in common", same)
                        .isEqualTo(expected);
            }
            cache.ledger().pool().checkInvariants();
            assertThat(cache.stats().usedBlocks()).isZero();
        }
    }

    @Test
    void oneTokenIsAlwaysLeftToCompute() {
        try (KvCache cache = KvCache.create(backend, config(16).build())) {
            computed(cache, tokens(0, 16)).close();
            assertThat(cached(cache, tokens(0, 16))).isEqualTo(15);
            assertThat(cached(cache, tokens(0, 17))).isEqualTo(16);
            assertThat(cached(cache, tokens(0, 14))).isEqualTo(13);
            assertThat(cached(cache, tokens(0, 12)))
                    .as("three more are too few")
                    .isEqualTo(8);
            assertThat(cached(cache, tokens(0, 8))).isEqualTo(7);
            assertThat(cached(cache, tokens(0, 4))).isZero();
        }
    }

    @Test
    void theCopyIsTheSequencesOwn() {
        try (KvCache cache = KvCache.create(backend, config(16).build())) {
            int[] known = tokens(0, 16);
            Sequence first = computed(cache, known);
            Sequence second = cache.open(leaving(known, 14, 20));
            assertThat(second.cachedTokens()).isEqualTo(14);
            assertThat(second.table.block(0)).isEqualTo(first.table.block(0));
            int own = second.table.block(1);
            assertThat(own).isNotEqualTo(first.table.block(1));
            assertThat(cache.ledger().pool().references(own)).isEqualTo(1);
            assertThat(cache.ledger().pool().references(first.table.block(1))).isEqualTo(1);
            assertThat(cache.ledger().pool().isRegistered(own)).isFalse();
            CacheStats stats = cache.stats();
            assertThat(stats.prefixHitTokens()).isEqualTo(14);
            assertThat(stats.prefixPartialTokens()).isEqualTo(6);
            assertThat(stats.copiedBlocks())
                    .as("nobody wrote to a shared block")
                    .isZero();
            try (Batch batch = cache.batch()) {
                assertThat(batch.add(second)).isTrue();
                batch.commit();
            }
            assertThat(second.table.block(1)).isEqualTo(own);
            assertThat(cache.ledger().pool().isRegistered(own))
                    .as("full now, and another prefix")
                    .isTrue();
            assertThat(cached(cache, leaving(known, 14, 17))).isEqualTo(16);
            assertThat(cached(cache, tokens(0, 17))).isEqualTo(16);
        }
    }

    @Test
    void theLongestOfSeveralIsCopied() {
        try (KvCache cache = KvCache.create(backend, config(32).build())) {
            int[] wanted = tokens(0, 24);
            for (int same : new int[] {13, 15, 12}) {
                computed(cache, leaving(wanted, same, 16)).close();
            }
            assertThat(cached(cache, wanted)).isEqualTo(15);
        }
    }

    /** The same tokens behind another beginning are other K and V. */
    @Test
    void aBlockBehindOtherTokensIsNotCopied() {
        try (KvCache cache = KvCache.create(backend, config(32).build())) {
            int[] known = tokens(0, 16);
            computed(cache, known).close();
            int[] other = tokens(0, 16);
            other[0] = 99;
            computed(cache, leaving(other, 8, 9)).close();
            assertThat(cached(cache, leaving(other, 14, 20))).isEqualTo(8);
        }
    }

    /** In a pool this small, many parents have one place in the index: only the whole key tells them apart. */
    @Test
    void aCandidateWithTheSameHashIsNotCopied() {
        try (KvCache cache = KvCache.create(backend, config(5).build())) {
            for (int i = 0; i < 100; i++) {
                int[] known = tokens(1000 * i, 16);
                computed(cache, known).close();
                int[] other = known.clone();
                other[0]++;
                computed(cache, Arrays.copyOf(other, 9)).close();
                assertThat(cached(cache, leaving(other, 14, 20)))
                        .as("try %d", i)
                        .isEqualTo(8);
            }
        }
    }

    @Test
    void whatWasEvictedOrForgottenIsNotCopied() {
        try (KvCache cache = KvCache.create(backend, config(6).build())) {
            int[] known = tokens(0, 16);
            computed(cache, known).close();
            computed(cache, tokens(100, 48)).close();
            assertThat(cached(cache, leaving(known, 14, 20))).isZero();
            computed(cache, known).close();
            assertThat(cached(cache, leaving(known, 14, 20))).isEqualTo(14);
            cache.clearPrefixes();
            assertThat(cached(cache, leaving(known, 14, 20))).isZero();
            cache.ledger().pool().checkInvariants();
        }
    }

    /** The block that is copied is the last one that could make room: it must not be evicted for its own copy. */
    @Test
    void aCopyThatHasNoRoomIsNotMade() {
        try (KvCache cache = KvCache.create(backend, config(4).build())) {
            int[] known = tokens(0, 8);
            computed(cache, known).close();
            Sequence other = computed(cache, tokens(100, 24));
            assertThat(cache.stats().freeBlocks()).isEqualTo(1);
            assertThat(cached(cache, leaving(known, 6, 12))).isZero();
            assertThat(cached(cache, tokens(0, 9))).as("it is still there").isEqualTo(8);
            other.close();
            assertThat(cached(cache, leaving(known, 6, 12))).isEqualTo(6);
        }
    }

    @Test
    void itCanBeSwitchedOff() {
        try (KvCache cache =
                KvCache.create(backend, config(16).partialReuse(false).build())) {
            computed(cache, tokens(0, 16)).close();
            assertThat(cached(cache, tokens(0, 16))).isEqualTo(8);
            assertThat(cache.stats().prefixPartialTokens()).isZero();
        }
    }

    @Test
    void aFailingCopyOpensNothing() {
        InMemoryBackend failing = new InMemoryBackend(true) {
            @Override
            public void copy(DeviceMemory source, long from, DeviceMemory target, long to, long bytes) {
                throw new DeviceException("lost");
            }
        };
        try (KvCache cache = KvCache.create(failing, config(8).build())) {
            Sequence first = computed(cache, tokens(0, 16));
            CacheStats before = cache.stats();
            assertThatThrownBy(() -> cache.open(tokens(0, 14))).isInstanceOf(DeviceException.class);
            assertThat(cache.stats().freeBlocks()).isEqualTo(before.freeBlocks());
            assertThat(cache.stats().openSequences()).isEqualTo(1);
            assertThat(cache.ledger().pool().references(first.table.block(0))).isEqualTo(1);
            cache.ledger().pool().checkInvariants();
        }
    }

    /** Of many blocks that begin alike only the newest are looked at; those that are too old still serve as whole blocks. */
    @Test
    void aBlockIsNotCopiedWhenTooManyNewerOnesBeginAlike() {
        try (KvCache cache = KvCache.create(backend, config(64).build())) {
            int[] wanted = tokens(0, 12);
            computed(cache, leaving(wanted, 7, 8)).close();
            for (int i = 0; i < PartialBlockIndex.MOST_COMPARED; i++) {
                assertThat(cached(cache, wanted)).as("behind %d newer ones", i).isEqualTo(7);
                int[] newer = leaving(wanted, 5, 8);
                newer[5] = 20_000 + i;
                computed(cache, newer).close();
            }
            assertThat(cached(cache, wanted)).isEqualTo(5);
            assertThat(cached(cache, leaving(wanted, 7, 9))).isEqualTo(8);
        }
    }

    /**
     * Against every prompt that was ever computed, in a pool that never evicts. No more than half as many blocks begin alike as
     * are compared: the other half is for those that share their place in the index by chance, of which its size leaves few.
     */
    @Test
    void asMuchIsFoundAsThereIs() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        try (KvCache cache = KvCache.create(backend, config(1 << 16).build())) {
            Set<List<Integer>> stored = new HashSet<>();
            List<List<Integer>> prompts = new ArrayList<>();
            for (int i = 0; i < 300; i++) {
                List<Integer> prompt = new ArrayList<>();
                if (!prompts.isEmpty()) {
                    List<Integer> known = prompts.get(random.nextInt(prompts.size()));
                    prompt.addAll(known.subList(0, random.nextInt(known.size() + 1)));
                }
                for (int more = 1 + random.nextInt(20); more > 0; more--) {
                    prompt.add(random.nextInt(20));
                }
                int[] ids = prompt.stream().mapToInt(Integer::intValue).toArray();
                assertThat(cached(cache, ids))
                        .as("seed %d, prompt %d: %s", seed, i, prompt)
                        .isEqualTo(longest(stored, prompt));
                prompts.add(prompt);
                Set<List<Integer>> withThis = new HashSet<>(stored);
                for (int end = 8; end <= prompt.size(); end += 8) {
                    withThis.add(List.copyOf(prompt.subList(0, end)));
                }
                if (mostAlike(withThis) <= PartialBlockIndex.MOST_COMPARED / 2) {
                    computed(cache, ids).close();
                    stored = withThis;
                }
            }
            assertThat(stored).as("seed %d", seed).hasSizeGreaterThan(100);
            assertThat(cache.stats().prefixPartialTokens()).isPositive();
            assertThat(cache.stats().evictedBlocks()).isZero();
        }
    }

    /** How many blocks, at most, have their parent and their first half in common. */
    private static int mostAlike(Set<List<Integer>> stored) {
        Map<List<Integer>, Integer> counts = new HashMap<>();
        stored.forEach(block -> counts.merge(block.subList(0, block.size() - 4), 1, Integer::sum));
        return counts.values().stream().mapToInt(Integer::intValue).max().orElse(0);
    }

    private static int longest(Set<List<Integer>> stored, List<Integer> prompt) {
        int whole = 0;
        while (whole + 8 < prompt.size() && stored.contains(prompt.subList(0, whole + 8))) {
            whole += 8;
        }
        int best = whole;
        for (List<Integer> other : stored) {
            if (other.size() == whole + 8) {
                int same = 0;
                while (same < Math.min(other.size(), prompt.size() - 1)
                        && other.get(same).equals(prompt.get(same))) {
                    same++;
                }
                best = same >= whole + 4 ? Math.max(best, same) : best;
            }
        }
        return best;
    }

    /** Copies, evictions and forks in a small pool, FP8 with scales by token among its layers: every row read back, and attended. */
    @Test
    void whatIsCopiedIsWhatWouldHaveBeenComputed() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        CacheUnderTest test = new CacheUnderTest(false, Integer.SIZE, true);
        Step step = new Step(test.cache.batch(), new ArrayList<>());
        List<List<Integer>> prompts = new ArrayList<>();
        for (int i = 0; i < 250; i++) {
            List<Integer> prompt = new ArrayList<>();
            if (!prompts.isEmpty()) {
                List<Integer> known = prompts.get(Math.max(0, prompts.size() - 1 - random.nextInt(6)));
                prompt.addAll(known.subList(0, random.nextInt(known.size() + 1)));
            }
            for (int more = 1 + random.nextInt(12); more > 0; more--) {
                prompt.add(random.nextInt(100));
            }
            prompts.add(prompt);
            Entry entry = new Entry(SequenceOptions.DEFAULT);
            entry.tokens.addAll(prompt);
            Tracked one = new Tracked(
                    test.cache.open(prompt.stream().mapToInt(Integer::intValue).toArray()), entry);
            entry.computed = one.sequence().computedTokens();
            try {
                test.checkContent(one);
                entry.scheduled = prompt.size() - entry.computed;
                if (step.batch().add(one.sequence())) {
                    step.added().add(one);
                    test.checkMetadata(step);
                    for (int layer = 0; layer < CacheUnderTest.LAYERS; layer++) {
                        test.write(step, layer);
                        test.attendAndCompare(step, layer);
                    }
                    step.batch().commit();
                    entry.computed = prompt.size();
                    step.added().clear();
                    test.checkContent(one);
                }
                test.cache.ledger().pool().checkInvariants();
            } catch (AssertionError | RuntimeException e) {
                throw new AssertionError("seed " + seed + ", prompt " + i + ": " + e.getMessage(), e);
            }
            one.sequence().close();
        }
        assertThat(test.cache.stats().prefixPartialTokens()).as("seed %d", seed).isGreaterThan(50);
        assertThat(test.cache.stats().evictedBlocks()).as("seed %d", seed).isGreaterThan(50);
        test.close();
        assertThat(test.backend.liveAllocations()).isZero();
    }
}
