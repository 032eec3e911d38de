package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class EvictionPolicyTest {
    private final long[] keys = {1000, 1001, 1002, 1003, 1004, 1005};

    @ParameterizedTest
    @EnumSource
    void theTailOfAChainGoesFirst(EvictionPolicyKind kind) {
        EvictionPolicy policy = create(kind, 6);
        admit(policy, 0, 1, 2, 3, 4, 5);
        release(policy, 2, 1, 0);
        release(policy, 5, 4, 3);
        assertThat(evictAll(policy)).containsExactly(2, 1, 0, 5, 4, 3);
    }

    @ParameterizedTest
    @EnumSource
    void aChainUsedAgainGoesAfterOneThatWasNot(EvictionPolicyKind kind) {
        EvictionPolicy policy = create(kind, 4);
        admit(policy, 0, 1, 2, 3);
        release(policy, 1, 0);
        release(policy, 3, 2);
        policy.hit(0);
        policy.hit(1);
        release(policy, 1, 0);
        assertThat(evictAll(policy)).containsExactly(3, 2, 1, 0);
    }

    @ParameterizedTest
    @EnumSource
    void aSharedHeadStaysWhileOneOfItsChainsIsHeld(EvictionPolicyKind kind) {
        EvictionPolicy policy = create(kind, 3);
        admit(policy, 0, 1, 2);
        release(policy, 1);
        policy.hit(0);
        assertThat(evictAll(policy)).containsExactly(1);
        release(policy, 2, 0);
        assertThat(evictAll(policy)).containsExactly(2, 0);
    }

    @ParameterizedTest
    @EnumSource
    void aForgottenBlockIsNeverEvicted(EvictionPolicyKind kind) {
        EvictionPolicy policy = create(kind, 3);
        admit(policy, 0, 1, 2);
        release(policy, 1, 0);
        policy.forget(1);
        policy.forget(2);
        assertThat(evictAll(policy)).containsExactly(0);
        admit(policy, 0, 1, 2);
        assertThat(policy.idle()).isZero();
        policy.checkInvariants();
    }

    @ParameterizedTest
    @EnumSource
    void aCallThatDoesNotFitTheBlockIsRefusedAndChangesNothing(EvictionPolicyKind kind) {
        EvictionPolicy policy = create(kind, 3);
        admit(policy, 0, 1);
        release(policy, 0);
        assertThatThrownBy(() -> policy.release(0))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("Block 0 is idle; it can't be released twice");
        assertThatThrownBy(() -> policy.admit(1))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("Block 1 is cached");
        for (Runnable call : new Runnable[] {() -> policy.release(2), () -> policy.hit(2), () -> policy.forget(2)}) {
            assertThatThrownBy(call::run)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("Block 2 is not cached");
        }
        policy.checkInvariants();
        assertThat(evictAll(policy)).containsExactly(0);
        assertThatThrownBy(policy::evict)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("none to evict");
    }

    @Test
    void arcKeepsWhatWasUsedTwiceFromAScan() {
        EvictionPolicy lru = create(EvictionPolicyKind.LRU, 4);
        EvictionPolicy arc = create(EvictionPolicyKind.ARC, 4);
        for (EvictionPolicy policy : new EvictionPolicy[] {lru, arc}) {
            admit(policy, 0, 1, 2, 3);
            release(policy, 1, 0);
            policy.hit(0);
            release(policy, 0);
            release(policy, 3, 2);
            assertThat(policy.evict()).isEqualTo(1);
            keys[1] += 10;
            policy.admit(1);
            policy.release(1);
        }
        assertThat(lru.evict()).isZero();
        assertThat(arc.evict()).isEqualTo(3);
    }

    @Test
    void arcLearnsFromKeysThatComeBack() {
        ArcPolicy policy = new ArcPolicy(2, block -> keys[block]);
        admit(policy, 0, 1);
        release(policy, 1, 0);
        assertThat(policy.evict()).isEqualTo(1);
        assertThat(policy.target()).isZero();
        policy.admit(1);
        assertThat(policy.target())
                .as("a block used once was evicted too early")
                .isEqualTo(1);
        policy.release(1);
        assertThat(policy.evict()).as("1 block used once is wanted").isEqualTo(1);
        policy.admit(1);
        assertThat(policy.target())
                .as("a block used twice was evicted too early")
                .isZero();
        policy.checkInvariants();
    }

    @Test
    void aPolicyIsChosenByItsName() {
        assertThat(EvictionPolicyKind.parse(" LRU ")).isEqualTo(EvictionPolicyKind.LRU);
        assertThat(EvictionPolicyKind.parse("arc")).isEqualTo(EvictionPolicyKind.DEFAULT);
        assertThat(EvictionPolicyKind.ARC).hasToString("arc");
        assertThatThrownBy(() -> EvictionPolicyKind.parse("fifo"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("\"fifo\" is not an eviction policy; the allowed ones are lru, arc.");
    }

    private EvictionPolicy create(EvictionPolicyKind kind, int blocks) {
        return kind.create(blocks, block -> keys[block]);
    }

    private static void admit(EvictionPolicy policy, int... blocks) {
        for (int block : blocks) {
            policy.admit(block);
        }
    }

    private static void release(EvictionPolicy policy, int... blocks) {
        for (int block : blocks) {
            policy.release(block);
        }
    }

    private static int[] evictAll(EvictionPolicy policy) {
        return IntStream.range(0, policy.idle()).map(i -> policy.evict()).toArray();
    }
}
