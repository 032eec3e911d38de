package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.LongBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** On a device whose kernels run later than they are started, as a GPU's do. */
class StreamOrderTest {
    /** Writes run when somebody waits for them, and note the slots that they find then. */
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
            });
        }

        @Override
        public void synchronize() {
            started.forEach(Runnable::run);
            started.clear();
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
}
