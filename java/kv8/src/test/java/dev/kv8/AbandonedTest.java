package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What is dropped without close is noted once; a sequence's blocks come back. */
class AbandonedTest {
    @RegisterExtension
    private final LogMessages log = new LogMessages();

    private static KvCacheConfig config() {
        return KvCacheConfig.builder()
                .layers(1)
                .kvHeads(1)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blocks(77)
                .build();
    }

    @Test
    void aDroppedSequenceIsReportedAndItsBlocksComeBack() throws InterruptedException {
        try (KvCache cache = KvCache.create(new InMemoryBackend(true), config())) {
            dropSequence(cache);
            awaitCollection(() -> cache.stats().freeBlocks() == 77);
            assertThat(cache.stats().openSequences()).isZero();
            assertThat(log.messages())
                    .filteredOn(message ->
                            message.contains("A Sequence was garbage-collected without close(); its blocks (63)"))
                    .hasSize(1);
            cache.ledger().pool().checkInvariants();
        }
    }

    private static void dropSequence(KvCache cache) {
        try (Batch batch = cache.batch()) {
            assertThat(batch.add(cache.open(new int[1000]))).isTrue();
            batch.commit();
        }
        assertThat(cache.stats().usedBlocks()).isEqualTo(63);
    }

    /** Whoever waits for what it was to compute goes on in its place. */
    @Test
    void aDroppedSequenceIsNotWaitedFor() throws InterruptedException {
        try (KvCache cache = KvCache.create(new InMemoryBackend(true), config())) {
            beginAndDropSequence(cache);
            Sequence next = cache.open(IntStream.range(0, 100).toArray());
            assertThat(next.catchUp()).isFalse();
            awaitCollection(next::catchUp);
            assertThat(next.computedTokens()).isEqualTo(16);
            next.close();
            assertThat(cache.stats().usedBlocks()).isZero();
        }
    }

    private static void beginAndDropSequence(KvCache cache) {
        try (Batch batch = cache.batch()) {
            Sequence sequence = cache.open(IntStream.range(0, 200).toArray());
            assertThat(batch.add(sequence, 20)).isTrue();
            batch.commit();
        }
    }

    @Test
    void aDroppedCacheIsReported() throws InterruptedException {
        InMemoryBackend backend = new InMemoryBackend(true);
        KvCache.create(backend, config());
        awaitCollection(() -> log.messages().stream()
                .anyMatch(message -> message.contains("A KvCache was garbage-collected without close()")
                        && message.contains("77 blocks")));
    }

    @Test
    void whatWasClosedIsNotReported() throws InterruptedException {
        InMemoryBackend backend = new InMemoryBackend(true);
        KvCache closed = KvCache.create(backend, config());
        closed.open(1).close();
        dropSequence(closed); // closed with its cache
        closed.close();
        try (KvCache cache = KvCache.create(backend, config())) {
            dropSequence(cache);
            awaitCollection(() -> cache.stats().freeBlocks() == 77); // collections have run by then
        }
        assertThat(log.messages())
                .filteredOn(message -> message.contains("KvCache"))
                .isEmpty();
        assertThat(log.messages())
                .filteredOn(message -> message.contains("its blocks (63)"))
                .hasSize(1);
    }

    private static void awaitCollection(BooleanSupplier condition) throws InterruptedException {
        for (int i = 0; i < 200 && !condition.getAsBoolean(); i++) {
            System.gc();
            Thread.sleep(20);
        }
        assertThat(condition.getAsBoolean()).as("seen after garbage collection").isTrue();
    }
}
