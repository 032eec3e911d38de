package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.AttentionOptions;
import dev.kv8.Batch;
import dev.kv8.CapturedGraph;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.Saturation;
import dev.kv8.Sequence;
import dev.kv8.StepGraph;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Captured calls and captured steps of a cache, on the emulator. */
class GpuGraphTest {
    private static final int LAYERS = 2;
    private static final int KV_HEADS = 2;
    private static final int QUERY_HEADS = 4;
    private static final int SIZE = 64;
    private static final int ROWS = 8;

    private KvBackend gpu;
    private Device device;

    @BeforeEach
    void open() {
        gpu = OpenEmulator.of("sm_90");
        device = new Device(gpu);
    }

    @AfterEach
    void close() {
        if (gpu != null) {
            gpu.close();
        }
    }

    // ---- calls

    @Test
    void callsAreMadeByTheirLaunchesOnly() {
        assertThat(gpu.capturesGraphs()).isTrue();
        DeviceMemory from = device.floats(1, 2, 3);
        DeviceMemory to = device.floats(0, 0, 0);
        try (CapturedGraph graph = gpu.capture(() -> {
            gpu.cast(from, DType.FLOAT32, to, DType.FLOAT32, 2, 1);
            gpu.fill(from, 0, 4, (byte) 0);
        })) {
            assertThat(device.readFloats(to, 3)).containsExactly(0, 0, 0);
            graph.launch();
            assertThat(device.readFloats(to, 3)).containsExactly(1, 2, 0);
            graph.launch();
            assertThat(device.readFloats(to, 3)).containsExactly(0, 2, 0);
            gpu.upload(Device.buffer(8).putFloat(7).putFloat(8).flip(), from, 0);
            gpu.fill(to, 0, 12, (byte) 0);
            graph.launch();
            assertThat(device.readFloats(to, 3)).containsExactly(7, 8, 0);
        }
    }

    @Test
    void aGraphIsNotLaunchedOnMemoryThatWasClosed() {
        DeviceMemory from = device.floats(1, 2, 3);
        DeviceMemory to = device.floats(0, 0, 0);
        DeviceMemory other = device.floats(5);
        CapturedGraph graph = gpu.capture(() -> gpu.copy(from.slice(4, 8), 0, to, 0, 8));
        other.close();
        assertThat(graph.isCurrent()).isTrue();
        graph.launch();
        from.close();
        assertThat(graph.isCurrent()).isFalse();
        assertThatIllegalStateException().isThrownBy(graph::launch).withMessageContaining("Capture them anew.");
        assertThat(device.readFloats(to, 2)).containsExactly(2, 3);
        graph.close();
        graph.close();
        assertThatIllegalStateException().isThrownBy(graph::launch).withMessageContaining("has been closed");
        assertThat(graph.isCurrent()).isFalse();
    }

    @Test
    void aCallThatIsRefusedIsThrownOnAndLeavesTheBackendAsItWas() {
        DeviceMemory memory = device.floats(1, 2, 3);
        HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, 3);
        ByteBuffer buffer = Device.buffer(12);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> gpu.capture(() -> gpu.softcap(rows, 2, 30)))
                .withMessageContaining("x.data has 12 bytes");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> gpu.capture(gpu::synchronize))
                .withMessageContaining("can be waited for when the capture has ended");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> gpu.capture(() -> gpu.download(memory, 0, buffer)))
                .withMessageContaining("pageable host memory");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> gpu.capture(() -> gpu.allocate(64)))
                .withMessageContaining("cannot hold kv8_alloc");
        assertThatIllegalStateException()
                .isThrownBy(() -> gpu.capture(() -> gpu.capture(() -> {})))
                .withMessageContaining("not nested");
        assertThatThrownBy(() -> gpu.capture(() -> {
                    gpu.fill(memory, 0, 4, (byte) 0);
                    throw new UnsupportedOperationException("mine");
                }))
                .hasMessage("mine")
                .hasNoSuppressedExceptions();
        assertThat(device.readFloats(memory, 3)).containsExactly(1, 2, 3);
        gpu.softcap(rows, 1, 1e30f);
        try (CapturedGraph graph = gpu.capture(() -> gpu.fill(memory, 0, 4, (byte) 0))) {
            graph.launch();
        }
        assertThat(device.readFloats(memory, 3)).containsExactly(0, 2, 3);
    }

    @Test
    void illegalValuesAreToldAfterALaunch() {
        DeviceMemory table = device.floats(1, 2, 3, 4);
        DeviceMemory ids = device.ints(1);
        DeviceMemory out = device.floats(0, 0);
        HeadRows rows = HeadRows.of(out, DType.FLOAT32, 1, 2);
        try (CapturedGraph graph = gpu.capture(() -> gpu.embedding(table, DType.FLOAT32, 2, ids, rows, 1, 1))) {
            graph.launch();
            assertThat(device.readFloats(out, 2)).containsExactly(3, 4);
            gpu.upload(Device.buffer(4).putInt(2).flip(), ids, 0);
            graph.launch();
            assertThatIllegalArgumentException().isThrownBy(gpu::synchronize).withMessageContaining("ids[0] is 2");
        }
    }

    @Test
    void aGraphOutlivesItsBackendHarmlessly() {
        DeviceMemory memory = device.floats(1);
        CapturedGraph graph = gpu.capture(() -> gpu.fill(memory, 0, 4, (byte) 0));
        gpu.close();
        assertThat(graph.isCurrent()).isFalse();
        assertThatIllegalStateException().isThrownBy(graph::launch);
        graph.close();
        assertThatIllegalStateException().isThrownBy(() -> gpu.capture(() -> {}));
    }

    @Test
    void theCpuHasNone() {
        try (KvBackend cpu = KvBackend.open("cpu")) {
            assertThat(cpu.capturesGraphs()).isFalse();
            assertThatThrownBy(() -> cpu.capture(() -> {}))
                    .isInstanceOf(UnsupportedOperationException.class)
                    .hasMessageContaining("The cpu backend captures no graphs")
                    .hasMessageContaining("Make the calls themselves.");
        }
    }

    // ---- steps of a cache

    /** Rows at one place, as an engine's are. */
    private final class Model implements AutoCloseable {
        private final DeviceMemory q = device.poisoned(4L * ROWS * QUERY_HEADS * SIZE);
        private final DeviceMemory k = device.poisoned(4L * ROWS * KV_HEADS * SIZE);
        private final DeviceMemory v = device.poisoned(4L * ROWS * KV_HEADS * SIZE);
        final DeviceMemory out = device.poisoned(4L * ROWS * QUERY_HEADS * SIZE);
        final KvCache cache;
        final Batch batch;

        Model() {
            cache = KvCache.create(
                    gpu,
                    KvCacheConfig.builder()
                            .layers(LAYERS)
                            .kvHeads(KV_HEADS)
                            .headSize(SIZE)
                            .blockSize(8)
                            .blocks(80)
                            .dtype(KvCacheDType.FP8_E4M3)
                            .build());
            batch = cache.batch();
        }

        /** New rows; some are too large for the scale. */
        void fill(Random random) {
            for (DeviceMemory memory : new DeviceMemory[] {q, k, v}) {
                ByteBuffer bytes = Device.buffer((int) memory.bytes());
                bytes.asFloatBuffer().put(Numbers.gaussian(random, (int) memory.bytes() / 4));
                bytes.putFloat(4 * random.nextInt(SIZE), 5000);
                gpu.upload(bytes, memory, 0);
            }
        }

        void calls() {
            for (int layer = 0; layer < LAYERS; layer++) {
                cache.write(layer, batch, rows(k, KV_HEADS), rows(v, KV_HEADS));
                cache.attend(layer, batch, rows(q, QUERY_HEADS), rows(out, QUERY_HEADS), AttentionOptions.causal(SIZE));
            }
        }

        private HeadRows rows(DeviceMemory memory, int heads) {
            return HeadRows.of(memory, DType.FLOAT32, heads, SIZE);
        }

        byte[] result() {
            return device.readBytes(out, batch.tokens() * QUERY_HEADS * SIZE * 4);
        }

        @Override
        public void close() {
            batch.close();
            cache.close();
            q.close();
            k.close();
            v.close();
            out.close();
        }
    }

    /** Sequences of changing number and length; each decode step by calls, or by graphs where there is one that fits. */
    private record Steps(List<byte[]> results, List<Long> saturation, int launches, int captures) {}

    private Steps run(boolean graphs) {
        List<byte[]> results = new ArrayList<>();
        Map<Integer, StepGraph> bySequences = new HashMap<>();
        int launches = 0;
        int captures = 0;
        try (Model model = new Model()) {
            Random random = new Random(11);
            List<Sequence> sequences = new ArrayList<>();
            for (int step = 0; step < 60; step++) {
                if (sequences.size() < ROWS - 1 && step % 7 == 0) {
                    sequences.add(model.cache.open(step + 1, 2, 3, 4, 5));
                    prefill(model, sequences.get(sequences.size() - 1), random, results);
                }
                if (step == 31 || step == 45) {
                    sequences.remove(0).close();
                }
                for (Sequence sequence : sequences) {
                    sequence.append(step);
                    assertThat(model.batch.add(sequence)).isTrue();
                }
                model.fill(random);
                StepGraph graph = bySequences.get(sequences.size());
                if (!graphs || step % 7 == 0) {
                    model.calls();
                } else if (graph != null && graph.launch()) {
                    launches++;
                } else {
                    if (graph != null) {
                        graph.close();
                    }
                    StepGraph captured = model.cache.capture(model.batch, model::calls);
                    bySequences.put(sequences.size(), captured);
                    captures++;
                    assertThat(captured.launch()).isTrue();
                }
                results.add(model.result());
                model.batch.commit();
            }
            Saturation found = model.cache.saturation();
            List<Long> saturation = new ArrayList<>();
            for (int layer = 0; layer < LAYERS; layer++) {
                assertThat(found.k(layer)).isPositive();
                saturation.addAll(List.of(found.k(layer), found.v(layer), found.written(layer)));
            }
            return new Steps(results, saturation, launches, captures);
        }
    }

    private static void prefill(Model model, Sequence sequence, Random random, List<byte[]> results) {
        assertThat(model.batch.add(sequence)).isTrue();
        model.fill(random);
        model.calls();
        results.add(model.result());
        model.batch.commit();
    }

    @Test
    void stepsOfGraphsAreThoseOfCalls() {
        Steps expected = run(false);
        Steps got = run(true);
        assertThat(got.results()).hasSameSizeAs(expected.results());
        for (int i = 0; i < got.results().size(); i++) {
            assertThat(got.results().get(i))
                    .as("step %d", i)
                    .isEqualTo(expected.results().get(i));
        }
        assertThat(got.saturation()).isEqualTo(expected.saturation());
        assertThat(got.launches()).isGreaterThan(2 * got.captures());
        assertThat(got.captures()).isGreaterThanOrEqualTo(7);
    }

    @Test
    void aGraphIsForStepsOfItsShape() {
        try (Model model = new Model()) {
            Random random = new Random(5);
            List<byte[]> ignored = new ArrayList<>();
            Sequence first = model.cache.open(1, 2, 3);
            Sequence second = model.cache.open(1, 2, 4);
            prefill(model, first, random, ignored);
            prefill(model, second, random, ignored);
            first.append(5);
            second.append(5);
            assertThat(model.batch.add(first)).isTrue();
            assertThat(model.batch.add(second)).isTrue();
            model.calls(); // the largest step of this test, so that nothing grows after it
            model.batch.commit();
            first.append(5);
            assertThat(model.batch.add(first)).isTrue();
            try (StepGraph graph = model.cache.capture(model.batch, model::calls)) {
                assertThat(graph.launch()).isTrue();
                model.batch.commit();
                assertThatIllegalStateException().isThrownBy(graph::launch).withMessageContaining("batch is empty");
                first.append(6);
                second.append(6);
                assertThat(model.batch.add(first)).isTrue();
                assertThat(model.batch.add(second)).isTrue();
                assertThat(graph.launch()).as("two sequences").isFalse();
                model.calls();
                model.batch.commit();
                second.append(7);
                assertThat(model.batch.add(second)).isTrue();
                assertThat(graph.launch()).as("another one alone").isTrue();
                model.batch.commit();
                second.append(8, 9);
                assertThat(model.batch.add(second)).isTrue();
                assertThat(graph.launch()).as("two tokens").isFalse();
                model.batch.clear();
            }
        }
    }

    @Test
    void newScalesMakeAGraphThatHasTheOldOnesUseless() {
        try (Model model = new Model()) {
            Random random = new Random(5);
            Sequence first = model.cache.open(1, 2, 3);
            prefill(model, first, random, new ArrayList<>());
            first.append(5);
            assertThat(model.batch.add(first)).isTrue();
            try (StepGraph graph = model.cache.capture(model.batch, model::calls)) {
                assertThat(graph.launch()).isTrue();
                model.batch.commit();
                first.close();
                model.cache.setScales(1, new KvScales.LayerScales(KvScales.Side.tensor(0.5f), KvScales.Side.tensor(2)));
                Sequence second = model.cache.open(4);
                assertThat(model.batch.add(second)).isTrue();
                assertThat(graph.launch()).isFalse();
                model.calls();
                model.batch.commit();
            }
        }
    }

    @Test
    void aStepIsCapturedAfterOneWithoutAGraph() {
        try (Model model = new Model()) {
            Sequence first = model.cache.open(1);
            assertThatIllegalStateException()
                    .isThrownBy(() -> model.cache.capture(model.batch, model::calls))
                    .withMessageContaining("batch is empty");
            assertThat(model.batch.add(first)).isTrue();
            assertThatIllegalStateException()
                    .isThrownBy(() -> model.cache.capture(model.batch, model::calls))
                    .withMessageContaining("no schedule for 4 query heads yet");
            model.calls();
            try (Batch other = model.cache.batch()) {
                assertThatIllegalStateException()
                        .isThrownBy(() -> model.cache.capture(model.batch, () -> {
                            assertThat(other.add(model.cache.open(2))).isTrue();
                            model.cache.write(0, other, model.rows(model.k, KV_HEADS), model.rows(model.v, KV_HEADS));
                        }))
                        .withMessageContaining("another batch");
            }
            StepGraph graph = model.cache.capture(model.batch, model::calls);
            assertThat(graph.launch()).isTrue();
            graph.close();
            assertThatIllegalStateException().isThrownBy(graph::launch).withMessageContaining("has been closed");
            model.batch.commit();
        }
    }
}
