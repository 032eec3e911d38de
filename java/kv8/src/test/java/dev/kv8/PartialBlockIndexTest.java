package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import org.junit.jupiter.api.Test;

class PartialBlockIndexTest {
    private static final long PARENT = 0x1234_5678_9ABC_DEF0L;

    private static int[] block(int... tokens) {
        int[] whole = new int[8];
        System.arraycopy(tokens, 0, whole, 0, tokens.length);
        return whole;
    }

    @Test
    void theNewestOfEqualCandidatesIsFound() {
        PartialBlockIndex index = new PartialBlockIndex(8, 8);
        index.add(0, PARENT, block(1, 2, 3, 4, 5, 60), 0);
        index.add(1, PARENT, block(1, 2, 3, 4, 5, 61), 0);
        index.add(2, PARENT, block(1, 2, 3, 4, 50), 0);
        int[] wanted = block(1, 2, 3, 4, 5, 6, 7, 8);
        assertThat(index.find(PARENT, wanted, 0, 8)).isEqualTo(1);
        assertThat(index.run(1, wanted, 0, 8)).isEqualTo(5);
        index.remove(1);
        index.remove(1);
        assertThat(index.find(PARENT, wanted, 0, 8)).isEqualTo(0);
        index.remove(0);
        assertThat(index.find(PARENT, wanted, 0, 8)).isEqualTo(2);
        index.remove(2);
        assertThat(index.find(PARENT, wanted, 0, 8)).isEqualTo(PartialBlockIndex.NONE);
    }

    @Test
    void ofALargeBlockEightTokensAreEnough() {
        PartialBlockIndex index = new PartialBlockIndex(8, 128);
        int[] stored = new Random(1).ints(128).toArray();
        index.add(3, PARENT, stored, 0);
        int[] wanted = new int[128];
        System.arraycopy(stored, 0, wanted, 0, 8);
        assertThat(index.find(PARENT, wanted, 0, 128)).isEqualTo(3);
        wanted[7]++;
        assertThat(index.find(PARENT, wanted, 0, 128)).isEqualTo(PartialBlockIndex.NONE);
    }

    @Test
    void anotherParentIsAnotherPlace() {
        PartialBlockIndex index = new PartialBlockIndex(1 << 16, 8);
        index.add(0, PARENT, block(1, 2, 3, 4), 0);
        assertThat(index.find(PARENT + 1, block(1, 2, 3, 4), 0, 8)).isEqualTo(PartialBlockIndex.NONE);
    }

    /** In an index of two places. */
    @Test
    void whatHangsOnAnotherParentHidesNothing() {
        int[] wanted = block(1, 2, 3, 4, 5, 6, 7, 8);
        for (long parent = 0; parent < 64; parent++) {
            PartialBlockIndex index = new PartialBlockIndex(2, 8);
            index.add(0, PARENT, block(1, 2, 3, 4, 50), 0);
            index.add(1, parent, block(1, 2, 3, 4, 5, 60), 0);
            assertThat(index.find(PARENT, wanted, 0, 8)).isEqualTo(0);
            assertThat(index.find(parent, wanted, 0, 8)).isEqualTo(1);
        }
    }

    /** However many blocks begin alike, a search looks at the newest few only. */
    @Test
    void aSearchEndsAfterTheNewestCandidates() {
        PartialBlockIndex index = new PartialBlockIndex(100, 8);
        index.add(0, PARENT, block(1, 2, 3, 4, 5, 6, 7), 0);
        for (int other = 1; other < PartialBlockIndex.MOST_COMPARED; other++) {
            index.add(other, PARENT, block(1, 2, 3, 4, 1000 + other), 0);
        }
        int[] wanted = block(1, 2, 3, 4, 5, 6, 7, 8);
        assertThat(index.find(PARENT, wanted, 0, 8)).isZero();
        index.add(99, PARENT, block(1, 2, 3, 4, 999), 0);
        assertThat(index.find(PARENT, wanted, 0, 8)).isEqualTo(99);
    }

    /** Blocks of several pages, added and removed at random, against a look at all of them. */
    @Test
    void everyBlockIsFoundWhileItIsThere() {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        int blocks = 9000;
        PartialBlockIndex index = new PartialBlockIndex(blocks, 8);
        int[][] held = new int[blocks][];
        for (int i = 0; i < 100_000; i++) {
            int block = random.nextInt(blocks);
            if (random.nextInt(3) == 0) {
                index.remove(block);
                held[block] = null;
            } else {
                held[block] = random.ints(8, 0, 1 << 20).toArray();
                index.add(block, PARENT, held[block], 0);
            }
            int asked = random.nextInt(blocks);
            if (held[asked] != null) {
                assertThat(index.find(PARENT, held[asked], 0, 8))
                        .as("seed %d", seed)
                        .isEqualTo(asked);
            }
        }
    }
}
