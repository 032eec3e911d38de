package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class DeadlinesTest {
    private record Entry(int element, long time) {}

    @Test
    void theFirstDueComesFirstAndEqualOnesInTheOrderTheyWereAdded() {
        Deadlines deadlines = new Deadlines(5);
        deadlines.add(3, 100);
        deadlines.add(1, 7);
        deadlines.add(4, 100);
        deadlines.add(0, 100);
        deadlines.add(2, 101);
        assertThat(deadlines.poll(6)).isEqualTo(Deadlines.NONE);
        assertThat(deadlines.poll(100)).isEqualTo(1);
        assertThat(deadlines.poll(100)).isEqualTo(3);
        deadlines.remove(4);
        assertThat(deadlines.poll(100)).isEqualTo(0);
        assertThat(deadlines.poll(100)).isEqualTo(Deadlines.NONE);
        assertThat(deadlines.contains(2)).isTrue();
        assertThat(deadlines.poll(Long.MAX_VALUE)).isEqualTo(2);
        assertThat(deadlines.isEmpty()).isTrue();
    }

    @Test
    void whatIsAddedLateIsDueAtOnce() {
        Deadlines deadlines = new Deadlines(2);
        deadlines.add(0, 50);
        assertThat(deadlines.poll(60)).isZero();
        deadlines.add(1, 20);
        assertThat(deadlines.poll(60)).isEqualTo(1);
    }

    /** Against a list that is searched; times of all magnitudes, time passing in small and large steps. */
    @Test
    void itGivesWhatASearchedListGives() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        int elements = 40;
        Deadlines deadlines = new Deadlines(elements);
        List<Entry> expected = new ArrayList<>();
        long now = 0;
        for (int i = 0; i < 50_000; i++) {
            int element = random.nextInt(elements);
            boolean inside = deadlines.contains(element);
            int choice = random.nextInt(10);
            if (choice < 6 && !inside) {
                long time = now + (random.nextLong() >>> (24 + random.nextInt(40)));
                deadlines.add(element, time);
                expected.add(new Entry(element, time));
            } else if (choice < 7 && inside) {
                deadlines.remove(element);
                expected.removeIf(entry -> entry.element() == element);
            } else if (choice < 9) {
                now += random.nextLong() >>> (24 + random.nextInt(40));
                long present = now;
                while (true) {
                    int next = expected.stream()
                            .filter(entry -> entry.time() <= present)
                            .min(Comparator.comparingLong(Entry::time))
                            .map(Entry::element)
                            .orElse(Deadlines.NONE);
                    assertThat(deadlines.poll(now))
                            .as("seed %d, step %d", seed, i)
                            .isEqualTo(next);
                    if (next == Deadlines.NONE) {
                        break;
                    }
                    expected.removeIf(entry -> entry.element() == next);
                }
            }
            deadlines.checkInvariants();
            assertThat(deadlines.isEmpty()).isEqualTo(expected.isEmpty());
        }
    }
}
