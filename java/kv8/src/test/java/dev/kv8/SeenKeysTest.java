package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SeenKeysTest {

    /** So few that they fit into one bucket, and none is pushed out. */
    @ParameterizedTest
    @ValueSource(ints = {1, 2, 5, 8})
    void aBlockIsGivenOnItsSecondUse(int capacity) {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        SeenKeys keys = new SeenKeys(capacity);
        Map<Long, Boolean> given = new LinkedHashMap<>(); // in the order of the first use
        for (int i = 0; i < 5000; i++) {
            String at = "seed " + seed + ", operation " + i;
            long key = random.nextInt(2 * capacity);
            boolean known = given.containsKey(key);
            boolean wasGiven = given.getOrDefault(key, false);
            switch (random.nextInt(4)) {
                case 0 -> {
                    assertThat(keys.shared(key)).as(at).isEqualTo(known && !wasGiven);
                    put(given, key, known, capacity);
                }
                case 1 -> {
                    assertThat(keys.computed(key)).as(at).isEqualTo(known);
                    put(given, key, known, capacity);
                }
                case 2 -> {
                    keys.loaded(key);
                    put(given, key, true, capacity);
                }
                default -> {
                    keys.notGiven(key);
                    given.computeIfPresent(key, (same, was) -> false);
                }
            }
        }
    }

    private static void put(Map<Long, Boolean> given, long key, boolean isGiven, int capacity) {
        if (!given.containsKey(key) && given.size() == capacity) {
            given.remove(given.keySet().iterator().next());
        }
        given.put(key, isGiven);
    }
}
