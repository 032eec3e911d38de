package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Who cancels a sequence, when, from where, and what is refused afterwards. */
class CancelTest {
    private static final int BLOCKS = 12;

    private final SilentBackend backend = new SilentBackend();
    private final KvCache cache =
            KvCache.create(backend, OneLayer.config().blocks(BLOCKS).build());
    private final Batch batch = cache.batch();

    @AfterEach
    void close() {
        OneLayer.close(cache, backend);
    }

    private Sequence computed(int... tokens) {
        Sequence sequence = cache.open(tokens);
        assertThat(batch.add(sequence)).isTrue();
        batch.commit();
        return sequence;
    }

    private static void cancelElsewhere(Sequence sequence) {
        Thread thread = new Thread(sequence::cancel);
        thread.start();
        try {
            thread.join();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void blocksGoBackAtOnceWhenNobodyIsInside() {
        Sequence sequence = computed(new int[20]);
        cancelElsewhere(sequence);
        assertThat(sequence.isCancelled()).isTrue();
        assertThat(sequence.isClosed()).isTrue();
        assertThat(cache.stats().usedBlocks()).isZero();
        assertThat(cache.stats().openSequences()).isZero();
        sequence.cancel();
        sequence.close();
        assertThat(sequence.isCancelled()).isTrue();
        assertThat(sequence.token(3)).as("tokens can still be read").isZero();
    }

    @Test
    void aStepUnderWayEndsAsUsualAndOthersReuseWhatItCompleted() {
        Sequence sequence = cache.open(1, 2, 3, 4, 5, 6, 7, 8, 9);
        assertThat(batch.add(sequence)).isTrue();
        cancelElsewhere(sequence);
        assertThat(cache.stats().usedBlocks()).isEqualTo(2);
        batch.commit();
        assertThat(cache.stats().usedBlocks()).isZero();
        assertThat(cache.open(1, 2, 3, 4, 5, 6, 7, 8, 9).cachedTokens()).isEqualTo(8);
    }

    @Test
    void aClearedStepGivesTheBlocksOfACancelledSequenceBack() {
        Sequence sequence = cache.open(1, 2, 3);
        assertThat(batch.add(sequence)).isTrue();
        cancelElsewhere(sequence);
        batch.clear();
        assertThat(cache.stats().usedBlocks()).isZero();
        assertThat(cache.stats().openSequences()).isZero();
    }

    @Test
    void everyUseAfterwardsIsRefusedAsCancelled() {
        Sequence sequence = computed(1, 2, 3);
        Sequence other = computed(4, 5);
        sequence.append(4);
        sequence.cancel();
        CacheStats before = cache.stats();
        for (Runnable use : List.<Runnable>of(
                sequence::fork,
                () -> sequence.append(1),
                () -> sequence.append(1, 2),
                () -> sequence.truncate(1),
                () -> batch.add(sequence, 1),
                () -> cache.reorder(new Sequence[] {other, sequence}, 1, 1))) {
            assertThatThrownBy(use::run)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage("This sequence of 4 tokens has been cancelled.");
        }
        assertThat(cache.stats()).isEqualTo(before);
    }

    @Test
    void whatWasClosedFirstIsNotCancelled() {
        Sequence sequence = computed(1);
        sequence.close();
        sequence.cancel();
        assertThat(sequence.isCancelled()).isFalse();
        assertThatThrownBy(sequence::fork).hasMessageContaining("has been closed");
    }

    /** The forks of a cancelled sequence keep what they share. */
    @Test
    void aForkOutlivesItsCancelledParent() {
        Sequence parent = computed(new int[12]);
        Sequence child = parent.fork();
        cancelElsewhere(parent);
        assertThat(cache.stats().usedBlocks()).isEqualTo(2);
        assertThat(child.computedTokens()).isEqualTo(12);
        child.append(1);
        assertThat(batch.add(child)).isTrue();
        assertThat(cache.stats().copiedBlocks()).as("it holds them alone now").isZero();
    }

    /** One thread steps and reorders, two cancel what it works with. */
    @Test
    void nothingIsLostWhenOthersCancelInTheMiddleOfSteps() throws Exception {
        ConcurrentLinkedQueue<Sequence> victims = new ConcurrentLinkedQueue<>();
        AtomicBoolean done = new AtomicBoolean();
        Thread[] cancellers = new Thread[2];
        for (int i = 0; i < cancellers.length; i++) {
            cancellers[i] = new Thread(() -> {
                while (!done.get() || !victims.isEmpty()) {
                    Sequence victim = victims.poll();
                    if (victim != null) {
                        victim.cancel();
                    } else {
                        Thread.onSpinWait();
                    }
                }
            });
            cancellers[i].start();
        }
        Random random = new Random(7);
        try {
            for (int round = 0; round < 5000; round++) {
                Sequence[] beam = {cache.open(1, 2, 3, random.nextInt(3)), cache.open(1, 2, random.nextInt(3))};
                victims.add(beam[random.nextInt(2)]);
                for (Sequence sequence : beam) {
                    unlessCancelled(() -> batch.add(sequence));
                }
                batch.commit();
                unlessCancelled(() -> cache.reorder(beam, random.nextInt(2), random.nextInt(2)));
                unlessCancelled(() -> victims.add(beam[0].fork()));
                beam[0].cancel();
                beam[1].close();
            }
        } finally {
            done.set(true);
            for (Thread canceller : cancellers) {
                canceller.join();
            }
        }
        batch.clear();
        assertThat(cache.stats().openSequences()).isZero();
        assertThat(cache.stats().usedBlocks()).isZero();
        assertThat(cache.stats().storedTokens()).isZero();
    }

    private static void unlessCancelled(Runnable call) {
        try {
            call.run();
        } catch (IllegalStateException e) {
            assertThat(e).hasMessageContaining("has been cancelled");
        }
    }
}
