package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A step allocates nothing on the Java heap once the batch and the sequences have grown. */
class AllocationTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int SEQUENCES = 8;
    private static final int LAYERS = 4;
    private static final int[] PARENTS = {3, 3, 0, 1, 3, 6, 5, 0};

    /** With one group of layers and with two. */
    @ParameterizedTest
    @ValueSource(ints = {0, 700})
    void aWarmStepAllocatesNothing(int window) {
        SilentBackend backend = new SilentBackend();
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(LAYERS)
                .layerWindows(0, window, 0, window)
                .kvHeads(2)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blocks(1024)
                .build();
        try (KvCache cache = KvCache.create(backend, config);
                DeviceMemory memory = backend.allocate(1 << 16)) {
            HeadRows kv = HeadRows.of(memory, DType.FLOAT32, 2, 64);
            HeadRows q = HeadRows.of(memory, DType.FLOAT32, 4, 64);
            Batch batch = cache.batch();
            Sequence[] sequences = new Sequence[SEQUENCES];
            for (int i = 0; i < SEQUENCES; i++) {
                sequences[i] = cache.open(new int[600]);
                assertThat(batch.add(sequences[i])).isTrue();
            }
            batch.commit();
            long thread = Thread.currentThread().getId();
            steps(cache, batch, sequences, kv, q, 5000);
            // A compiler or the profiler may allocate in a round; what every step allocates is seen in all of them.
            long least = Long.MAX_VALUE;
            for (int round = 0; round < 5; round++) {
                long before = THREADS.getThreadAllocatedBytes(thread);
                steps(cache, batch, sequences, kv, q, 1000);
                least = Math.min(least, THREADS.getThreadAllocatedBytes(thread) - before);
            }
            assertThat(least).as("bytes allocated by 1000 steps").isZero();
        }
    }

    @Test
    void aWarmBeamStepAllocatesNothing() {
        SilentBackend backend = new SilentBackend();
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(1)
                .kvHeads(2)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blocks(512)
                .build();
        try (KvCache cache = KvCache.create(backend, config)) {
            Batch batch = cache.batch();
            Sequence[] beam = new Sequence[SEQUENCES];
            beam[0] = cache.open(new int[300]);
            assertThat(batch.add(beam[0])).isTrue();
            batch.commit();
            for (int i = 1; i < SEQUENCES; i++) {
                beam[i] = beam[0].fork();
            }
            long thread = Thread.currentThread().getId();
            beamSteps(cache, batch, beam, 3000);
            long least = Long.MAX_VALUE;
            for (int round = 0; round < 5; round++) {
                long before = THREADS.getThreadAllocatedBytes(thread);
                beamSteps(cache, batch, beam, 500);
                least = Math.min(least, THREADS.getThreadAllocatedBytes(thread) - before);
            }
            assertThat(least).as("bytes allocated by 500 steps").isZero();
            assertThat(cache.stats().copiedBlocks()).isPositive();
        }
    }

    private static void beamSteps(KvCache cache, Batch batch, Sequence[] beam, int count) {
        for (int step = 0; step < count; step++) {
            for (Sequence sequence : beam) {
                if (sequence.length() == 400) {
                    sequence.truncate(300);
                }
                sequence.append(step);
                if (!batch.add(sequence)) {
                    throw new AssertionError("The pool holds all sequences.");
                }
            }
            batch.commit();
            cache.reorder(beam, PARENTS);
        }
    }

    /** Eviction by class and time limit, hits, hints and duplicates, on blocks alone. */
    @ParameterizedTest
    @EnumSource
    void thePoolAllocatesNothing(EvictionPolicyKind kind) {
        long[] nanos = {0};
        BlockPool pool = new BlockPool(64, kind, () -> nanos[0] += 1 << 19);
        SequenceOptions[] options = {
            SequenceOptions.DEFAULT,
            SequenceOptions.builder().priority(CachePriority.LOW).build(),
            SequenceOptions.builder()
                    .priority(CachePriority.HIGH)
                    .timeLimit(Duration.ofMillis(50))
                    .build()
        };
        ReleaseHint[] hints = ReleaseHint.values();
        long[] key = new long[PrefixIndex.KEY];
        useBlocks(pool, options, hints, key, 20_000);
        long thread = Thread.currentThread().getId();
        long least = Long.MAX_VALUE;
        for (int round = 0; round < 5; round++) {
            long before = THREADS.getThreadAllocatedBytes(thread);
            useBlocks(pool, options, hints, key, 20_000);
            least = Math.min(least, THREADS.getThreadAllocatedBytes(thread) - before);
        }
        assertThat(least).as("bytes allocated by 20,000 uses of a block").isZero();
        assertThat(pool.evicted()).isPositive();
        pool.checkInvariants();
    }

    private static void useBlocks(
            BlockPool pool, SequenceOptions[] options, ReleaseHint[] hints, long[] key, int count) {
        for (int i = 0; i < count; i++) {
            key[0] = i % 7 == 0 ? i : i % 90;
            SequenceOptions used = options[i % options.length];
            int block = pool.take(key, 0, used);
            if (block < 0) {
                block = pool.allocate();
                pool.register(block, key, 0, used);
            }
            if (i % 5 == 0) {
                pool.pin(block, used);
                pool.unpin(block);
            }
            pool.release(block, hints[i % 11 % hints.length], used.priority().rank());
        }
    }

    private static void steps(KvCache cache, Batch batch, Sequence[] sequences, HeadRows kv, HeadRows q, int count) {
        for (int step = 0; step < count; step++) {
            for (Sequence sequence : sequences) {
                if (sequence.length() == 600) {
                    sequence.truncate(300);
                }
                sequence.append(step);
                if (!batch.add(sequence)) {
                    throw new AssertionError("The pool holds all sequences.");
                }
            }
            batch.tokenIds();
            for (int layer = 0; layer < LAYERS; layer++) {
                cache.write(layer, batch, kv, kv);
                cache.attend(layer, batch, q, q);
            }
            batch.commit();
        }
    }
}
