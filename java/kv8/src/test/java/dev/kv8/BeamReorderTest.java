package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.CacheUnderTest.Step;
import dev.kv8.CacheUnderTest.Tracked;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A beam's sequences go on from each other, all at once; contents are written, attended and read back. */
class BeamReorderTest {
    private final CacheUnderTest test = new CacheUnderTest(false);
    private final Step step = new Step(test.cache.batch(), new ArrayList<>());

    @AfterEach
    void nothingStaysBehind() {
        test.checkState();
        test.settle(step, false);
        test.close();
        assertThat(test.cache.stats().openSequences()).isZero();
        assertThat(test.cache.stats().usedBlocks()).isZero();
        assertThat(test.backend.liveAllocations()).isZero();
    }

    private static List<Integer> tokens(int first, int count) {
        return IntStream.range(first, first + count).boxed().toList();
    }

    private static void append(Tracked one, int token) {
        one.sequence().append(token);
        one.entry().tokens.add(token);
    }

    /** Computes all that is pending of each. */
    private void compute(List<Tracked> all) {
        for (Tracked one : all) {
            assertThat(test.add(step, one, one.sequence().pendingTokens())).isTrue();
        }
        test.checkMetadata(step);
        for (int layer = 0; layer < CacheUnderTest.LAYERS; layer++) {
            test.write(step, layer);
            test.attendAndCompare(step, layer);
        }
        test.settle(step, true);
        test.checkState();
    }

    /** Forks of one computed sequence of {@code length} tokens, which is the first of them. */
    private List<Tracked> beam(int width, int length) {
        Tracked first = test.open(SequenceOptions.DEFAULT, tokens(0, length), 0);
        compute(List.of(first));
        for (int i = 1; i < width; i++) {
            test.fork(first);
        }
        return test.tracked;
    }

    private static Sequence[] sequences(List<Tracked> beam) {
        return beam.stream().map(Tracked::sequence).toArray(Sequence[]::new);
    }

    private void reorder(int... parents) {
        test.reorder(test.tracked, parents);
        test.checkState();
    }

    @Test
    void everySequenceGoesOnFromItsParent() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        int width = 5;
        List<Tracked> beam = beam(width, 11);
        try {
            for (int round = 0; round < 60; round++) {
                if (beam.get(0).sequence().length() > 40) {
                    for (Tracked one : beam) {
                        test.truncate(one, 9 + random.nextInt(6));
                    }
                }
                for (Tracked one : beam) {
                    append(one, random.nextInt(50));
                }
                compute(beam);
                reorder(IntStream.range(0, width)
                        .map(i -> random.nextInt(width))
                        .toArray());
            }
        } catch (AssertionError | RuntimeException e) {
            throw new AssertionError("seed " + seed + ": " + e.getMessage(), e);
        }
    }

    @Test
    void sequencesCanSwapAndTurnInACircle() {
        List<Tracked> beam = beam(4, 10);
        for (int i = 0; i < 4; i++) {
            append(beam.get(i), 100 + i);
        }
        compute(beam);
        long copied = test.cache.stats().copiedBlocks();
        reorder(1, 2, 3, 0);
        assertThat(beam.get(0).sequence().token(10)).isEqualTo(101);
        assertThat(beam.get(3).sequence().token(10)).isEqualTo(100);
        reorder(1, 0, 2, 3);
        assertThat(beam.get(0).sequence().token(10)).isEqualTo(102);
        for (int i = 0; i < 4; i++) {
            append(beam.get(i), 200 + i);
        }
        compute(beam);
        assertThat(test.cache.stats().copiedBlocks())
                .as("each has its own block still")
                .isEqualTo(copied);
    }

    @Test
    void pendingTokensMoveWithTheirSequence() {
        List<Tracked> beam = beam(2, 10);
        append(beam.get(0), 7);
        append(beam.get(0), 8);
        reorder(0, 0);
        assertThat(beam.get(1).sequence().pendingTokens()).isEqualTo(2);
        assertThat(beam.get(1).sequence().token(11)).isEqualTo(8);
        compute(beam);
    }

    /** 20 blocks: 2 for the prompt, 6 for the ends, 12 held by another. Forking first would need more. */
    @Test
    void aFullPoolHasRoomForEveryBeam() {
        List<Tracked> beam = beam(6, 17);
        for (Tracked one : beam) {
            append(one, 1);
        }
        compute(beam);
        Sequence other = test.cache.open(IntStream.range(1000, 1000 + 12 * 8).toArray());
        Batch batch = test.cache.batch();
        assertThat(batch.add(other)).isTrue();
        batch.commit();
        assertThat(test.cache.stats().freeBlocks()).isZero();
        Sequence[] sequences = sequences(beam);
        for (int worst = 0; worst < 6; worst++) {
            test.cache.reorder(sequences, worst, worst, worst, worst, worst, worst);
            for (Sequence sequence : sequences) {
                sequence.append(worst);
                assertThat(batch.add(sequence)).as("beam from %d", worst).isTrue();
            }
            batch.commit();
            test.cache.ledger().pool().checkInvariants();
            assertThat(test.cache.stats().freeBlocks()).isZero();
        }
        batch.close();
        other.close();
        test.tracked.clear();
        for (Sequence sequence : sequences) {
            sequence.close();
        }
        forgetInOracle();
    }

    private void forgetInOracle() {
        assertThat(test.cache.stats().usedBlocks()).isZero();
        test.oracle.entries.clear();
        test.clearPrefixes();
        CacheStats now = test.cache.stats();
        test.oracle.pool.allocated = now.allocatedBlocks();
        test.oracle.copied = now.copiedBlocks();
        test.oracle.pool.evicted = now.evictedBlocks();
        test.oracle.queried = now.prefixQueryTokens();
        test.oracle.hit = now.prefixHitTokens();
    }

    /** The child's copy is of what the parent held when it was forked, though the parent is gone and its space is taken. */
    @Test
    void aChildWrittenAfterItsParentWasResetReadsWhatItShared() {
        List<Tracked> beam = beam(2, 13);
        Tracked parent = beam.get(0);
        Tracked child = beam.get(1);
        test.truncate(parent, 0);
        for (int token : new int[] {90, 91, 92, 93, 94}) {
            append(parent, token);
        }
        compute(List.of(parent));
        append(child, 77);
        compute(List.of(child));
        test.checkContent(parent);
        test.checkContent(child);

        reorder(1, 1);
        append(beam.get(1), 78);
        compute(List.of(beam.get(1)));
        beam.forEach(test::checkContent);
        assertThat(beam.get(0).sequence().token(13)).isEqualTo(77);
        assertThat(parent.sequence().table.block(1))
                .isNotEqualTo(child.sequence().table.block(1));
    }

    @Test
    void whatIsRefusedChangesNothing() {
        List<Tracked> beam = beam(3, 10);
        Sequence[] sequences = sequences(beam);
        refused(IllegalArgumentException.class, "has 3 sequences and 2 parents", sequences, 0, 1);
        refused(IllegalArgumentException.class, "The parent of sequence 1 is 3; this beam has", sequences, 0, 3, 1);
        refused(IllegalArgumentException.class, "The parent of sequence 2 is -1", sequences, 0, 1, -1);
        Sequence[] twice = {sequences[0], sequences[1], sequences[0]};
        refused(IllegalArgumentException.class, "Sequences 0 and 2 of the beam are the same", twice, 0, 0, 0);

        append(beam.get(2), 5);
        assertThat(test.add(step, beam.get(2), 1)).isTrue();
        refused(IllegalStateException.class, "clear the batch before the sequence is reordered", sequences, 0, 0, 0);
        test.settle(step, false);

        test.close(beam.get(2), ReleaseHint.KEEP);
        refused(IllegalStateException.class, "of 11 tokens has been closed", sequences, 1, 1, 1);

        KvCacheConfig config = KvCacheConfig.builder() // of its own, because a listener hears one cache
                .layers(1)
                .kvHeads(1)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blocks(4)
                .build();
        try (KvCache other = KvCache.create(test.backend, config)) {
            Sequence foreign = other.open(1, 2);
            Sequence[] mixed = {sequences[0], foreign};
            refused(IllegalArgumentException.class, "Sequence 1 of the beam belongs to another cache", mixed, 1, 1);
        }
    }

    /** Or what one tenant stored would be found by another. */
    @Test
    void aBeamOfTwoSaltsIsRefused() {
        SequenceOptions salted = SequenceOptions.builder().salt("a tenant").build();
        Tracked first = test.open(SequenceOptions.DEFAULT, tokens(0, 10), 0);
        Tracked second = test.open(salted, tokens(0, 10), 0);
        compute(List.of(first, second));
        Sequence[] sequences = sequences(List.of(first, second));
        refused(IllegalArgumentException.class, "Sequence 1 of the beam has another salt", sequences, 0, 0);
        refused(IllegalArgumentException.class, "Sequence 1 of the beam has another salt", sequences, 0, 1);
        test.checkContent(second);
    }

    private void refused(Class<? extends RuntimeException> kind, String message, Sequence[] beam, int... parents) {
        CacheStats before = test.cache.stats();
        assertThatThrownBy(() -> test.cache.reorder(beam, parents))
                .isInstanceOf(kind)
                .hasMessageContaining(message);
        assertThat(test.cache.stats()).isEqualTo(before);
        test.checkState();
    }
}
