package dev.kv8.redis;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.KvBackend;
import dev.kv8.Sequence;
import dev.kv8.TierStats;
import dev.kv8.Tiers;
import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Caches that share prefixes through a real server: the same output as without it, bit for bit, whatever the server does. */
class RedisTierTest {
    private static final int PROMPTS = 8;

    /** A busy machine may stand still for seconds. */
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    private static final Map<Integer, float[]> EXPECTED = new HashMap<>();

    @BeforeAll
    static void computeWithoutTiers() {
        try (KvBackend backend = KvBackend.open("cpu");
                AttendingCache plain = new AttendingCache(backend, Tiers.NONE)) {
            for (int seed = 0; seed < PROMPTS; seed++) {
                EXPECTED.put(seed, plain.answer(prompt(seed)).lastRow);
            }
        }
    }

    @AfterAll
    static void forget() {
        EXPECTED.clear();
    }

    private static int[] prompt(int seed) {
        return AttendingCache.prompt(seed, 100);
    }

    /** Answers all prompts as expected; the tokens that were not computed. */
    private static int answerAll(AttendingCache cache) {
        int cached = 0;
        for (int seed = 0; seed < PROMPTS; seed++) {
            AttendingCache.Answer answer = cache.answer(prompt(seed));
            assertThat(answer.lastRow).as("prompt %d", seed).isEqualTo(EXPECTED.get(seed));
            cached += answer.cachedTokens;
        }
        return cached;
    }

    private static Tiers tiers(RedisBlockStore store) {
        return Tiers.builder()
                .add(store)
                .writtenOnFirstUse(true)
                .prefillTokensPerSecond(1)
                .loadDeadline(PATIENCE)
                .storeDeadline(PATIENCE)
                .build();
    }

    private static RedisBlockStore open(RedisServer server) {
        return RedisBlockStore.builder(server.uri()).commandTimeout(PATIENCE).open();
    }

    @Test
    void oneCacheFindsWhatAnotherComputed() throws IOException {
        try (KvBackend backend = KvBackend.open("cpu");
                RedisServer server = RedisServer.start();
                RedisBlockStore store = open(server)) {
            try (AttendingCache one = new AttendingCache(backend, tiers(store))) {
                assertThat(answerAll(one)).isZero();
                one.settle();
                assertThat(one.cache().tierStats().get(0).stored()).isEqualTo(PROMPTS * 6);
            }
            try (AttendingCache other = new AttendingCache(backend, tiers(store))) {
                assertThat(answerAll(other)).isEqualTo(PROMPTS * 96);
                assertThat(other.cache().tierStats().get(0).loaded()).isEqualTo(PROMPTS * 6);
            }
        }
    }

    @Test
    void aServerThatIsKilledAndRestartedChangesNoOutput() throws Exception {
        try (KvBackend backend = KvBackend.open("cpu");
                RedisServer server = RedisServer.start();
                RedisBlockStore store = open(server);
                AttendingCache cache = new AttendingCache(backend, tiers(store))) {
            answerAll(cache);
            cache.settle();
            int[] prompt = prompt(0);
            try (Sequence loading = cache.cache().open(prompt)) {
                server.kill(); // in the middle of a batch, or right before
                loading.awaitLoaded();
                assertThat(cache.compute(loading, prompt).lastRow).isEqualTo(EXPECTED.get(0));
            }
            answerAll(cache);
            answerAll(cache);
            TierStats down = cache.cache().tierStats().get(0);
            assertThat(down.failed() + down.dropped()).isPositive();
            server.restart();
            long end = System.nanoTime() + 30_000_000_000L;
            long before = down.loaded();
            while (cache.cache().tierStats().get(0).loaded() == before) {
                answerAll(cache);
                assertThat(System.nanoTime()).as("it is used again").isLessThan(end);
            }
        }
    }

    @Test
    void aServerThatDoesNotAnswerCostsDeadlinesAndThenNothing() throws Exception {
        try (KvBackend backend = KvBackend.open("cpu");
                RedisServer server = RedisServer.start();
                RedisBlockStore store = open(server)) {
            Tiers impatient = Tiers.builder()
                    .add(store)
                    .writtenOnFirstUse(true)
                    .loadDeadline(Duration.ofMillis(30))
                    .build();
            try (AttendingCache cache = new AttendingCache(backend, impatient)) {
                answerAll(cache);
                cache.settle();
                server.freeze();
                answerAll(cache);
                answerAll(cache);
                TierStats stats = cache.cache().tierStats().get(0);
                assertThat(stats.late() + stats.failed()).isBetween(3L, 40L);
                server.thaw();
                answerAll(cache);
            }
        }
    }

    @Test
    void aFullServerChangesNoOutput() throws IOException {
        try (KvBackend backend = KvBackend.open("cpu");
                RedisServer server = RedisServer.start("--maxmemory", "1mb", "--maxmemory-policy", "noeviction");
                RedisBlockStore store = open(server);
                AttendingCache cache = new AttendingCache(backend, tiers(store))) {
            answerAll(cache);
            cache.settle();
            assertThat(cache.cache().tierStats().get(0).refused()).isPositive();
            assertThat(cache.cache().tierStats().get(0).open()).isFalse();
            answerAll(cache);
        }
    }
}
