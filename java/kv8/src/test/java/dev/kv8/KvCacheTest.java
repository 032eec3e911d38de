package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.KvScales.LayerScales;
import java.util.HashSet;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** The cache's promises one by one, and the messages of what it refuses. */
class KvCacheTest extends SmallCache {
    private int nextToken;

    /** Tokens that no sequence has had. */
    private int[] fresh(int tokens) {
        return IntStream.range(0, tokens).map(i -> nextToken++).toArray();
    }

    private Sequence computed(int tokens) {
        Sequence sequence = cache.open(fresh(tokens));
        assertThat(batch.add(sequence)).isTrue();
        writeAll();
        batch.commit();
        return sequence;
    }

    private void writeAll() {
        for (int layer = 0; layer < 3; layer++) {
            cache.write(layer, batch, oneHead, oneHead);
        }
    }

    @Test
    void theCommonPrefixIsWhatLiesInTheSameBlocks() {
        Sequence first = computed(13);
        Sequence fork = first.fork();
        Sequence second = first.fork();
        assertThat(cache.commonPrefixTokens(first)).isEqualTo(13);
        assertThat(cache.commonPrefixTokens(first, fork, second)).isEqualTo(13);
        fork.truncate(11);
        assertThat(cache.commonPrefixTokens(first, fork, second)).isEqualTo(11);
        fork.append(fresh(1));
        assertThat(batch.add(fork)).isTrue(); // writes to a copy
        batch.commit();
        assertThat(cache.commonPrefixTokens(first, fork)).isEqualTo(8);
        assertThat(cache.commonPrefixTokens(first, second)).isEqualTo(13);
        Sequence other = cache.open(fresh(3));
        assertThat(cache.commonPrefixTokens(first, other)).isZero();
        other.close();
        assertThatThrownBy(() -> cache.commonPrefixTokens(first, other)).hasMessageContaining("has been closed");
        assertThatThrownBy(() -> cache.commonPrefixTokens())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Give at least one");
        try (KvCache foreign = KvCache.create(backend, config().build())) {
            assertThatThrownBy(() -> foreign.commonPrefixTokens(first))
                    .hasMessageContaining("belongs to another cache");
        }
    }

    private int freeBlocks() {
        return cache.stats().freeBlocks();
    }

    @Test
    void openingTakesNoBlocks() {
        Sequence sequence = cache.open(1, 2, 3);
        assertThat(sequence.length()).isEqualTo(3);
        assertThat(sequence.pendingTokens()).isEqualTo(3);
        assertThat(sequence.computedTokens()).isZero();
        assertThat(sequence.cachedTokens()).isZero();
        assertThat(sequence.token(2)).isEqualTo(3);
        assertThat(freeBlocks()).isEqualTo(4);
        assertThatThrownBy(() -> sequence.token(3)).isInstanceOf(IndexOutOfBoundsException.class);
    }

    @Test
    void thePromptIsCopied() {
        int[] prompt = {1, 2, 3};
        Sequence sequence = cache.open(prompt);
        prompt[0] = 9;
        assertThat(sequence.token(0)).isEqualTo(1);
    }

    @Test
    void negativeTokensAreRefusedAndNoneIsAdded() {
        assertThatThrownBy(() -> cache.open(1, -2))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Token id -2 is negative");
        Sequence sequence = cache.open(1);
        assertThatThrownBy(() -> sequence.append(5, -1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> sequence.append(-1)).isInstanceOf(IllegalArgumentException.class);
        assertThat(sequence.length()).isEqualTo(1);
        assertThat(cache.stats().openSequences()).isEqualTo(1);
    }

    @Test
    void anAddWithoutRoomIsAnAnswerAndChangesNothing() {
        Sequence first = computed(20);
        Sequence second = cache.open(fresh(9));
        CacheStats before = cache.stats();
        assertThat(before.freeBlocks()).isEqualTo(1);
        assertThat(batch.add(second)).isFalse();
        assertThat(cache.stats()).isEqualTo(before);
        assertThat(batch.sequences()).isZero();
        assertThat(batch.add(second, 8)).isTrue();
        batch.clear();
        first.close();
        assertThat(batch.add(second)).isTrue();
        assertThat(batch.tokens()).isEqualTo(9);
    }

    @Test
    void aPromptLongerThanTheCacheNeverFits() {
        Sequence sequence = cache.open(new int[33]);
        assertThat(batch.add(sequence)).isFalse();
        assertThat(batch.add(sequence, 32)).isTrue();
    }

    @Test
    void aForkSharesUntilSomebodyWrites() {
        Sequence parent = computed(12);
        Sequence child = parent.fork();
        assertThat(freeBlocks()).isEqualTo(2);
        assertThat(child.computedTokens()).isEqualTo(12);
        long copiesBefore = backend.copies();

        child.append(7);
        assertThat(batch.add(child)).isTrue();
        assertThat(cache.stats().copiedBlocks()).isEqualTo(1);
        assertThat(backend.copies()).isEqualTo(copiesBefore + 1);
        assertThat(freeBlocks()).isEqualTo(1);
        assertThat(child.table.block(0)).isEqualTo(parent.table.block(0));
        assertThat(child.table.block(1)).isNotEqualTo(parent.table.block(1));
        batch.commit();

        parent.append(8);
        assertThat(batch.add(parent)).isTrue();
        assertThat(cache.stats().copiedBlocks())
                .as("the last holder writes in place")
                .isEqualTo(1);
    }

    @Test
    void aCopyThatDoesNotFitIsRefusedLikeABlock() {
        Sequence parent = computed(12);
        Sequence child = parent.fork();
        computed(16);
        child.append(1);
        CacheStats before = cache.stats();
        assertThat(before.freeBlocks()).isZero();
        assertThat(batch.add(child)).isFalse();
        assertThat(cache.stats()).isEqualTo(before);
        parent.close();
        assertThat(batch.add(child)).as("alone it needs no copy").isTrue();
    }

    @Test
    void aFailingCopyLeavesEverythingAsItWas() {
        InMemoryBackend failing = new InMemoryBackend(true) {
            @Override
            public void copy(DeviceMemory source, long from, DeviceMemory target, long to, long bytes) {
                throw new DeviceException("lost");
            }
        };
        try (KvCache other = KvCache.create(failing, config().build())) {
            Batch step = other.batch();
            Sequence parent = other.open(new int[12]);
            assertThat(step.add(parent)).isTrue();
            step.commit();
            Sequence child = parent.fork();
            child.append(1);
            CacheStats before = other.stats();
            assertThatThrownBy(() -> step.add(child)).isInstanceOf(DeviceException.class);
            assertThat(other.stats().freeBlocks()).isEqualTo(before.freeBlocks());
            assertThat(other.stats().copiedBlocks()).isZero();
            assertThat(step.sequences()).isZero();
            other.ledger().pool().checkInvariants();
            assertThat(child.table.block(1)).isEqualTo(parent.table.block(1));
        }
    }

    @Test
    void truncatingASharedBlockLeavesTheOtherHolderAlone() {
        Sequence parent = computed(16);
        Sequence child = parent.fork();
        child.truncate(10);
        assertThat(child.computedTokens()).isEqualTo(10);
        assertThat(freeBlocks()).isEqualTo(2);
        child.append(5);
        assertThat(batch.add(child)).isTrue();
        assertThat(child.table.block(1)).isNotEqualTo(parent.table.block(1));
        batch.clear();
        child.truncate(8);
        assertThat(child.table.size()).isEqualTo(1);
        assertThatThrownBy(() -> child.truncate(9))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("has 8 tokens; it can't be truncated to 9");
        assertThatThrownBy(() -> child.truncate(-1)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void rowsAreNumberedInOrderOfAdding() {
        Sequence a = cache.open(1, 2, 3);
        Sequence b = cache.open(4, 5);
        assertThat(batch.add(a, 2)).isTrue();
        assertThat(batch.add(b)).isTrue();
        assertThat(batch.tokens()).isEqualTo(4);
        assertThat(batch.lastRow(0)).isEqualTo(1);
        assertThat(batch.lastRow(1)).isEqualTo(3);
        assertThat(batch.sequence(1)).isSameAs(b);
        assertThatThrownBy(() -> batch.lastRow(2)).isInstanceOf(IndexOutOfBoundsException.class);
        batch.commit();
        assertThat(a.pendingTokens()).isEqualTo(1);
        assertThat(batch.tokens()).isZero();
        assertThat(batch.sequences()).isZero();
    }

    @Test
    void onlyPendingTokensCanBeAdded() {
        Sequence sequence = cache.open(1, 2);
        assertThatThrownBy(() -> batch.add(sequence, 3))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("has 2 pending tokens; 3 can't be scheduled, give 1 to 2");
        assertThatThrownBy(() -> batch.add(sequence, 0)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> batch.add(cache.open()))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Append tokens first");
    }

    @Test
    void aSequenceIsInOneOpenBatchOnly() {
        Sequence sequence = cache.open(1, 2, 3);
        Batch other = cache.batch();
        assertThat(batch.add(sequence, 1)).isTrue();
        for (Batch any : new Batch[] {batch, other}) {
            assertThatThrownBy(() -> any.add(sequence, 1))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("in an open batch already");
        }
        assertThatThrownBy(sequence::fork).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> sequence.truncate(0)).isInstanceOf(IllegalStateException.class);
        sequence.append(4);
        batch.commit();
        assertThat(other.add(sequence)).isTrue();
        assertThat(other.tokens()).isEqualTo(3);
    }

    @Test
    void aStepThatHasBegunTakesNoMore() {
        Sequence a = cache.open(1);
        Sequence b = cache.open(2);
        assertThat(batch.add(a)).isTrue();
        cache.write(0, batch, oneHead, oneHead);
        assertThatThrownBy(() -> batch.add(b))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("This step has begun");
    }

    @Test
    void strangersAreRefused() {
        try (KvCache other = KvCache.create(backend, config().build())) {
            assertThatThrownBy(() -> batch.add(other.open(1)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("another cache");
            assertThat(batch.add(cache.open(1))).isTrue();
            assertThatThrownBy(() -> other.write(0, batch, oneHead, oneHead))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("another cache");
        }
        for (int layer : new int[] {-1, 3}) {
            assertThatThrownBy(() -> cache.write(layer, batch, oneHead, oneHead))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("Layer " + layer + " does not exist; this cache has layers 0 to 2");
            assertThatThrownBy(() -> cache.attend(layer, batch, oneHead, oneHead))
                    .isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> cache.setScales(layer, LayerScales.NONE))
                    .isInstanceOf(IllegalArgumentException.class);
        }
        batch.clear();
        assertThatThrownBy(() -> cache.attend(0, batch, oneHead, oneHead))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("The batch is empty");
    }

    @Test
    void aClosedSequenceRefusesUseAndGivesItsBlocksBackOnce() {
        Sequence sequence = computed(20);
        assertThat(freeBlocks()).isEqualTo(1);
        sequence.close();
        sequence.close();
        assertThat(sequence.isClosed()).isTrue();
        assertThat(freeBlocks()).isEqualTo(4);
        for (Runnable use : new Runnable[] {
            () -> sequence.append(1),
            () -> sequence.append(1, 2),
            sequence::fork,
            () -> sequence.truncate(0),
            () -> batch.add(sequence, 1)
        }) {
            assertThatThrownBy(use::run)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("This sequence of 20 tokens has been closed");
        }
        cache.ledger().pool().checkInvariants();
    }

    @Test
    void aSequenceClosedInsideAStepKeepsItsBlocksToItsEnd() {
        Sequence sequence = cache.open(new int[12]);
        assertThat(batch.add(sequence)).isTrue();
        sequence.close();
        assertThat(freeBlocks()).isEqualTo(2);
        writeAll();
        assertThat(freeBlocks()).isEqualTo(2);
        batch.commit();
        assertThat(freeBlocks()).isEqualTo(4);
        assertThat(cache.stats().openSequences()).isZero();
        assertThat(cache.stats().storedTokens()).isZero();
    }

    @Test
    void closingTheCacheClosesItsBatchesAndFreesItsMemory() {
        Sequence sequence = cache.open(1, 2, 3);
        assertThat(batch.add(sequence)).isTrue();
        cache.close();
        cache.close();
        for (Runnable use : new Runnable[] {
            () -> cache.open(1),
            cache::batch,
            cache::scales,
            () -> cache.write(0, batch, oneHead, oneHead),
            () -> cache.attend(0, batch, oneHead, oneHead),
            () -> cache.setScales(0, LayerScales.NONE),
            () -> sequence.append(1),
            sequence::fork,
            () -> batch.add(sequence),
            batch::commit,
            batch::slots
        }) {
            assertThatThrownBy(use::run)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("This cache has been closed");
        }
        sequence.close();
        batch.close();
        assertThat(cache.stats().openSequences()).isZero();
    }

    @Test
    void moreBlocksThanCanBeManagedAreRefused() {
        KvCacheConfig config = config().blocks((1 << 26) + 1).build();
        assertThatThrownBy(() -> KvCache.create(backend, config))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("The cache has 67108865 blocks; it can manage 67108864");
    }

    @Test
    void aTypeThatTheBackendCantStoreIsRefused() {
        int before = backend.liveAllocations();
        assertThatThrownBy(() -> KvCache.create(
                        backend, config().dtype(KvCacheDType.FLOAT16).build()))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("The backend fake can't store float16");
        assertThat(backend.liveAllocations()).isEqualTo(before);
    }

    @Test
    void aCacheThatCantBeMadeLeavesNothingBehind() {
        InMemoryBackend failing = new InMemoryBackend(true) {
            @Override
            public CacheView view(
                    DeviceMemory pool, LayerLayout layout, @Nullable ChannelScales k, @Nullable ChannelScales v) {
                throw new DeviceException("no view");
            }
        };
        assertThatThrownBy(() -> KvCache.create(failing, config().build())).hasMessage("no view");
        assertThat(failing.liveAllocations()).isZero();
    }

    @Test
    void batchesGrowWithTheirWork() {
        KvCacheConfig large = config().blocks(300).build();
        try (KvCache other = KvCache.create(backend, large)) {
            Batch step = other.batch();
            Set<Long> slots = new HashSet<>();
            for (int i = 0; i < 40; i++) {
                assertThat(step.add(other.open(new int[1 + i]))).isTrue();
            }
            assertThat(step.tokens()).isEqualTo(820);
            for (int row = 0; row < 820; row++) {
                slots.add(backend.hostView(step.slots(), row * 8L, 8).getLong());
            }
            assertThat(slots).hasSize(820).allMatch(slot -> slot >= 0 && slot < 2400);
            step.commit();
        }
    }

    /** Also with tokens that are scheduled ahead and taken back, as in speculative decoding. */
    @Test
    void everyLengthFitsIntoItsTable() {
        int blocks = 40;
        try (KvCache other = KvCache.create(backend, config().blocks(blocks).build())) {
            Batch step = other.batch();
            for (int ahead = 1; ahead <= 9; ahead++) {
                Sequence sequence = other.open(fresh(1));
                for (int length = 1; length <= 8 * blocks; length++) {
                    while (sequence.length() < Math.min(length + ahead - 1, 8 * blocks)) {
                        sequence.append(nextToken++);
                    }
                    assertThat(step.add(sequence)).isTrue();
                    assertThat(step.slots().bytes()).isGreaterThanOrEqualTo(8L * step.tokens());
                    step.commit();
                    sequence.truncate(Math.min(length, sequence.length()));
                    if (length < 8 * blocks) {
                        sequence.append(nextToken++);
                    }
                }
                sequence.append(nextToken++);
                assertThat(step.add(sequence)).as("a token too many").isFalse();
                assertThat(sequence.table.size()).isEqualTo(blocks);
                sequence.close(ReleaseHint.DISCARD);
            }
        }
    }
}
