package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.BooleanSupplier;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What is dropped without close is noted once; a sequence's blocks come back. */
class AbandonedTest {
    /** Held, because java.util.logging does not. */
    private final Logger logger = Logger.getLogger("dev.kv8");

    private final List<String> messages = new CopyOnWriteArrayList<>();
    private final Handler handler = new Handler() {
        @Override
        public void publish(LogRecord line) {
            messages.add(line.getMessage());
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    };

    @BeforeEach
    void listen() {
        logger.setUseParentHandlers(false);
        logger.addHandler(handler);
    }

    @AfterEach
    void stop() {
        logger.removeHandler(handler);
        logger.setUseParentHandlers(true);
    }

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
            assertThat(messages)
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
        awaitCollection(() -> messages.stream()
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
        assertThat(messages).filteredOn(message -> message.contains("KvCache")).isEmpty();
        assertThat(messages)
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
