package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** Which attention schedules a step has, and which of them each layer gets. */
class StepSchedulesTest {
    private final RecordingBackend backend = new RecordingBackend();

    private static final class RecordingBackend extends InMemoryBackend {
        final List<Plan> plans = new ArrayList<>();
        /** By call of attend: its window and that of its plan. */
        final List<List<Integer>> windows = new ArrayList<>();

        RecordingBackend() {
            super(true);
        }

        static final class Plan implements AttentionPlan {
            final int queryHeads;
            final int window;
            int updates;
            boolean closed;

            Plan(int queryHeads, int window) {
                this.queryHeads = queryHeads;
                this.window = window;
            }

            @Override
            public void update(int sequences, DeviceMemory queryStartLoc, DeviceMemory seqLens) {
                updates++;
            }

            @Override
            public void close() {
                closed = true;
            }
        }

        @Override
        public AttentionPlan attentionPlan(int queryHeads, int kvHeads, int headSize, int window) {
            Plan plan = new Plan(queryHeads, window);
            plans.add(plan);
            return plan;
        }

        @Override
        public void attend(
                CacheView view,
                AttentionPlan plan,
                DeviceMemory blockTable,
                long blockTableStride,
                HeadRows q,
                HeadRows out,
                @Nullable DeviceMemory lse,
                AttentionOptions options) {
            assertThat(((Plan) plan).queryHeads).isEqualTo(q.heads());
            windows.add(List.of(options.window(), ((Plan) plan).window));
        }
    }

    @Test
    void layersOfOneWindowShareASchedule() {
        DeviceMemory memory = backend.allocate(4 * 64 * 4);
        HeadRows two = HeadRows.of(memory, DType.FLOAT32, 2, 64);
        HeadRows four = HeadRows.of(memory, DType.FLOAT32, 4, 64);
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(4)
                .layerWindows(20, 0, 20, 0)
                .kvHeads(1)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blocks(40)
                .build();
        try (KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch()) {
            Sequence sequence = cache.open(1, 2, 3);
            for (int step = 0; step < 3; step++) {
                assertThat(batch.add(sequence, 1)).isTrue();
                for (int layer = 0; layer < 4; layer++) {
                    cache.attend(layer, batch, two, two);
                }
                AttentionOptions narrower = AttentionOptions.causal(64).withWindow(12);
                cache.attend(1, batch, two, two, narrower);
                cache.attend(2, batch, four, four);
                batch.commit();
            }
        }
        assertThat(backend.windows)
                .hasSize(18)
                .startsWith(
                        List.of(20, 20),
                        List.of(0, 0),
                        List.of(20, 20),
                        List.of(0, 0),
                        List.of(12, 12),
                        List.of(20, 20));
        assertThat(backend.plans).hasSize(4).allSatisfy(plan -> {
            assertThat(plan.updates).isEqualTo(3);
            assertThat(plan.closed).isTrue();
        });
        memory.close();
        backend.close();
    }
}
