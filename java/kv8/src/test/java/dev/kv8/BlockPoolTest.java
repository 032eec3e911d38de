package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class BlockPoolTest {

    @Test
    void aFreshPoolHandsOutLowAddressesFirst() {
        BlockPool pool = new BlockPool(3, EvictionPolicyKind.LRU, System::nanoTime);
        assertThat(pool.allocate()).isZero();
        assertThat(pool.allocate()).isEqualTo(1);
        assertThat(pool.available()).isEqualTo(1);
        assertThat(pool.total()).isEqualTo(3);
        assertThat(pool.allocated()).isEqualTo(2);
        pool.checkInvariants();
    }

    @Test
    void aTableComesBackInAscendingOrder() {
        BlockPool pool = new BlockPool(8, EvictionPolicyKind.LRU, System::nanoTime);
        BlockTable table = new BlockTable(SequenceOptions.DEFAULT);
        table.ensureCapacity(5);
        for (int i = 0; i < 5; i++) {
            table.add(pool.allocate());
        }
        table.shrink(1, pool);
        assertThat(table.size()).isEqualTo(1);
        for (int expected = 1; expected < 5; expected++) {
            assertThat(pool.allocate()).isEqualTo(expected);
        }
    }

    /** Two groups of layers, whose blocks alternate; the tail of a chain goes first, so they come in descending order. */
    @ParameterizedTest
    @EnumSource(EvictionPolicyKind.class)
    void aTableOfEvictedChainsAscendsInEachOfThem(EvictionPolicyKind eviction) {
        int chain = 100;
        BlockPool pool = new BlockPool(4 * chain, eviction, System::nanoTime);
        for (int i = 0; i < 2; i++) {
            BlockTable cached = grown(pool, 2, chain);
            for (int block : Arrays.copyOf(cached.blocks(), 2 * chain)) {
                pool.register(block, new long[] {block, 1, 2, 3}, 0, SequenceOptions.DEFAULT);
            }
            cached.shrink(0, pool);
        }
        BlockTable table = grown(pool, 2, 2 * chain);
        assertThat(pool.evicted()).isEqualTo(4L * chain);
        assertThat(Arrays.copyOf(table.blocks(), 4 * chain))
                .containsExactly(IntStream.range(0, 4 * chain).toArray());
    }

    private static BlockTable grown(BlockPool pool, int groups, int size) {
        BlockTable table = new BlockTable(SequenceOptions.DEFAULT, groups);
        table.ensureCapacity(size);
        table.grow(size, pool);
        return table;
    }

    @Test
    void aSharedBlockIsFreedByItsLastHolder() {
        BlockPool pool = new BlockPool(2, EvictionPolicyKind.LRU, System::nanoTime);
        int block = pool.allocate();
        pool.share(block);
        pool.release(block);
        assertThat(pool.references(block)).isEqualTo(1);
        assertThat(pool.available()).isEqualTo(1);
        pool.release(block);
        assertThat(pool.available()).isEqualTo(2);
        pool.checkInvariants();
    }

    @Test
    void aFreeBlockCanNeitherBeFreedNorShared() {
        BlockPool pool = new BlockPool(2, EvictionPolicyKind.LRU, System::nanoTime);
        int block = pool.allocate();
        pool.release(block);
        assertThatThrownBy(() -> pool.release(block))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("Block 0 is free");
        assertThatThrownBy(() -> pool.share(block))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("Block 0 is held by no table");
        assertThat(pool.available()).isEqualTo(2);
        pool.checkInvariants();
    }

    @Test
    void aGenerationEndsWhenEverythingIsFree() {
        BlockPool pool = new BlockPool(2, EvictionPolicyKind.LRU, System::nanoTime);
        long first = pool.generation();
        int a = pool.allocate();
        int b = pool.allocate();
        pool.release(a);
        assertThat(pool.generation()).isEqualTo(first);
        pool.release(b);
        assertThat(pool.generation()).isEqualTo(first + 1);
    }
}
