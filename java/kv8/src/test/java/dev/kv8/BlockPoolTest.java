package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

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
