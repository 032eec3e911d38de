package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.LongBuffer;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** On a device whose kernels run later than they are started, as a GPU's do. */
class StreamOrderTest {
    private static final int[] PROMPT = TieredCache.prompt(1, 41); // five whole blocks, and one token behind them

    /** Writes and copies run when somebody waits for them, as uploads and downloads do; writes note the slots that they find then. */
    private static final class LateBackend extends InMemoryBackend {
        private final Queue<Runnable> started = new ArrayDeque<>();
        private final List<Long> slotsSeen = new ArrayList<>();

        LateBackend() {
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
            started.add(() -> {
                LongBuffer now = hostView(slots, 0, tokens * Long.BYTES).asLongBuffer();
                for (int i = 0; i < tokens; i++) {
                    slotsSeen.add(now.get(i));
                }
                super.write(view, k, v, tokens, slots, rope, positions, saturated);
            });
        }

        @Override
        public void copy(DeviceMemory source, long sourceOffset, DeviceMemory target, long targetOffset, long bytes) {
            started.add(() -> super.copy(source, sourceOffset, target, targetOffset, bytes));
        }

        @Override
        public void upload(ByteBuffer source, DeviceMemory target, long offset) {
            synchronize();
            super.upload(source, target, offset);
        }

        @Override
        public void download(DeviceMemory source, long offset, ByteBuffer target) {
            synchronize();
            super.download(source, offset, target);
        }

        @Override
        public void gather(CacheView view, HeadRows k, HeadRows v, int tokens, DeviceMemory slots) {
            synchronize();
            super.gather(view, k, v, tokens, slots);
        }

        @Override
        public void synchronize() {
            for (Runnable next = started.poll(); next != null; next = started.poll()) {
                next.run();
            }
        }
    }

    @Test
    void theTablesOfAStepStayUntilItsKernelsHaveReadThem() {
        LateBackend backend = new LateBackend();
        KvCacheConfig config = OneLayer.config().blocks(8).build();
        try (DeviceMemory rows = backend.allocate(64 * 4L * 64);
                KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch();
                Sequence sequence = cache.open(1)) {
            HeadRows oneHead = HeadRows.of(rows, DType.FLOAT32, 1, 64);
            List<Long> expected = new ArrayList<>();
            for (long step = 0; step < 20; step++) {
                assertThat(batch.add(sequence)).isTrue();
                cache.write(0, batch, oneHead, oneHead);
                batch.commit();
                sequence.append(1);
                expected.add(step); // a fresh pool hands its blocks out in order
            }
            backend.synchronize();
            assertThat(backend.slotsSeen).isEqualTo(expected);
        }
    }

    @Test
    void aTierGetsWhatTheStepWrote() {
        Tiers tiers = TieredCache.tiers(HostBlockStore.create(ByteSize.mib(1)))
                .writtenOnFirstUse(true)
                .build();
        try (TieredCache test =
                new TieredCache(new LateBackend(), TieredCache.config(12, tiers).build())) {
            Sequence sequence = test.cache.open(PROMPT);
            sequence.awaitLoaded();
            test.compute(sequence); // its last kernel has not run
            test.settle();
            sequence.close();
            test.evictAll();
            assertThat(test.serve(PROMPT)).isEqualTo(40);
            assertThat(test.tier(0).loaded()).isEqualTo(5);
        }
    }

    @Test
    void whatIsSwappedOutIsWhatTheStepWrote() {
        try (TieredCache test = new TieredCache(
                new LateBackend(), TieredCache.config(12, Tiers.NONE).build())) {
            Sequence sequence = test.cache.open(PROMPT);
            test.compute(sequence);
            SwappedSequence away = test.cache.swapOut(sequence);
            Sequence other = test.cache.open(TieredCache.prompt(2, 90)); // takes all blocks
            test.compute(other);
            other.close();
            Sequence back = test.cache.swapIn(away).orElseThrow();
            test.checkContent(back);
            back.close();
        }
    }

    @Test
    void aFileHasWhatTheStepWrote(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("sequence");
        try (TieredCache test = new TieredCache(
                new LateBackend(), TieredCache.config(12, Tiers.NONE).build())) {
            Sequence sequence = test.cache.open(PROMPT);
            test.compute(sequence);
            test.cache.save(sequence, file);
            sequence.close();
            test.cache.clearPrefixes("");
            Sequence restored = test.cache.restore(file);
            test.checkContent(restored);
            restored.close();
        }
    }
}
