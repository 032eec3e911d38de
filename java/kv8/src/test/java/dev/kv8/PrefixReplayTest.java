package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class PrefixReplayTest {

    @ParameterizedTest
    @EnumSource
    void aHitIsABlockOfTheLongestCachedPrefix(EvictionPolicyKind kind) {
        PrefixReplay replay = new PrefixReplay(kind, 8);
        assertThat(replay.request(new long[] {1, 2, 3}, 0, 3)).isZero();
        assertThat(replay.request(new long[] {1, 2, 4}, 0, 3)).isEqualTo(2);
        assertThat(replay.request(new long[] {9, 2, 3}, 0, 3))
                .as("cached, but behind a miss")
                .isZero();
        assertThat(replay.request(new long[] {7, 1, 2, 4}, 1, 4))
                .as("a part of the array")
                .isEqualTo(3);
        assertThat(replay.requests()).isEqualTo(4);
        assertThat(replay.references()).isEqualTo(12);
        assertThat(replay.hits()).isEqualTo(5);
        assertThat(replay.hitRate()).isEqualTo(5.0 / 12);
        assertThat(replay.evictions()).isZero();
        assertThat(replay.policy()).isEqualTo(kind);
        assertThat(replay.capacity()).isEqualTo(8);
    }

    @Test
    void aTierServesWhatTheCacheEvicted() {
        PrefixReplay replay = PrefixReplay.withTier(EvictionPolicyKind.LRU, 2, EvictionPolicyKind.LRU, 8, 100, true);
        replay.request(new long[] {1, 2}, 0, 2);
        replay.request(new long[] {3, 4}, 0, 2);
        assertThat(replay.tierWrites()).isEqualTo(4);
        assertThat(replay.request(new long[] {1, 2}, 0, 2)).isZero();
        assertThat(replay.tierHits()).isEqualTo(2);
        assertThat(replay.tierWrites()).as("each once").isEqualTo(4);
    }

    @Test
    void aTierGetsBlocksOnTheirSecondUse() {
        PrefixReplay replay = PrefixReplay.withTier(EvictionPolicyKind.LRU, 2, EvictionPolicyKind.LRU, 8, 100, false);
        replay.request(new long[] {1, 2}, 0, 2);
        assertThat(replay.tierWrites()).isZero();
        replay.request(new long[] {1, 2}, 0, 2);
        assertThat(replay.tierWrites()).as("shared").isEqualTo(2);
        replay.request(new long[] {3, 4}, 0, 2);
        replay.request(new long[] {5, 6}, 0, 2);
        replay.request(new long[] {3, 4}, 0, 2);
        assertThat(replay.tierWrites()).as("computed again").isEqualTo(4);
        replay.request(new long[] {1, 2}, 0, 2);
        assertThat(replay.tierHits()).isEqualTo(2);
        assertThatThrownBy(
                        () -> PrefixReplay.withTier(EvictionPolicyKind.LRU, 2, EvictionPolicyKind.LRU, 0, 100, false))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("A tier of 0 blocks");
        assertThatThrownBy(() -> PrefixReplay.withTier(EvictionPolicyKind.LRU, 2, EvictionPolicyKind.LRU, 2, 0, false))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("rememberedKeys is 0");
    }

    @ParameterizedTest
    @EnumSource
    void aPromptLongerThanTheCacheIsPlacedUpToIt(EvictionPolicyKind kind) {
        PrefixReplay replay = new PrefixReplay(kind, 2);
        long[] chain = {1, 2, 3};
        assertThat(replay.request(chain, 0, 3)).isZero();
        assertThat(replay.request(chain, 0, 3)).isEqualTo(2);
        assertThat(replay.references()).isEqualTo(6);
        assertThat(replay.evictions()).isZero();
        replay.request(new long[] {5}, 0, 1);
        assertThat(replay.evictions()).isEqualTo(1);
        assertThat(replay.request(chain, 0, 3)).as("the tail went first").isEqualTo(1);
    }

    @ParameterizedTest
    @EnumSource
    void aKeyTwiceInARequestIsRefused(EvictionPolicyKind kind) {
        PrefixReplay replay = new PrefixReplay(kind, 4);
        replay.request(new long[] {1, 2}, 0, 2);
        for (long[] chain : new long[][] {{1, 2, 1}, {1, 5, 5}, {6, 1, 6}}) {
            assertThatThrownBy(() -> replay.request(chain, 0, 3))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageMatching("A request names block [156] twice; each block .*");
            replay.checkInvariants();
        }
        assertThat(replay.requests()).isEqualTo(1);
        assertThat(replay.references()).isEqualTo(2);
    }

    @ParameterizedTest
    @ValueSource(ints = {0, -1, PrefixReplay.MAX_CAPACITY + 1, Integer.MAX_VALUE})
    void aCapacityThatCanNotBeIsRefused(int capacity) {
        assertThatThrownBy(() -> new PrefixReplay(EvictionPolicyKind.ARC, capacity))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(capacity + " blocks")
                .hasMessageContaining("1 to 67108863");
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3})
    void lruServesWhatAnOrderedSetOfKeysServes(long seed) {
        int capacity = 40;
        PrefixReplay replay = new PrefixReplay(EvictionPolicyKind.LRU, capacity);
        Set<Long> cached = new LinkedHashSet<>();
        Random random = new Random(seed);
        for (int request = 0; request < 3000; request++) {
            long[] chain = chain(random);
            List<Long> placed = new ArrayList<>();
            for (int i = 0; i < Math.min(chain.length, capacity); i++) {
                placed.add(chain[i]);
            }
            int expected = 0;
            while (expected < placed.size() && cached.contains(placed.get(expected))) {
                expected++;
            }
            placed.forEach(cached::remove);
            while (cached.size() + placed.size() > capacity) {
                cached.remove(cached.iterator().next());
            }
            Collections.reverse(placed);
            cached.addAll(placed);
            assertThat(replay.request(chain, 0, chain.length))
                    .as("hits, seed %d, request %d", seed, request)
                    .isEqualTo(expected);
            replay.checkInvariants();
        }
        assertThat(replay.hitRate()).as("seed %d", seed).isBetween(0.1, 0.9);
    }

    /** A path in a tree of which each node has two children, named by the steps to it. */
    private static long[] chain(Random random) {
        long[] chain = new long[1 + random.nextInt(random.nextInt(20) == 0 ? 60 : 8)];
        long node = 1;
        for (int i = 0; i < chain.length; i++) {
            node = 31 * node + random.nextInt(2);
            chain[i] = node;
        }
        return chain;
    }

    @Test
    void aCacheThatHoldsEverythingServesTheSameWithEveryPolicy() {
        Random random = new Random(5);
        PrefixReplay lru = new PrefixReplay(EvictionPolicyKind.LRU, 1 << 14);
        PrefixReplay arc = new PrefixReplay(EvictionPolicyKind.ARC, 1 << 14);
        for (int request = 0; request < 2000; request++) {
            long[] chain = chain(random);
            assertThat(arc.request(chain, 0, chain.length)).isEqualTo(lru.request(chain, 0, chain.length));
        }
        assertThat(lru.evictions() + arc.evictions()).isZero();
        assertThat(lru.hits()).isPositive();
    }
}
