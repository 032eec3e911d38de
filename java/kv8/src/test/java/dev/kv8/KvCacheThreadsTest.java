package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** One writer at a time, checked; sequences closed and counters read by others while it works. */
class KvCacheThreadsTest {
    private final ExecutorService threads = Executors.newCachedThreadPool();

    private static KvCacheConfig config(int blocks) {
        return OneLayer.config().blocks(blocks).build();
    }

    @AfterEach
    void stop() throws InterruptedException {
        threads.shutdownNow();
        assertThat(threads.awaitTermination(10, TimeUnit.SECONDS)).isTrue();
    }

    /** A kernel that lasts until it is told to end. */
    private static final class BlockingBackend extends InMemoryBackend {
        final CountDownLatch entered = new CountDownLatch(1);
        final CountDownLatch leave = new CountDownLatch(1);

        BlockingBackend() {
            super(true);
        }

        @Override
        public void write(
                CacheView view,
                HeadRows k,
                HeadRows v,
                int tokens,
                DeviceMemory slots,
                @Nullable RopeTable rope,
                @Nullable DeviceMemory positions,
                @Nullable DeviceMemory saturated) {
            entered.countDown();
            try {
                leave.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    @Test
    void aSecondWriterIsRefusedAndACloserIsNotHeldUp() throws Exception {
        BlockingBackend backend = new BlockingBackend();
        try (KvCache cache = KvCache.create(backend, config(4));
                DeviceMemory memory = backend.allocate(4096)) {
            HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, 64);
            Batch batch = cache.batch();
            Sequence stepping = cache.open(1, 2, 3);
            Sequence idle = cache.open(new int[9]);
            assertThat(batch.add(idle)).isTrue();
            batch.commit();
            assertThat(batch.add(stepping)).isTrue();
            Future<?> writer = threads.submit(() -> cache.write(0, batch, rows, rows));
            assertThat(backend.entered.await(10, TimeUnit.SECONDS)).isTrue();

            for (Runnable call : new Runnable[] {
                () -> cache.open(1), () -> idle.append(1), idle::fork, batch::commit, cache::close, batch::close
            }) {
                assertThatThrownBy(call::run)
                        .isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("Thread \""
                                + Thread.currentThread().getName() + "\" called this cache" + " while thread \"pool-");
            }
            stepping.close();
            idle.close();
            assertThat(cache.stats().freeBlocks())
                    .as("nobody reclaims inside a call")
                    .isEqualTo(1);

            backend.leave.countDown();
            writer.get(10, TimeUnit.SECONDS);
            assertThat(idle.isClosed()).isTrue();
            batch.commit();
            assertThat(cache.stats().freeBlocks()).isEqualTo(4);
            assertThat(cache.stats().openSequences()).isZero();
        }
    }

    @Test
    void theWriterMayMoveBetweenThreads() throws Exception {
        try (KvCache cache = KvCache.create(new InMemoryBackend(true), config(4))) {
            Sequence sequence = threads.submit(() -> cache.open(1, 2)).get(10, TimeUnit.SECONDS);
            sequence.append(3);
            threads.submit(() -> sequence.append(4)).get(10, TimeUnit.SECONDS);
            assertThat(sequence.length()).isEqualTo(4);
        }
    }

    /** Closers race with the writer, with each other (every sequence is closed twice) and with readers of the counters. */
    @Test
    void nothingIsLostOrFreedTwiceWhenOthersClose() throws Exception {
        long seed = System.nanoTime();
        int blocks = 64;
        SilentBackend backend = new SilentBackend();
        KvCache cache = KvCache.create(backend, config(blocks));
        BlockingQueue<Sequence> toClose = new LinkedBlockingQueue<>(32);
        AtomicBoolean done = new AtomicBoolean();
        List<Future<?>> others = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            others.add(threads.submit(() -> closeAll(toClose, done)));
        }
        others.add(threads.submit(() -> readCounters(cache, done)));

        drive(cache, toClose, new Random(seed), 30_000);
        done.set(true);
        for (Future<?> other : others) {
            other.get(30, TimeUnit.SECONDS);
        }
        CacheStats end = cache.stats();
        assertThat(end.openSequences()).as("seed %d", seed).isZero();
        assertThat(end.freeBlocks()).as("seed %d", seed).isEqualTo(blocks);
        assertThat(end.storedTokens()).as("seed %d", seed).isZero();
        assertThat(end.copiedBlocks()).as("seed %d", seed).isPositive();
        assertThat(end.prefixHitTokens()).as("seed %d", seed).isPositive();
        OneLayer.close(cache, backend);
    }

    private static void drive(KvCache cache, BlockingQueue<Sequence> toClose, Random random, int steps)
            throws InterruptedException {
        Batch batch = cache.batch();
        for (int i = 0; i < steps; i++) {
            Sequence sequence = cache.open(new int[1 + random.nextInt(40)]);
            boolean added = batch.add(sequence);
            if (added && random.nextBoolean()) {
                toClose.put(sequence); // in the middle of its step
                toClose.put(sequence);
                finish(batch, random);
                continue;
            }
            finish(batch, random);
            if (added && sequence.computedTokens() > 0 && random.nextBoolean()) {
                Sequence child = sequence.fork();
                toClose.put(sequence); // while its child copies the shared block
                child.append(1);
                batch.add(child);
                finish(batch, random);
                toClose.put(child);
                toClose.put(child);
            }
            toClose.put(sequence);
        }
    }

    private static void finish(Batch batch, Random random) {
        if (random.nextInt(4) == 0) {
            batch.clear();
        } else {
            batch.commit();
        }
    }

    private static void closeAll(BlockingQueue<Sequence> toClose, AtomicBoolean done) {
        try {
            while (true) {
                boolean last = done.get();
                Sequence sequence = toClose.poll(5, TimeUnit.MILLISECONDS);
                if (sequence != null) {
                    sequence.close();
                } else if (last) {
                    return;
                }
            }
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void readCounters(KvCache cache, AtomicBoolean done) {
        long allocated = 0;
        while (!done.get()) {
            CacheStats stats = cache.stats();
            if (stats.freeBlocks() + stats.usedBlocks() != stats.totalBlocks()
                    || stats.freeBlocks() < stats.cachedBlocks()
                    || stats.cachedBlocks() < 0
                    || stats.prefixHitTokens() > stats.prefixQueryTokens()
                    || (stats.storedTokens() > 0 && stats.usedBlocks() == 0)
                    || (stats.usedBlocks() > 0 && stats.openSequences() == 0)
                    || stats.allocatedBlocks() < allocated) {
                throw new AssertionError("These counters are not of one moment: " + stats);
            }
            allocated = stats.allocatedBlocks();
        }
    }
}
