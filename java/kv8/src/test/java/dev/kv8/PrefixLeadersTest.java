package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import org.junit.jupiter.api.Test;

class PrefixLeadersTest {
    /** Few first longs, so that keys meet in their slots and differ behind the first 64 bits. */
    private static long[] key(Random random) {
        return new long[] {random.nextInt(40), random.nextInt(3), 0, random.nextInt(2)};
    }

    @Test
    void everyLeaderIsFoundByItsWholeKeyOnly() {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        PrefixLeaders leaders = new PrefixLeaders();
        Map<List<Long>, BlockTable> expected = new HashMap<>();
        List<List<Long>> order = new ArrayList<>();
        for (int i = 0; i < 20_000; i++) {
            long[] key = key(random);
            List<Long> name = List.of(key[0], key[1], key[2], key[3]);
            assertThat(leaders.find(key, 0)).as("seed %d", seed).isSameAs(expected.get(name));
            if (expected.get(name) == null && random.nextInt(3) > 0) {
                BlockTable table = new BlockTable(SequenceOptions.DEFAULT);
                leaders.add(table, key, 0);
                assertThat(table.leads).isTrue();
                expected.put(name, table);
                order.add(name);
            } else if (!order.isEmpty()) {
                BlockTable table = Objects.requireNonNull(expected.remove(order.remove(random.nextInt(order.size()))));
                leaders.remove(table);
                leaders.remove(table);
                assertThat(table.leads).isFalse();
            }
            assertThat(leaders.size()).isEqualTo(expected.size());
        }
        leaders.clear();
        assertThat(leaders.size()).isZero();
        assertThat(expected.values()).noneMatch(table -> table.leads);
    }
}
