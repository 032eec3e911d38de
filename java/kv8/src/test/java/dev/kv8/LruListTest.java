package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class LruListTest {

    @Test
    void theOldestLeavesFirstWhateverLeftTheMiddle() {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        LruList list = new LruList(7);
        List<Integer> expected = new ArrayList<>();
        for (int i = 0; i < 10_000; i++) {
            int block = random.nextInt(7);
            assertThat(list.contains(block)).as("seed %d", seed).isEqualTo(expected.contains(block));
            if (expected.remove((Integer) block)) {
                list.remove(block);
            } else {
                expected.add(block);
                list.addNewest(block);
            }
            assertThat(list.size()).as("seed %d", seed).isEqualTo(expected.size());
            if (!expected.isEmpty()) {
                assertThat(list.oldest()).as("seed %d", seed).isEqualTo(expected.get(0));
            }
        }
    }
}
