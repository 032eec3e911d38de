package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;

/** What a router hears; random operations against its mirror are in {@link KvCacheModelTest}. */
class CacheListenerTest {
    private static final int BLOCK = TieredCache.BLOCK_SIZE;

    private static TieredCache cache(int blocks, Tiers tiers, CacheListener listener) {
        return new TieredCache(
                true, TieredCache.config(blocks, tiers).listener(listener).build());
    }

    @Test
    void aRouterHearsOfBlocksThatComeFromATierWithTheirParentsAndTokens() {
        IndexMirror mirror = new IndexMirror(BLOCK);
        HostBlockStore host =
                HostBlockStore.create(ByteSize.of(100L * TieredCache.frameBytes()), EvictionPolicyKind.LRU);
        Tiers tiers = TieredCache.tiers(host).writtenOnFirstUse(true).build();
        try (TieredCache test = cache(6, tiers, mirror)) {
            int[] prompt = TieredCache.prompt(1, 5 * BLOCK + 1);
            test.serve(prompt);
            test.settle();
            test.serve(TieredCache.prompt(2, 5 * BLOCK + 1)); // takes the room
            mirror.checkEquals(test.cache.ledger().pool());
            int before = mirror.stored;
            assertThat(test.serve(prompt)).isGreaterThan(3 * BLOCK);
            assertThat(test.tier(0).loaded()).isGreaterThan(3);
            assertThat(mirror.stored).isGreaterThan(before + 3);
            mirror.checkEquals(test.cache.ledger().pool());
            assertThat(mirror.removed).isPositive();
        }
        assertThat(mirror.keys).as("after close").isEmpty();
    }

    @Test
    void clearingAndClosingAreOneEventEachAndTheLastOne() {
        IndexMirror mirror = new IndexMirror(BLOCK);
        try (TieredCache test = cache(8, Tiers.NONE, mirror)) {
            test.serve(TieredCache.prompt(1, 4 * BLOCK));
            test.cache.clearPrefixes();
            assertThat(mirror.cleared).isEqualTo(1);
            assertThat(mirror.keys).isEmpty();
            test.serve(TieredCache.prompt(1, 4 * BLOCK));
            assertThat(mirror.keys).hasSize(4);
        }
        assertThat(mirror.cleared).isEqualTo(2);
        assertThat(mirror.removed).isZero();
        assertThat(mirror.keys).isEmpty();
    }

    @Test
    void whatAListenerThrowsIsLoggedOnceAndChangesNothing() {
        List<LogRecord> logged = new ArrayList<>();
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord logRecord) {
                logged.add(logRecord);
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        Logger logger = Logger.getLogger("dev.kv8");
        logger.addHandler(handler);
        CacheListener broken = new CacheListener() {
            @Override
            public void stored(BlockKey key, BlockKey parent, int position, IntBuffer tokens) {
                throw new IllegalArgumentException("no");
            }

            @Override
            public void removed(BlockKey key) {
                throw new AssertionError("no");
            }
        };
        try (TieredCache test = cache(5, Tiers.NONE, broken)) {
            for (int seed = 0; seed < 4; seed++) {
                test.serve(TieredCache.prompt(seed, 3 * BLOCK));
            }
            assertThat(test.serve(TieredCache.prompt(3, 3 * BLOCK))).isGreaterThanOrEqualTo(2 * BLOCK);
            test.cache.ledger().pool().checkInvariants();
        } finally {
            logger.removeHandler(handler);
        }
        assertThat(logged.stream().filter(one -> one.getMessage().contains("CacheListener")))
                .hasSize(1);
    }

    @Test
    void aListenerThatCallsTheCacheIsRefusedAndMayReadItsCounters() {
        List<Throwable> refusals = new ArrayList<>();
        List<CacheStats> seen = new ArrayList<>();
        KvCache[] cache = new KvCache[1];
        CacheListener curious = new CacheListener() {
            @Override
            public void stored(BlockKey key, BlockKey parent, int position, IntBuffer tokens) {
                seen.add(cache[0].stats());
                try {
                    cache[0].open(1).close();
                } catch (IllegalStateException e) {
                    refusals.add(e);
                }
            }
        };
        try (TieredCache test = cache(4, Tiers.NONE, curious)) {
            cache[0] = test.cache;
            test.serve(TieredCache.prompt(1, BLOCK));
            assertThat(refusals).hasSize(1);
            assertThat(seen).hasSize(1);
            assertThat(test.cache.stats().openSequences()).isZero();
        }
    }

    @Test
    void aReclaimerThatCallsItsCacheIsRefusedInsteadOfWaitingForItself() {
        WriterGuard guard = new WriterGuard();
        assertThat(guard.tryEnterAsReclaimer()).isTrue();
        assertThatThrownBy(guard::enter)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("listener");
        guard.exit();
        guard.enter();
        guard.exit();
    }
}
