package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PrefixIndexTest {

    /** Keys whose first longs differ in a few bits only, so that most of them collide and many differ in one long alone. */
    @ParameterizedTest(name = "{0} blocks, {1} first longs, {2} bits")
    @CsvSource({
        "1, 1, 32",
        "2, 1, 32",
        "7, 2, 32",
        "16, 1, 32",
        "33, 4, 32",
        "64, 256, 32",
        "64, 256, 8",
        "64, 256, 2",
        "64, 256, 0"
    })
    void whatWasAddedIsFoundAndNothingElse(int blocks, int firstLongs, int hashBits) {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        PrefixIndex index = new PrefixIndex(blocks, hashBits);
        Map<String, Integer> blockOf = new HashMap<>();
        Map<Integer, String> keyOf = new HashMap<>();
        for (int i = 0; i < 20_000; i++) {
            long[] key = {
                -1, random.nextInt(firstLongs) - firstLongs / 2, random.nextInt(2), random.nextInt(2), random.nextInt(8)
            };
            String name = Arrays.toString(key);
            assertThat(index.find(key, 1)).as("seed %d, key %s", seed, name).isEqualTo(blockOf.getOrDefault(name, -1));
            int block = random.nextInt(blocks);
            assertThat(index.contains(block))
                    .as("seed %d, block %d", seed, block)
                    .isEqualTo(keyOf.containsKey(block));
            if (keyOf.containsKey(block)) {
                index.remove(block);
                blockOf.remove(keyOf.remove(block));
            } else {
                boolean added = index.add(block, key, 1);
                assertThat(added).as("seed %d, key %s", seed, name).isEqualTo(!blockOf.containsKey(name));
                if (added) {
                    blockOf.put(name, block);
                    keyOf.put(block, name);
                }
            }
            assertThat(index.size()).as("seed %d", seed).isEqualTo(keyOf.size());
        }
    }
}
