package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FingerprintIndexTest {
    /** Times this, small numbers hash to themselves, so to the first slot, and small negative ones to the last. */
    private static final long CLUSTERED = inverse(0x9E3779B97F4A7C15L);

    @ParameterizedTest
    @CsvSource({"1, 1", "2, 3", "7, 1", "64, 1", "64, 2", "100, 3"})
    void itFindsWhatAMapFinds(int entries, long seed) {
        long[] fingerprints = new long[entries];
        FingerprintIndex index = new FingerprintIndex(fingerprints);
        Map<Long, Integer> expected = new HashMap<>();
        Random random = new Random(seed);
        for (int i = 0; i < 5000; i++) {
            int entry = random.nextInt(entries);
            if (expected.containsValue(entry)) {
                index.remove(entry);
                expected.remove(fingerprints[entry]);
            } else {
                long fingerprint = fingerprint(random, entries);
                if (!expected.containsKey(fingerprint)) {
                    fingerprints[entry] = fingerprint;
                    index.add(entry);
                    expected.put(fingerprint, entry);
                }
            }
            long probe = fingerprint(random, entries);
            assertThat(index.find(probe))
                    .as("%d entries, seed %d, operation %d", entries, seed, i)
                    .isEqualTo(expected.getOrDefault(probe, FingerprintIndex.ABSENT));
            expected.forEach((key, value) -> assertThat(index.find(key)).isEqualTo(value));
        }
    }

    /** Half of them have the same home, 0 for one, or the last slot, so that runs wrap round the end. */
    private static long fingerprint(Random random, int entries) {
        long small = random.nextInt(2 * entries);
        return random.nextBoolean() ? small : CLUSTERED * (random.nextBoolean() ? small : -1 - small);
    }

    private static long inverse(long odd) {
        long inverse = odd;
        for (int i = 0; i < 6; i++) {
            inverse *= 2 - odd * inverse;
        }
        return inverse;
    }
}
