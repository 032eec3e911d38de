package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Thousands of random operations on policies over few blocks, against {@link EvictionOracle}, with all invariants checked
 * after each. A failure names the seed, the number of blocks and the operation; -Dkv8.seed=N repeats a seed,
 * -Dkv8.operations=N sets how many.
 */
class EvictionPolicyModelTest {
    private static final int OPERATIONS = Integer.getInteger("kv8.operations", 4000);

    /** So many that none of the keys that are drawn finds its bucket full. */
    private static final int BUCKETS = 1 << 12;

    static Stream<Arguments> runs() {
        Long given = Long.getLong("kv8.seed");
        List<Long> seeds = given != null ? List.of(given) : List.of(1L, 2L, System.nanoTime());
        return Stream.of(EvictionPolicyKind.values())
                .flatMap(kind -> seeds.stream()
                        .flatMap(seed -> Stream.of(1, 2, 5, 24).map(blocks -> Arguments.of(kind, seed, blocks))));
    }

    @ParameterizedTest(name = "{0}, seed {1}, {2} blocks")
    @MethodSource("runs")
    void aPolicyDoesWhatTheOracleDoes(EvictionPolicyKind kind, long seed, int blocks) {
        RandomDriver driver = new RandomDriver(kind, blocks, new Random(seed));
        ModelRun.of(kind + ", seed " + seed + ", " + blocks + " blocks", OPERATIONS, driver);
        assertThat(driver.evictions).as("evictions, seed %d", seed).isGreaterThan(OPERATIONS / 50);
        if (kind == EvictionPolicyKind.ARC && blocks > 1) {
            assertThat(driver.full)
                    .as("checks with all ghosts there, seed %d", seed)
                    .isPositive();
            assertThat(driver.targets).as("targets, seed %d", seed).hasSizeGreaterThan(blocks);
        }
    }

    private static final class RandomDriver implements ModelRun.Driver {
        final int blocks;
        final Random random;
        final EvictionPolicy policy;
        final EvictionOracle oracle;
        final List<Integer> uncached = new ArrayList<>();
        final Map<Integer, Long> keys = new HashMap<>();
        final List<Double> targets = new ArrayList<>();
        String last = "nothing";
        int evictions;
        int full;

        RandomDriver(EvictionPolicyKind kind, int blocks, Random random) {
            this.blocks = blocks;
            this.random = random;
            policy = kind == EvictionPolicyKind.ARC
                    ? new ArcPolicy(blocks, this::key, new GhostLists(4 * blocks, BUCKETS))
                    : kind.create(blocks, this::key);
            oracle = EvictionOracle.of(kind, blocks);
            for (int block = 0; block < blocks; block++) {
                uncached.add(block);
            }
        }

        private long key(int block) {
            return Objects.requireNonNull(keys.get(block));
        }

        @Override
        public String last() {
            return last;
        }

        @Override
        public void operate() {
            int choice = random.nextInt(100);
            List<Integer> held = keys.keySet().stream()
                    .filter(b -> !oracle.idle().contains(b))
                    .toList();
            if (choice < 40) {
                admit();
            } else if (choice < 60 && !keys.isEmpty()) {
                hit(any(List.copyOf(keys.keySet())));
            } else if (choice < 97 && !held.isEmpty()) {
                release(held);
            } else if (choice >= 97 && !keys.isEmpty()) {
                int block = any(List.copyOf(keys.keySet()));
                last = "forget " + block;
                policy.forget(block);
                oracle.forget(block);
                keys.remove(block);
                uncached.add(block);
            }
        }

        private int any(List<Integer> of) {
            return of.get(random.nextInt(of.size()));
        }

        /** A key not cached, among few, so that many come back; now and then two blocks share a fingerprint. */
        private void admit() {
            long key = random.nextInt(8 * blocks) * (random.nextBoolean() ? 1L : 1L << 40);
            if (keys.containsValue(key) && random.nextInt(10) != 0) {
                return;
            }
            if (uncached.isEmpty()) {
                if (oracle.idle().isEmpty()) {
                    return;
                }
                last = "evict";
                int block = policy.evict();
                assertThat(block).isEqualTo(oracle.evict());
                keys.remove(block);
                uncached.add(block);
                evictions++;
            }
            int block = uncached.remove(uncached.size() - 1);
            last = "admit " + block + " as " + key;
            keys.put(block, key);
            policy.admit(block);
            oracle.admit(block, key);
        }

        private void hit(int block) {
            last = "hit " + block;
            policy.hit(block);
            oracle.hit(block);
        }

        /** Some of the held blocks, as a chain would be. */
        private void release(List<Integer> held) {
            int count = 1 + random.nextInt(held.size());
            last = "release " + held.subList(0, count);
            for (int block : held.subList(0, count)) {
                policy.release(block);
                oracle.release(block);
            }
        }

        @Override
        public void check(int operation) {
            policy.checkInvariants();
            assertThat(policy.idle()).isEqualTo(oracle.idle().size());
            if (policy instanceof ArcPolicy arc && oracle instanceof EvictionOracle.Arc expected) {
                assertThat(arc.target()).isEqualTo(expected.p);
                assertThat(arc.ghosts()).isEqualTo(expected.b1.size() + expected.b2.size());
                full += arc.ghosts() == 4 * blocks ? 1 : 0;
                if (!targets.contains(arc.target())) {
                    targets.add(arc.target());
                }
            }
        }
    }
}
