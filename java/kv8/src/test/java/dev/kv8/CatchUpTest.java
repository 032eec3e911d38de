package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Sequences that begin alike and are opened before any of it is stored: one computes, the others wait and take it over. */
class CatchUpTest {
    private static final int BLOCKS = 64;

    private final SilentBackend backend = new SilentBackend();
    private final KvCache cache = KvCache.create(backend, config().build());
    private final Batch batch = cache.batch();

    private static KvCacheConfig.Builder config() {
        return OneLayer.config().blocks(BLOCKS);
    }

    @AfterEach
    void close() {
        OneLayer.close(cache, backend);
    }

    private void compute(Sequence sequence, int count) {
        assertThat(batch.add(sequence, count)).isTrue();
        batch.commit();
    }

    @Test
    void theSecondWaitsAndTakesOverWhatTheFirstCommits() {
        Sequence first = cache.open(tokens(0, 20));
        Sequence second = cache.open(tokens(0, 20));
        assertThat(first.catchUp()).isTrue();
        assertThat(second.catchUp()).isFalse();
        assertThat(batch.add(first)).isTrue();
        assertThat(second.catchUp()).as("while it is computed").isFalse();
        batch.commit();
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(16);
        assertThat(second.cachedTokens()).isEqualTo(16);
        assertThat(second.table.block(1)).isEqualTo(first.table.block(1));
        CacheStats stats = cache.stats();
        assertThat(stats.prefixHitTokens()).isEqualTo(16);
        assertThat(stats.prefixQueryTokens()).isEqualTo(40);
        assertThat(stats.storedTokens()).isEqualTo(36);
        assertThat(stats.usedBlocks()).isEqualTo(3);
        compute(second, 4);
        assertThat(first.catchUp()).as("nothing to compute").isTrue();
    }

    /** Twice the same tokens were more than there are. */
    @Test
    void whatIsDroppedAndTakenOverAgainCountsOnce() {
        compute(cache.open(tokens(0, 41)), 41);
        Sequence sequence = cache.open(tokens(0, 41));
        assertThat(sequence.cachedTokens()).isEqualTo(40);
        assertThat(cache.stats().prefixQueryTokens()).isEqualTo(82);
        sequence.truncate(30);
        assertThat(sequence.cachedTokens()).isEqualTo(30);
        sequence.truncate(0);
        assertThat(sequence.cachedTokens()).isZero();
        sequence.append(tokens(0, 41));
        assertThat(sequence.catchUp()).isTrue();
        assertThat(sequence.cachedTokens()).isEqualTo(40);
        assertThat(cache.stats().prefixHitTokens()).isEqualTo(80);
        assertThat(cache.stats().prefixQueryTokens()).isEqualTo(123);
    }

    @Test
    void appendedTokensAreAskedForWhenItCatchesUp() {
        Sequence first = cache.open(tokens(0, 300));
        compute(first, 300);
        Sequence sequence = cache.open(tokens(0, 10));
        sequence.append(tokens(10, 290));
        assertThat(sequence.catchUp()).isTrue();
        assertThat(sequence.cachedTokens()).isEqualTo(296);
        assertThat(sequence.catchUp()).isTrue();
        assertThat(cache.stats().prefixQueryTokens()).as("each once").isEqualTo(600);
        assertThat(cache.stats().prefixHitTokens()).isEqualTo(296);
        Sequence fork = sequence.fork();
        fork.append(1, 2, 3);
        assertThat(fork.catchUp()).isTrue();
        assertThat(cache.stats().prefixQueryTokens())
                .as("and what the fork goes on with")
                .isEqualTo(607);
        compute(fork, 7);
        fork.append(4);
        assertThat(fork.catchUp()).isTrue();
        assertThat(cache.stats().prefixQueryTokens())
                .as("one token is looked for nowhere")
                .isEqualTo(607);
    }

    @Test
    void whatWasFoundGoesWithTheContentOfABeam() {
        compute(cache.open(tokens(0, 41)), 41);
        Sequence[] beam = {cache.open(tokens(0, 41)), cache.open(tokens(50, 10))};
        cache.reorder(beam, 1, 0);
        assertThat(beam[0].cachedTokens()).isZero();
        assertThat(beam[1].cachedTokens()).isEqualTo(40);
        cache.reorder(beam, 0, 0);
        assertThat(beam[1].cachedTokens()).as("of a fork").isZero();
    }

    @Test
    void chunksAreTakenOverOneByOne() {
        Sequence first = cache.open(tokens(0, 41));
        Sequence second = cache.open(tokens(0, 41));
        for (int computed = 0; computed < 40; computed += 4) {
            assertThat(first.catchUp()).isTrue();
            assertThat(second.catchUp()).as("at %d", computed).isFalse();
            assertThat(second.computedTokens()).isEqualTo(computed / 8 * 8);
            compute(first, 4);
        }
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(40);
    }

    @Test
    void whoGoesOnDifferentlyWaitsForTheCommonBlocksOnly() {
        Sequence first = cache.open(tokens(0, 40));
        int[] other = tokens(0, 40);
        other[18] = 99;
        Sequence second = cache.open(other);
        assertThat(second.catchUp()).isFalse();
        compute(first, 16);
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(16);
        int[] unlike = tokens(0, 40);
        unlike[3] = 99;
        assertThat(cache.open(unlike).catchUp()).isTrue();
    }

    /** All tokens of the last block are the same, but one must stay to compute: the block is copied, not shared. */
    @Test
    void equalPromptsOfWholeBlocksWaitForTheLastOneToo() {
        Sequence first = cache.open(tokens(0, 16));
        Sequence second = cache.open(tokens(0, 16));
        compute(first, 8);
        assertThat(second.catchUp()).isFalse();
        assertThat(second.computedTokens()).isEqualTo(8);
        compute(first, 8);
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(15);
        assertThat(cache.stats().prefixPartialTokens()).isEqualTo(7);
    }

    /** A part of a block is not copied for a sequence that will get the whole one. */
    @Test
    void whoWaitsForABlockTakesNoPartOfAnother() {
        int[] similar = tokens(0, 9);
        similar[6] = 99;
        compute(cache.open(similar), 9);
        Sequence first = cache.open(tokens(0, 20));
        assertThat(first.cachedTokens()).isEqualTo(6);
        Sequence second = cache.open(tokens(0, 20));
        assertThat(second.cachedTokens()).isZero();
        assertThat(second.catchUp()).isFalse();
        first.cancel();
        assertThat(second.catchUp()).isTrue();
        assertThat(second.cachedTokens()).as("nobody computes the whole one").isEqualTo(6);
    }

    @Test
    void whenTheFirstIsCancelledTheNextComputesAndTheOthersWaitForThat() throws Exception {
        Sequence first = cache.open(tokens(0, 33));
        Sequence second = cache.open(tokens(0, 33));
        Sequence third = cache.open(tokens(0, 33));
        compute(first, 10);
        assertThat(second.catchUp()).isFalse();
        Thread elsewhere = new Thread(first::cancel);
        elsewhere.start();
        elsewhere.join();
        assertThat(third.catchUp()).as("it asks first").isTrue();
        assertThat(second.catchUp()).isFalse();
        assertThat(third.computedTokens()).as("what is stored stays of use").isEqualTo(8);
        compute(third, 25);
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(32);
        first.close();
        second.close();
        third.close();
        assertThat(cache.stats().usedBlocks()).isZero();
    }

    @Test
    void aFirstOneThatIsCancelledInAStepCountsUntilTheStepEnds() {
        Sequence first = cache.open(tokens(0, 17));
        Sequence second = cache.open(tokens(0, 17));
        assertThat(batch.add(first)).isTrue();
        first.cancel();
        assertThat(second.catchUp()).isFalse();
        batch.clear();
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isZero();
    }

    @Test
    void aTruncatedOneIsNotWaitedFor() {
        Sequence first = cache.open(tokens(0, 33));
        Sequence second = cache.open(tokens(0, 33));
        compute(first, 8);
        first.truncate(12);
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(8);
    }

    @Test
    void aForkWithPendingTokensWaitsForItsParent() {
        Sequence parent = cache.open(tokens(0, 20));
        Sequence child = parent.fork();
        assertThat(child.catchUp()).isFalse();
        compute(parent, 20);
        assertThat(child.catchUp()).isTrue();
        assertThat(child.computedTokens()).isEqualTo(16);
        assertThat(child.cachedTokens()).isEqualTo(16);
    }

    @Test
    void aReorderedBeamIsNotWaitedFor() {
        Sequence[] beam = {cache.open(tokens(0, 20)), cache.open(tokens(100, 20))};
        Sequence other = cache.open(tokens(0, 20));
        assertThat(other.catchUp()).isFalse();
        cache.reorder(beam, 1, 1);
        assertThat(other.catchUp()).isTrue();
        assertThat(beam[0].catchUp()).isTrue();
        assertThat(beam[1].catchUp()).isFalse();
    }

    @Test
    void adviceBindsNobody() {
        Sequence first = cache.open(tokens(0, 33));
        Sequence second = cache.open(tokens(0, 33));
        assertThat(second.catchUp()).isFalse();
        compute(second, 20);
        assertThat(first.catchUp()).as("the one ahead leads now").isFalse();
        assertThat(first.computedTokens()).isEqualTo(16);
        compute(first, 17);
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(32);
        assertThat(second.table.block(2))
                .as("its begun block gives way to the whole one")
                .isEqualTo(first.table.block(2));
        assertThat(cache.stats().usedBlocks()).isEqualTo(5);
    }

    @Test
    void tokensAppendedToAConversationAreFollowedToo() {
        Sequence first = cache.open(tokens(0, 9));
        compute(first, 9);
        Sequence second = first.fork();
        first.append(tokens(9, 20));
        second.append(tokens(9, 20));
        assertThat(first.catchUp()).isTrue();
        assertThat(second.catchUp()).isFalse();
        compute(first, 20);
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(24);
    }

    @Test
    void forgottenPrefixesAreNotWaitedFor() {
        Sequence first = cache.open(tokens(0, 33));
        Sequence second = cache.open(tokens(0, 33));
        compute(first, 8);
        cache.clearPrefixes();
        assertThat(second.catchUp()).isTrue();
        compute(second, 8);
        assertThat(second.catchUp())
                .as("what the first one goes on to compute is not for others")
                .isTrue();
        compute(first, 25);
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isEqualTo(8);
        Sequence third = cache.open(tokens(0, 33));
        assertThat(third.catchUp()).isFalse();
        compute(second, 25);
        assertThat(third.catchUp()).isTrue();
        assertThat(third.computedTokens()).isEqualTo(32);
    }

    @Test
    void withoutPrefixCachingNobodyWaits() {
        try (KvCache plain =
                KvCache.create(backend, config().prefixCaching(false).build())) {
            plain.open(tokens(0, 20));
            Sequence second = plain.open(tokens(0, 20));
            assertThat(second.catchUp()).isTrue();
            assertThat(second.computedTokens()).isZero();
        }
    }

    @Test
    void itIsRefusedWhereNothingCanBeTakenOver() {
        Sequence sequence = cache.open(tokens(0, 20));
        assertThat(batch.add(sequence)).isTrue();
        assertThatThrownBy(sequence::catchUp)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("clear the batch before the sequence is caught up");
        batch.clear();
        sequence.cancel();
        assertThatThrownBy(sequence::catchUp)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("has been cancelled");
    }

    /** An engine with random prompts of few kinds, where sequences are cancelled and forked: somebody can always go on. */
    @Test
    void nobodyWaitsForEver() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        List<Sequence> open = new ArrayList<>();
        for (int step = 0; step < 3000; step++) {
            while (open.size() < 6) {
                int[] prompt = new int[1 + random.nextInt(50)];
                int kind = random.nextInt(3);
                for (int i = 0; i < prompt.length; i++) {
                    prompt[i] = random.nextInt(60) == 0 ? random.nextInt(4) : kind;
                }
                open.add(cache.open(prompt));
            }
            for (Sequence sequence : open) {
                if (sequence.catchUp() && random.nextInt(3) > 0) {
                    batch.add(sequence, 1 + random.nextInt(sequence.pendingTokens()));
                }
            }
            if (batch.sequences() == 0) {
                assertThat(open).as("seed %d, step %d", seed, step).anyMatch(Sequence::catchUp);
            }
            if (random.nextInt(8) == 0) {
                open.get(random.nextInt(open.size())).cancel();
            }
            if (random.nextInt(10) == 0) {
                batch.clear();
            } else {
                batch.commit();
            }
            open.removeIf(sequence -> {
                boolean ended = sequence.isClosed() || sequence.pendingTokens() == 0;
                if (ended) {
                    sequence.close();
                }
                return ended;
            });
            cache.ledger().pool().checkInvariants();
        }
        open.forEach(Sequence::close);
        assertThat(cache.stats().usedBlocks()).isZero();
        assertThat(cache.stats().openSequences()).isZero();
        assertThat(cache.stats().storedTokens()).isZero();
    }

    /** In a pool that never evicts, with nobody cancelled, every block is computed once, whatever the chunks. */
    @Test
    void everyBlockIsComputedOnce() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        try (KvCache large = KvCache.create(
                        backend, config().blocks(4096).partialReuse(false).build());
                Batch step = large.batch()) {
            Set<List<Integer>> distinct = new HashSet<>();
            List<Sequence> open = new ArrayList<>();
            int rest = 0;
            int computed = 0;
            for (int i = 0; i < 60; i++) {
                int[] prompt = new int[8 * random.nextInt(9) + 1 + random.nextInt(7)];
                for (int p = 0; p < prompt.length; p++) {
                    prompt[p] = random.nextInt(20) == 0 ? 1 : 0;
                }
                List<Integer> ids = IntStream.of(prompt).boxed().toList();
                int whole = prompt.length / 8 * 8;
                for (int end = 8; end <= whole; end += 8) {
                    distinct.add(List.copyOf(ids.subList(0, end)));
                }
                rest += prompt.length - whole;
                open.add(large.open(prompt));
            }
            while (!open.isEmpty()) {
                for (Sequence sequence : open) {
                    if (sequence.catchUp()) {
                        int count = 1 + random.nextInt(sequence.pendingTokens());
                        assertThat(step.add(sequence, count)).isTrue();
                        computed += count;
                    }
                }
                assertThat(step.sequences()).as("seed %d", seed).isPositive();
                step.commit();
                open.removeIf(sequence -> sequence.pendingTokens() == 0);
            }
            assertThat(computed).as("seed %d", seed).isEqualTo(8 * distinct.size() + rest);
        }
    }

    /** Nor does a part of a block go from one salt to another. */
    @Test
    void nobodyWaitsForASequenceOfAnotherSalt() {
        SequenceOptions salted = SequenceOptions.builder().salt("a tenant").build();
        Sequence first = cache.open(salted, tokens(0, 20));
        Sequence second = cache.open(tokens(0, 20));
        Sequence third = cache.open(salted, tokens(0, 20));
        assertThat(first.catchUp()).isTrue();
        assertThat(second.catchUp()).isTrue();
        assertThat(third.catchUp()).isFalse();
        compute(first, 20);
        assertThat(second.catchUp()).isTrue();
        assertThat(second.computedTokens()).isZero();
        assertThat(cache.open(tokens(0, 7)).computedTokens()).isZero();
        assertThat(cache.open(salted, tokens(0, 7)).computedTokens())
                .as("a part of the first block")
                .isEqualTo(6);
        assertThat(third.catchUp()).isTrue();
        assertThat(third.computedTokens()).isEqualTo(16);
    }
}
