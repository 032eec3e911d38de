package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * In which order pages make room where one layer sees all keys and the other a window of two blocks: a0 is the first page of the one, w0
 * that of the other.
 */
class WindowEvictionTest {
    private static final int BLOCK = 8;
    private static final int WINDOW = 2 * BLOCK;
    private static final int PAGES = 100;

    private final SilentBackend backend = new SilentBackend();
    /** What was stored in each page. */
    private final Map<Integer, String> names = new HashMap<>();

    @AfterEach
    void close() {
        backend.close();
        assertThat(backend.liveAllocations()).isZero();
    }

    private KvCache cache(EvictionPolicyKind eviction) {
        return KvCache.create(
                backend,
                KvCacheConfig.builder()
                        .layers(2)
                        .layerWindows(0, WINDOW)
                        .kvHeads(1)
                        .headSize(64)
                        .dtype(KvCacheDType.FP8)
                        .blockSize(BLOCK)
                        .blocks(PAGES)
                        .eviction(eviction)
                        .build());
    }

    private void compute(KvCache cache, Sequence sequence, int count) {
        try (Batch batch = cache.batch()) {
            assertThat(batch.add(sequence, count)).isTrue();
            batch.commit();
        }
        BlockTable table = sequence.table;
        for (int group = 0; group < 2; group++) {
            for (int i = table.gone(group); i < table.size(); i++) {
                names.put(table.block(i, group), (group == 0 ? "a" : "w") + i);
            }
        }
    }

    private List<String> evictAll(KvCache cache) {
        BlockPool pool = cache.ledger().pool();
        return evict(cache, pool.total());
    }

    /** Takes {@code pages} pages of the pool and gives them back; the names of those that were cached. */
    private List<String> evict(KvCache cache, int pages) {
        BlockPool pool = cache.ledger().pool();
        List<Integer> taken = new ArrayList<>();
        List<String> evicted = new ArrayList<>();
        for (int i = 0; i < pages; i++) {
            long before = pool.evicted();
            int page = pool.allocate();
            taken.add(page);
            if (pool.evicted() > before) {
                evicted.add(String.valueOf(names.get(page)));
            }
        }
        taken.forEach(pool::release);
        pool.checkInvariants();
        return evicted;
    }

    private static List<String> order(String... names) {
        return List.of(names);
    }

    /** The window of the whole prompt goes with its end, one block of it before; what it left behind goes first. */
    @ParameterizedTest
    @EnumSource
    void aPromptThatIsReleasedAtOnceLeavesFromItsEnd(EvictionPolicyKind eviction) {
        try (KvCache cache = cache(eviction)) {
            Sequence sequence = cache.open(tokens(0, 6 * BLOCK + 1));
            compute(cache, sequence, 6 * BLOCK + 1);
            sequence.close();
            assertThat(evictAll(cache))
                    .isEqualTo(order("w0", "w1", "w2", "w3", "a5", "w5", "a4", "w4", "a3", "a2", "a1", "a0"));
        }
    }

    /** Three pages before the end of the prompt are kept while its window moves on, and go before the rest, which was held for longer. */
    @ParameterizedTest
    @EnumSource
    void anAnswersWindowLeavesThePromptsBehind(EvictionPolicyKind eviction) {
        try (KvCache cache = cache(eviction)) {
            Sequence sequence = cache.open(tokens(0, 5 * BLOCK + 1));
            compute(cache, sequence, 5 * BLOCK + 1);
            sequence.append(tokens(1000, 5 * BLOCK));
            for (int i = 0; i < 5; i++) {
                compute(cache, sequence, BLOCK);
            }
            sequence.close();
            assertThat(evictAll(cache))
                    .isEqualTo(order(
                            "w0", "w1", "w5", "w6", "w7", "w2", "w3", "w4", "a9", "w9", "a8", "w8", "a7", "a6", "a5",
                            "a4", "a3", "a2", "a1", "a0"));
        }
    }

    /** What a hit found counts as used, so it is kept when the window moves on; with ARC it outlives what was computed once. */
    @ParameterizedTest
    @EnumSource
    void aWindowThatWasFoundIsKept(EvictionPolicyKind eviction) {
        try (KvCache cache = cache(eviction)) {
            Sequence first = cache.open(tokens(0, 4 * BLOCK + 1));
            compute(cache, first, 4 * BLOCK + 1);
            first.close();
            Sequence second = cache.open(tokens(0, 9 * BLOCK + 1));
            assertThat(second.cachedTokens()).isEqualTo(4 * BLOCK);
            for (int i = 0; i < 5; i++) {
                compute(cache, second, BLOCK);
            }
            compute(cache, second, 1);
            second.close();
            List<String> expected = eviction == EvictionPolicyKind.LRU
                    ? order(
                            "w0", "w4", "w5", "w1", "w2", "w3", "w6", "a8", "w8", "a7", "w7", "a6", "a5", "a4", "a3",
                            "a2", "a1", "a0")
                    : order(
                            "w0", "w4", "w5", "w1", "w6", "a8", "w8", "a7", "w7", "a6", "a5", "a4", "w2", "w3", "a3",
                            "a2", "a1", "a0");
            assertThat(evictAll(cache)).isEqualTo(expected);
        }
    }

    /** The second text with a beginning shows where texts differ, and leaves a window there for the third. */
    @ParameterizedTest
    @EnumSource
    void aBeginningThatTextsShareIsFoundAgain(EvictionPolicyKind eviction) {
        try (KvCache cache = cache(eviction)) {
            BlockPool pool = cache.ledger().pool();
            int shared = 6 * BLOCK;
            List<Integer> found = new ArrayList<>();
            for (int text = 0; text < 4; text++) {
                int[] own = tokens(1000 * (text + 1), 6 * BLOCK + 1);
                Sequence sequence = cache.open(IntStream.concat(IntStream.range(0, shared), IntStream.of(own))
                        .toArray());
                found.add(sequence.cachedTokens());
                while (sequence.pendingTokens() > 0) {
                    compute(cache, sequence, Math.min(BLOCK, sequence.pendingTokens()));
                }
                sequence.close();
                // The first text's window before the shared end; then what the second one's has left behind elsewhere.
                evict(cache, pool.total() - pool.cached() + (text == 0 ? 6 : 9));
            }
            assertThat(found).containsExactly(0, 0, shared, shared);
        }
    }
}
