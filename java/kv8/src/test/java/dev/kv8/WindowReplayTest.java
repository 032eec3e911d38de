package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Conversations that begin alike in few ways and go on in turns, where half of the layers see a window: what is served against sets of
 * pages in the order of their release.
 */
class WindowReplayTest {
    private static final int BLOCK = 16;

    @ParameterizedTest(name = "{0} pages, a window of {1}, seed {2}")
    @CsvSource({"120, 2, 1", "300, 2, 2", "300, 5, 3", "700, 3, 4", "90, 60, 5"})
    void pagesServeWhatOrderedSetsOfThemServe(int capacity, int window, long seed) {
        PrefixReplay replay = PrefixReplay.withWindow(EvictionPolicyKind.LRU, capacity, window);
        Pages pages = new Pages(capacity, window);
        int request = 0;
        for (long[] chain : conversations(seed)) {
            assertThat(replay.request(chain, 0, chain.length))
                    .as("hits of request %d", request++)
                    .isEqualTo(pages.request(chain));
            replay.checkInvariants();
        }
        assertThat(replay.hitRate()).isBetween(0.05, 0.95);
    }

    @Test
    void aCacheServesWhatTheReplaySays() {
        int capacity = 300;
        int window = 3;
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(2)
                .layerWindows(0, window * BLOCK)
                .kvHeads(1)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blockSize(BLOCK)
                .blocks(capacity + 2)
                .eviction(EvictionPolicyKind.LRU)
                .build();
        PrefixReplay replay = PrefixReplay.withWindow(EvictionPolicyKind.LRU, capacity, window);
        try (SilentBackend backend = new SilentBackend();
                KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch()) {
            for (long[] chain : conversations(6)) {
                try (Sequence sequence = cache.open(tokens(chain))) {
                    assertThat(sequence.cachedTokens()).isEqualTo(BLOCK * replay.request(chain, 0, chain.length));
                    while (sequence.pendingTokens() > 0) {
                        assertThat(batch.add(sequence, Math.min(window * BLOCK, sequence.pendingTokens())))
                                .isTrue();
                        batch.commit();
                    }
                }
            }
        }
        assertThat(replay.hitRate()).isBetween(0.05, 0.95);
    }

    /** Sessions in turn would find nothing, did what moving windows leave behind take the room of what they will be found by. */
    @ParameterizedTest
    @CsvSource({"LRU", "ARC"})
    void sessionsInTurnAreServedFromAPoolThatHoldsTheirEnds(EvictionPolicyKind eviction) {
        int sessions = 8;
        PrefixReplay replay = PrefixReplay.withWindow(eviction, sessions * (30 + 3 * 4) + 40, 2);
        for (int turn = 0; turn < 5; turn++) {
            for (int session = 0; session < sessions; session++) {
                long first = 1000L * session;
                int length = 10 + 5 * turn;
                long[] chain =
                        IntStream.range(0, length).mapToLong(i -> first + i).toArray();
                assertThat(replay.request(chain, 0, length))
                        .as("turn %d of session %d", turn, session)
                        .isEqualTo(turn == 0 ? 0 : length - 5);
            }
        }
        assertThat(replay.evictions()).isPositive();
    }

    private static int[] tokens(long[] chain) {
        int[] tokens = new int[chain.length * BLOCK + 1];
        for (int i = 0; i < chain.length; i++) {
            tokens[i * BLOCK] = (int) chain[i];
        }
        return tokens;
    }

    /** Some 600 requests, of which each goes on from what one of twelve sessions said before, or begins anew. */
    private static List<long[]> conversations(long seed) {
        Random random = new Random(seed);
        List<long[]> requests = new ArrayList<>();
        List<List<Long>> sessions = new ArrayList<>();
        long next = 100;
        for (int i = 0; i < 600; i++) {
            List<Long> session = new ArrayList<>();
            if (sessions.size() < 12 || random.nextInt(6) == 0) {
                long system = random.nextInt(3);
                IntStream.range(0, 5 + (int) system).forEach(block -> session.add(10 * system + block));
            } else {
                session.addAll(sessions.remove(random.nextInt(sessions.size())));
                session.remove(session.size() - 1); // it was filled in part
            }
            for (int more = 1 + random.nextInt(6); more > 0; more--) {
                session.add(next++);
            }
            sessions.add(session);
            if (sessions.size() > 12 || session.size() > 40) {
                sessions.remove(session.size() > 40 ? sessions.size() - 1 : 0);
            }
            requests.add(session.stream().mapToLong(Long::longValue).toArray());
        }
        return requests;
    }

    /** A page of those that see all keys or of those with a window, by the key of its block. */
    private record Page(boolean windowed, long key) {}

    /** A cache as ordered sets, of which the first page goes first. */
    private static final class Pages {
        private final int total;
        private final int capacity;
        private final int window;
        private final Set<Page> kept = new LinkedHashSet<>();
        private final Set<Page> demoted = new LinkedHashSet<>();
        /** Pages of the one request, those that are cached as well not among them. */
        private final Set<Page> held = new LinkedHashSet<>();
        /** Of these, what another page was cached for already. */
        private final Set<Page> copies = new LinkedHashSet<>();

        Pages(int capacity, int window) {
            this.capacity = capacity;
            this.window = window;
            total = capacity + 2;
        }

        private boolean isCached(Page page) {
            return kept.contains(page) || demoted.contains(page);
        }

        int request(long[] chain) {
            int count = Math.min(chain.length, Math.max(capacity / 2, capacity - 2 * window));
            int shared = 0;
            while (shared < count && isCached(new Page(false, chain[shared]))) {
                shared++;
            }
            int found = shared;
            while (found > 0 && !isWindowThere(chain, found)) {
                found--;
            }
            for (int i = 0; i < found; i++) {
                use(new Page(false, chain[i]));
                if (i >= found - window) {
                    use(new Page(true, chain[i]));
                }
            }
            List<Integer> ends = List.of(count, found, shared);
            int gone = Math.max(0, found - window);
            for (int from = found; from <= count; ) {
                int fallen = Math.max(0, from - window);
                fall(chain, gone, fallen, ends);
                gone = fallen;
                int to = Math.min(from + window, count);
                boolean isLast = to - from < window;
                makeRoom(2 * (to - from) + (isLast ? 2 : 0));
                for (int i = from; i < to; i++) {
                    hold(new Page(false, chain[i]));
                    hold(new Page(true, chain[i]));
                }
                from = isLast ? count + 1 : to;
            }
            fall(chain, gone, Math.max(0, count - window), ends);
            gone = Math.max(gone, count - window);
            for (int i = count - 1; i >= 0; i--) {
                keep(new Page(false, chain[i]), kept);
                if (i >= gone) {
                    keep(new Page(true, chain[i]), kept);
                }
            }
            return found;
        }

        private boolean isWindowThere(long[] chain, int end) {
            return IntStream.range(Math.max(0, end - window), end).allMatch(i -> isCached(new Page(true, chain[i])));
        }

        private void use(Page page) {
            kept.remove(page);
            demoted.remove(page);
            held.add(page);
        }

        private void makeRoom(int pages) {
            while (total - held.size() - copies.size() - kept.size() - demoted.size() < pages) {
                Set<Page> first = demoted.isEmpty() ? kept : demoted;
                first.remove(first.iterator().next());
            }
        }

        /** What was computed is cached, unless it is already: then that one is of use again. */
        private void hold(Page page) {
            if (!isCached(page)) {
                held.add(page);
                return;
            }
            copies.add(page);
            if (demoted.remove(page)) {
                kept.add(page);
            }
        }

        private void keep(Page page, Set<Page> where) {
            if (!copies.remove(page)) {
                held.remove(page);
                where.add(page);
            }
        }

        /** Windowed pages that the window has left behind. */
        private void fall(long[] chain, int from, int to, List<Integer> ends) {
            for (int i = from; i < to; i++) {
                int index = i;
                boolean expected = ends.stream().anyMatch(end -> index < end && index >= end - 1 - window);
                keep(new Page(true, chain[i]), expected ? kept : demoted);
            }
        }
    }
}
