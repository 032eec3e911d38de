package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class NumberedListTest {

    /** Numbers begin so that they pass 2^31 or 2^32 on the way. */
    @ParameterizedTest(name = "capacity {0}, from {1} on, {2} of 100 are additions")
    @CsvSource({
        "1, 0, 40",
        "20, -100, 50",
        "20, -100, 90",
        "33, 2147483000, 60",
        "100, -1000, 50",
        "100, -1000, 95",
        "1000, -3000, 70"
    })
    void itHasWhatAListHas(int capacity, int first, int additions) {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        NumberedList list = new NumberedList(capacity, first);
        int ring = NumberedList.ring(capacity);
        List<Integer> expected = new ArrayList<>();
        int next = first;
        for (int i = 0; i < 20_000; i++) {
            if (random.nextInt(100) < additions) {
                assertThat(list.add()).as("seed %d, operation %d", seed, i).isEqualTo(next);
                expected.add(next++);
                int newest = next - 1;
                expected.removeIf(number -> newest - number >= ring);
            } else if (!expected.isEmpty() && random.nextBoolean()) {
                list.removeOldest();
                expected.remove(0);
            } else if (!expected.isEmpty()) {
                list.remove(expected.remove(random.nextInt(expected.size())));
            }
            assertThat(list.size()).as("seed %d, operation %d", seed, i).isEqualTo(expected.size());
            int probe = next - random.nextInt(3 * ring) + ring / 2;
            assertThat(list.contains(probe))
                    .as("%d, seed %d, operation %d", probe, seed, i)
                    .isEqualTo(expected.contains(probe));
            if (!expected.isEmpty()) {
                int member = expected.get(random.nextInt(expected.size()));
                assertThat(list.contains(member))
                        .as("seed %d, operation %d", seed, i)
                        .isTrue();
                assertThat(list.age(member)).isEqualTo(next - member);
            }
            if (i % 100 == 0) {
                list.checkInvariants();
            }
        }
    }

    @Test
    void itsRingIsTwiceWhatItIsFor() {
        assertThat(NumberedList.ring(1)).isEqualTo(64);
        assertThat(NumberedList.ring(64)).isEqualTo(128);
        assertThat(NumberedList.ring(65)).isEqualTo(256);
        assertThat(NumberedList.ring(1 << 30)).isEqualTo(1 << 30);
    }
}
