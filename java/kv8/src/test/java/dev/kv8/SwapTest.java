package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What swapping promises beside the content, which the model test and the CPU's attention check. */
class SwapTest {
    /** Copies that fail when they are told to. */
    private static final class FailingBackend extends InMemoryBackend {
        private boolean failing;
        private Runnable beforeCopy = () -> {};

        FailingBackend() {
            super(true);
        }

        @Override
        public void copy(DeviceMemory source, long sourceOffset, DeviceMemory target, long targetOffset, long bytes) {
            beforeCopy.run();
            if (failing) {
                throw new DeviceException("lost");
            }
            super.copy(source, sourceOffset, target, targetOffset, bytes);
        }
    }

    private final FailingBackend backend = new FailingBackend();
    private final KvCache cache = KvCache.create(backend, config().build());
    private final Batch batch = cache.batch();

    /** Six blocks of eight tokens. */
    private static KvCacheConfig.Builder config() {
        return OneLayer.config().blocks(6);
    }

    @AfterEach
    void close() {
        OneLayer.close(cache, backend);
    }

    private Sequence computed(int first, int count) {
        Sequence sequence = cache.open(tokens(first, count));
        assertThat(batch.add(sequence)).isTrue();
        batch.commit();
        return sequence;
    }

    @Test
    void aSwappedSequenceHoldsNoBlockAndComesBackAsItWas() {
        SequenceOptions options =
                SequenceOptions.builder().priority(CachePriority.HIGH).salt("s").build();
        Sequence sequence = cache.open(options, tokens(0, 20));
        assertThat(batch.add(sequence)).isTrue();
        batch.commit();
        sequence.append(7);
        SwappedSequence away = cache.swapOut(sequence);
        assertThat(sequence.isClosed()).isTrue();
        assertThat(cache.stats().freeBlocks()).isEqualTo(6);
        assertThat(cache.stats().openSequences()).isZero();
        assertThat(away.computedTokens()).isEqualTo(20);
        assertThat(away.length()).isEqualTo(21);
        assertThat(away.tokens()).hasSize(21).endsWith(19, 7);
        assertThat(away.bytes()).isEqualTo(3 * cache.config().blockBytes());
        assertThat(cache.swappedBytes()).isEqualTo(away.bytes());

        computed(100, 48).close(ReleaseHint.DISCARD);
        Sequence back = cache.swapIn(away).orElseThrow();
        assertThat(back.computedTokens()).isEqualTo(20);
        assertThat(back.pendingTokens()).isEqualTo(1);
        assertThat(back.token(20)).isEqualTo(7);
        assertThat(back.options()).isSameAs(options);
        assertThat(cache.swappedBytes()).isZero();
        assertThat(cache.swapBytesPerSecond()).isPositive();
        assertThat(cache.open(options, tokens(0, 17)).cachedTokens())
                .as("what came back is shared again")
                .isEqualTo(16);
        assertThatThrownBy(() -> cache.swapIn(away))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("has been swapped in or closed");
    }

    @Test
    void neighboursAreCopiedTogether() {
        Sequence apart = computed(100, 8);
        Sequence between = computed(200, 8);
        apart.close(ReleaseHint.DISCARD);
        Sequence sequence = computed(0, 20);
        assertThat(Arrays.copyOf(sequence.table.blocks(), 3)).containsExactly(0, 2, 3);
        SwappedSequence[] away = new SwappedSequence[1];
        assertThat(copiesOf(() -> away[0] = cache.swapOut(sequence))).isEqualTo(2);
        cache.clearPrefixes();
        Sequence[] back = new Sequence[1];
        long copies = copiesOf(() -> back[0] = cache.swapIn(away[0]).orElseThrow());
        int[] blocks = back[0].table.blocks();
        assertThat(copies).isEqualTo(1 + (blocks[1] == blocks[0] + 1 ? 0 : 1) + (blocks[2] == blocks[1] + 1 ? 0 : 1));
        between.close();
    }

    private long copiesOf(Runnable work) {
        long[] count = {0};
        backend.beforeCopy = () -> count[0]++;
        work.run();
        backend.beforeCopy = () -> {};
        return count[0];
    }

    @Test
    void whatIsStillCachedIsSharedAndNotCopied() {
        SwappedSequence away = cache.swapOut(computed(0, 20));
        Sequence again = cache.open(tokens(0, 17));
        long copies = backend.copies();
        Sequence back = cache.swapIn(away).orElseThrow();
        assertThat(back.table.block(1)).isEqualTo(again.table.block(1));
        assertThat(cache.stats().usedBlocks()).isEqualTo(3);
        assertThat(backend.copies()).isEqualTo(copies);
    }

    @Test
    void withoutRoomNothingHappens() {
        SwappedSequence away = cache.swapOut(computed(0, 20));
        Sequence other = computed(100, 40);
        CacheStats before = cache.stats();
        assertThat(cache.swapIn(away)).isEmpty();
        assertThat(cache.stats()).isEqualTo(before);
        assertThat(away.isClosed()).isFalse();
        other.close();
        assertThat(cache.swapIn(away)).isPresent();
    }

    @Test
    void aFailingCopyLeavesEverythingAsItWas() {
        Sequence sequence = computed(0, 20);
        CacheStats before = cache.stats();
        backend.failing = true;
        assertThatThrownBy(() -> cache.swapOut(sequence)).isInstanceOf(DeviceException.class);
        assertThat(cache.stats()).isEqualTo(before);
        assertThat(sequence.isClosed()).isFalse();
        assertThat(cache.swappedBytes()).isZero();
        backend.failing = false;
        SwappedSequence away = cache.swapOut(sequence);
        backend.failing = true;
        assertThatThrownBy(() -> cache.swapIn(away)).isInstanceOf(DeviceException.class);
        backend.failing = false;
        assertThat(cache.stats().freeBlocks()).isEqualTo(6);
        assertThat(cache.swapIn(away)).isPresent();
    }

    @Test
    void aSequenceCancelledWhileItIsMovedIsNotKept() {
        Sequence sequence = computed(0, 20);
        backend.beforeCopy = sequence::close;
        assertThatThrownBy(() -> cache.swapOut(sequence))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("has been closed");
        assertThat(cache.swappedBytes()).isZero();
        assertThat(cache.stats().freeBlocks()).isEqualTo(6);
    }

    @Test
    void itsHostMemoryIsFreedByAnyThreadOrWithTheCache() throws Exception {
        SwappedSequence one = cache.swapOut(computed(0, 20));
        SwappedSequence two = cache.swapOut(computed(100, 20));
        Thread other = new Thread(one::close);
        other.start();
        other.join();
        one.close();
        assertThat(cache.swappedBytes()).isEqualTo(two.bytes());
        cache.close();
        assertThat(two.isClosed()).isTrue();
        assertThat(backend.liveAllocations()).isZero();
        two.close();
    }

    @Test
    void aSequenceWithNothingStoredTakesNoMemory() {
        SwappedSequence away = cache.swapOut(cache.open(1, 2, 3));
        assertThat(away.bytes()).isZero();
        Sequence back = cache.swapIn(away).orElseThrow();
        assertThat(back.pendingTokens()).isEqualTo(3);
    }

    @Test
    void whatBelongsToOtherScalesStaysAway() {
        SwappedSequence away = cache.swapOut(computed(0, 20));
        SwappedSequence empty = cache.swapOut(cache.open(1));
        cache.setScales(0, KvScales.LayerScales.NONE);
        assertThatThrownBy(() -> cache.swapIn(away))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage(
                        "Scales have been set since this sequence was swapped out, and its 20 stored tokens belong to"
                                + " those of before. Close it and open its tokens again.");
        assertThat(cache.swapIn(empty)).isPresent();
        SwappedSequence later = cache.swapOut(computed(0, 20));
        Sequence back = cache.swapIn(later).orElseThrow();
        assertThatThrownBy(() -> cache.setScales(0, KvScales.LayerScales.NONE))
                .as("it holds tokens again")
                .isInstanceOf(IllegalStateException.class);
        back.close();
    }

    @Test
    void whatWasStoredBeforePrefixesWereClearedIsNotShared() {
        SwappedSequence away = cache.swapOut(computed(0, 20));
        cache.clearPrefixes();
        computed(0, 16);
        Sequence back = cache.swapIn(away).orElseThrow();
        assertThat(cache.stats().usedBlocks()).as("nothing in common").isEqualTo(5);
        back.append(1, 2, 3, 4);
        assertThat(batch.add(back)).isTrue();
        batch.commit();
        int[] longer = IntStream.concat(IntStream.range(0, 20), IntStream.of(1, 2, 3, 4, 5))
                .toArray();
        assertThat(cache.open(longer).cachedTokens()).isEqualTo(16);
    }

    @Test
    void whatCannotBeSwappedIsRefused() {
        Sequence sequence = cache.open(tokens(0, 8));
        assertThat(batch.add(sequence)).isTrue();
        assertThatThrownBy(() -> cache.swapOut(sequence))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("commit or clear the batch before the sequence is swapped out");
        batch.commit();
        try (KvCache other = KvCache.create(backend, config().build())) {
            assertThatThrownBy(() -> other.swapOut(sequence)).hasMessage("The sequence belongs to another cache.");
            SwappedSequence away = cache.swapOut(sequence);
            assertThatThrownBy(() -> other.swapIn(away)).hasMessage("The swapped sequence belongs to another cache.");
        }
        assertThatThrownBy(() -> cache.swapOut(sequence)).hasMessageContaining("has been closed");
    }

    @Test
    void theFasterWayIsTakenByTheMeasuredRates() {
        PreemptionPolicy faster = PreemptionPolicy.faster();
        assertThat(choice(faster, 0, 0)).as("nothing is known").isEqualTo(PreemptionPolicy.Action.RECOMPUTE);
        assertThat(choice(faster, 0, 10)).as("moving is to be measured").isEqualTo(PreemptionPolicy.Action.SWAP);
        // 1000 tokens at 500 a second take 2 s; 1 GB there and back at 1.1 GB/s takes 1.8 s, at 0.9 GB/s 2.2 s.
        assertThat(choice(faster, 1.1e9, 500)).isEqualTo(PreemptionPolicy.Action.SWAP);
        assertThat(choice(faster, 0.9e9, 500)).isEqualTo(PreemptionPolicy.Action.RECOMPUTE);
        assertThat(choice(PreemptionPolicy.always(PreemptionPolicy.Action.SWAP), 1, 1e9))
                .isEqualTo(PreemptionPolicy.Action.SWAP);
    }

    private static PreemptionPolicy.Action choice(PreemptionPolicy policy, double moved, double computed) {
        return policy.choose(new PreemptionPolicy.Cost(1000, 1_000_000_000L, moved, computed));
    }

    @Test
    void theLastToArriveOfTheLowestClassGivesWay() {
        List<Sequence> running = IntStream.of(2, 1, 3, 1, 2)
                .mapToObj(i -> cache.open(
                        SequenceOptions.builder()
                                .priority(List.of(CachePriority.values()).get(i - 1))
                                .build(),
                        1))
                .toList();
        PreemptionPolicy policy = PreemptionPolicy.faster();
        assertThat(policy.victim(running)).isEqualTo(3);
        assertThat(policy.victim(running.subList(0, 1))).isZero();
        assertThat(policy.victim(running.subList(4, 5))).isZero();
    }
}
