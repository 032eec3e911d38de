package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Layers that see a window only: which blocks go back, when, and what can still be done then. */
class WindowTest {
    private static final int WINDOW = 20;
    private static final int BLOCKS = 12;

    private final SilentBackend backend = new SilentBackend();
    private final DeviceMemory memory = backend.allocate(1 << 16);
    private final HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, 64);
    private final KvCache cache = KvCache.create(backend, config().build());
    private final Batch batch = cache.batch();

    private static KvCacheConfig.Builder config() {
        return OneLayer.config().window(WINDOW).eviction(EvictionPolicyKind.LRU).blocks(BLOCKS);
    }

    @AfterEach
    void close() {
        OneLayer.close(cache, backend, memory);
    }

    private void compute(Sequence sequence, int count) {
        assertThat(batch.add(sequence, count)).isTrue();
        cache.attend(0, batch, rows, rows);
        batch.commit();
    }

    /** Of a sequence that is computed in steps of one token, the last block may begin with the next one. */
    @Test
    void aLongTextHoldsTheWindowAndNoMore() {
        Sequence sequence = cache.open(tokens(0, 1000));
        for (int computed = 0; computed < 1000; computed++) {
            compute(sequence, 1);
            int firstSeen = Math.max(0, computed - WINDOW + 1);
            assertThat(cache.stats().usedBlocks()).as("at %d", computed).isEqualTo(computed / 8 - firstSeen / 8 + 1);
            for (int block = 0; block < sequence.table.size(); block++) {
                assertThat(sequence.table.block(block) == BlockTable.GONE)
                        .as("block %d at %d", block, computed)
                        .isEqualTo(block < firstSeen / 8);
            }
        }
        assertThat(sequence.computedTokens()).isEqualTo(1000);
    }

    @Test
    void aCommonPrefixGoesOnBehindWhatFellOut() {
        Sequence first = cache.open(tokens(0, 40));
        compute(first, 40);
        Sequence fork = first.fork();
        first.append(1);
        compute(first, 1); // gives back what only the fork holds
        assertThat(first.table.gone()).isGreaterThan(fork.table.gone());
        assertThat(cache.commonPrefixTokens(first, fork)).isEqualTo(40);
        Sequence other = cache.open(tokens(500, 40));
        compute(other, 40);
        other.append(1);
        compute(other, 1);
        assertThat(cache.commonPrefixTokens(first, other)).isZero();
    }

    @Test
    void whatFellOutMakesRoomForTheStepThatNeedsIt() {
        Sequence sequence = cache.open(tokens(0, 500));
        compute(sequence, 8 * BLOCKS);
        assertThat(cache.stats().freeBlocks()).isZero();
        assertThat(batch.add(sequence, 8 * BLOCKS)).as("the window stays").isFalse();
        assertThat(sequence.table.gone()).as("nothing has changed").isZero();
        compute(sequence, 8 * (BLOCKS - 3));
        Sequence other = cache.open(1);
        assertThat(batch.add(other)).isFalse();
        compute(sequence, 8);
        compute(other, 1);
    }

    @Test
    void whatAForkHoldsTooMakesNoRoom() {
        Sequence parent = cache.open(tokens(0, 8 * BLOCKS + 8));
        compute(parent, 8 * BLOCKS);
        Sequence child = parent.fork();
        CacheStats before = cache.stats();
        assertThat(batch.add(parent, 8)).isFalse();
        assertThat(cache.stats()).isEqualTo(before);
        child.close();
        compute(parent, 8);
    }

    @Test
    void whatAForkStillSeesIsNotGivenBack() {
        Sequence parent = cache.open(tokens(0, 80));
        compute(parent, 40);
        Sequence child = parent.fork();
        compute(parent, 40);
        parent.append(1);
        compute(parent, 1);
        assertThat(parent.table.gone()).isEqualTo(7);
        for (int block = 0; block < 5; block++) {
            assertThat(cache.ledger().pool().references(child.table.block(block)))
                    .isEqualTo(1);
        }
        Sequence second = parent.fork();
        assertThat(second.table.gone()).isEqualTo(7);
        parent.close();
        cache.reorder(new Sequence[] {child, second}, 1, 1);
        assertThat(child.table.gone()).isEqualTo(7);
        assertThat(cache.stats().usedBlocks()).isEqualTo(4);
        child.close();
        second.close();
        assertThat(cache.stats().usedBlocks()).isZero();
    }

    /** Draft tokens are taken back after the step that computed them. */
    @Test
    void whatTheLastStepAddedCanBeTruncated() {
        Random random = new Random(5);
        Sequence sequence = cache.open(tokens(0, 30));
        compute(sequence, 30);
        for (int step = 0; step < 200; step++) {
            int before = sequence.length();
            sequence.append(tokens(step, 6));
            compute(sequence, 6);
            sequence.truncate(before + random.nextInt(7));
            if (sequence.length() > 400) {
                break;
            }
        }
        int least = sequence.table.gone() * 8 + WINDOW - 1;
        int length = sequence.length();
        assertThatIllegalArgumentException()
                .isThrownBy(() -> sequence.truncate(least - 1))
                .withMessageContaining(
                        "what the next one sees has been given back. Give 0, or " + least + " to " + length);
        assertThat(sequence.length()).isEqualTo(length);
        sequence.truncate(least);
        sequence.truncate(0);
        assertThat(cache.stats().usedBlocks()).isZero();
        sequence.append(tokens(0, 30));
        compute(sequence, 30);
    }

    @Test
    void aPromptContinuesWhereTheLastCachedWindowEnds() {
        Sequence first = cache.open(tokens(0, 8 * BLOCKS));
        compute(first, 8 * BLOCKS);
        first.close();
        Sequence other = cache.open(tokens(1000, 8));
        compute(other, 8); // evicts the tail
        Sequence again = cache.open(tokens(0, 200));
        assertThat(again.computedTokens()).isEqualTo(88);
        assertThat(again.table.gone()).as("88 - 20 + 1 = 69 is in block 8").isEqualTo(8);
        assertThat(cache.stats().usedBlocks()).isEqualTo(1 + 3);
        compute(again, 8);
        again.close();
        other.close();
    }

    /** Against a search of every end, over prompts whose blocks are there or not at random. */
    @Test
    void theLongestUsablePrefixIsFound() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        for (int round = 0; round < 200; round++) {
            try (KvCache other = KvCache.create(
                            backend, config().partialReuse(false).blocks(40).build());
                    Batch step = other.batch()) {
                int[] prompt = tokens(0, 8 * 40 - 3);
                Sequence all = other.open(prompt);
                assertThat(step.add(all)).isTrue();
                step.commit();
                List<Integer> missing = new ArrayList<>();
                for (int block = 0; block < 39; block++) {
                    if (random.nextInt(6) == 0) {
                        other.ledger().pool().unregister(all.table.block(block));
                        missing.add(block);
                    }
                }
                int expected = 0;
                for (int end = 1; end <= 39; end++) {
                    int firstSeen = Math.max(0, end * 8 - WINDOW + 1) / 8;
                    int last = end;
                    if (missing.stream().noneMatch(block -> block >= firstSeen && block < last)) {
                        expected = end * 8;
                    }
                }
                assertThat(other.open(prompt).computedTokens())
                        .as("seed %d, without %s", seed, missing)
                        .isEqualTo(expected);
            }
        }
    }

    @Test
    void attentionBeyondTheWindowIsRefused() {
        Sequence sequence = cache.open(1, 2, 3);
        assertThat(batch.add(sequence)).isTrue();
        AttentionOptions causal = AttentionOptions.causal(64);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> cache.attend(0, batch, rows, rows, causal))
                .withMessageContaining("The attention has no window, but this cache keeps 20 tokens only");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> cache.attend(0, batch, rows, rows, causal.withWindow(21)))
                .withMessageContaining("a window of 21")
                .withMessageContaining("Give 1 to 20");
        cache.attend(0, batch, rows, rows, causal.withWindow(12));
        assertThatIllegalArgumentException()
                .isThrownBy(() -> config().window(-1).build())
                .withMessageContaining("window is -1; give 0 for none");
    }

    /** What has fallen out of the window is neither copied nor asked for again. */
    @Test
    void aSequenceIsSwappedWithoutWhatFellOut() {
        Sequence sequence = cache.open(tokens(0, 60));
        for (int computed = 0; computed < 60; computed += 6) {
            compute(sequence, 6);
        }
        int gone = sequence.table.gone();
        int held = sequence.table.size() - gone;
        assertThat(gone).isPositive();
        SwappedSequence away = cache.swapOut(sequence);
        assertThat(away.bytes()).isEqualTo(held * cache.config().blockBytes());
        assertThat(cache.stats().freeBlocks()).isEqualTo(BLOCKS);
        cache.clearPrefixes();
        Sequence other = cache.open(tokens(500, (BLOCKS - held) * 8));
        compute(other, (BLOCKS - held) * 8);
        Sequence back = cache.swapIn(away).orElseThrow();
        assertThat(back.table.gone()).isEqualTo(gone);
        assertThat(back.computedTokens()).isEqualTo(60);
        assertThat(cache.stats().freeBlocks()).isZero();
        other.close();
        back.append(60);
        compute(back, 1);
        back.close();
    }

    /** A pin holds what is left of the window, also when the blocks before it are gone for good. */
    @Test
    void aPinHoldsTheWindow() {
        Sequence sequence = cache.open(tokens(0, 64));
        for (int computed = 0; computed < 64; computed += 8) {
            compute(sequence, 8);
        }
        int gone = sequence.table.gone();
        PinnedPrefix pin = sequence.pin();
        assertThat(pin.blocks()).isEqualTo(8 - gone);
        assertThat(pin.tokens()).isEqualTo(64);
        sequence.close();
        cache.open(tokens(900, 64)).close();
        assertThat(cache.stats().pinnedBlocks()).isEqualTo(8 - gone);
        assertThat(cache.open(tokens(0, 65)).cachedTokens()).isEqualTo(64);
        pin.close();
        assertThat(cache.stats().pinnedBlocks()).isZero();
    }
}
