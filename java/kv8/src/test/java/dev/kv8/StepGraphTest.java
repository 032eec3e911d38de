package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a cache does beside kernels when a step is launched as a graph. */
class StepGraphTest {
    private static final int ROWS = 24;
    private static final int SIZE = 64;
    private static final int LAYERS = 2;

    private final InMemoryBackend backend = new CapturingBackend();
    private final DeviceMemory rows = backend.allocate(ROWS * SIZE * 4L);
    private final HeadRows kv = HeadRows.of(rows, DType.FLOAT32, 1, SIZE);
    private final DeviceMemory results = backend.allocate(ROWS * SIZE * 4L);
    private final HeadRows out = HeadRows.of(results, DType.FLOAT32, 1, SIZE);

    private KvCache cache() {
        return cache(0);
    }

    private KvCache cache(int window) {
        return KvCache.create(
                backend,
                KvCacheConfig.builder()
                        .layers(LAYERS)
                        .layerWindows(0, window)
                        .kvHeads(1)
                        .headSize(SIZE)
                        .dtype(KvCacheDType.FP8)
                        .blockSize(8)
                        .blocks(200)
                        .prefixCaching(false)
                        .build());
    }

    /** The rows that a step computes from; the largest do not fit the scale. */
    private void fill(int step) {
        ByteBuffer bytes = ByteBuffer.allocateDirect(ROWS * SIZE * 4).order(ByteOrder.nativeOrder());
        for (int i = 0; i < ROWS * SIZE; i++) {
            bytes.putFloat(i % 97 == step ? 900 : (i * 31 + step * 17) % 101 - 50);
        }
        backend.upload(bytes.flip(), rows, 0);
    }

    private void calls(KvCache cache, Batch batch) {
        for (int layer = 0; layer < LAYERS; layer++) {
            cache.write(layer, batch, kv, kv);
            cache.attend(layer, batch, kv, out);
        }
    }

    private float[] results(int count) {
        ByteBuffer bytes = ByteBuffer.allocateDirect(count * SIZE * 4).order(ByteOrder.nativeOrder());
        backend.download(results, 0, bytes);
        float[] values = new float[count * SIZE];
        bytes.asFloatBuffer().get(values);
        return values;
    }

    /** Decode steps of a growing number of sequences, so that tables grow out of their memory; by calls alone or by graphs. */
    private List<float[]> decode(int window, boolean graphs) {
        List<float[]> all = new ArrayList<>();
        int launched = 0;
        int captured = 0;
        try (KvCache cache = cache(window);
                Batch batch = cache.batch()) {
            List<Sequence> sequences = new ArrayList<>();
            StepGraph graph = null;
            int shapeOfGraph = 0;
            for (int step = 0; step < 90; step++) {
                if (step % 4 == 0 && sequences.size() < ROWS) {
                    sequences.add(cache.open(step + 1));
                } else if (step == 81 || step == 85) {
                    sequences.remove(3).close();
                }
                for (Sequence sequence : sequences) {
                    assertThat(batch.add(sequence)).isTrue();
                }
                fill(step);
                if (!graphs || step % 4 == 0) {
                    calls(cache, batch);
                } else if (graph != null && graph.launch()) {
                    assertThat(sequences.size()).isEqualTo(shapeOfGraph);
                    launched++;
                } else {
                    graph = cache.capture(batch, () -> calls(cache, batch));
                    shapeOfGraph = sequences.size();
                    captured++;
                    assertThat(graph.launch()).isTrue();
                }
                all.add(results(sequences.size()));
                batch.commit();
                for (Sequence sequence : sequences) {
                    sequence.append(step + 2);
                }
            }
            Saturation found = cache.saturation();
            for (int layer = 0; layer < LAYERS; layer++) {
                all.add(new float[] {found.k(layer), found.v(layer), found.written(layer)});
            }
        }
        assertThat(launched > 2 * captured).as("%d launches", launched).isEqualTo(graphs);
        return all;
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 24})
    void stepsAreThoseOfCalls(int window) {
        List<float[]> expected = decode(window, false);
        List<float[]> got = decode(window, true);
        assertThat(got).hasSameSizeAs(expected);
        for (int i = 0; i < got.size(); i++) {
            assertThat(Arrays.equals(got.get(i), expected.get(i)))
                    .as("step %d", i)
                    .isTrue();
        }
    }

    @Test
    void whatALaunchStoresIsNotForgotten() {
        try (KvCache cache = cache();
                Batch batch = cache.batch()) {
            fill(0);
            Sequence first = cache.open(1);
            assertThat(batch.add(first)).isTrue();
            calls(cache, batch);
            batch.commit();
            first.close();
            KvScales.LayerScales scales =
                    new KvScales.LayerScales(KvScales.Side.tensor(0.5f), KvScales.Side.tensor(0.5f));
            cache.setScales(1, scales);
            try (Sequence second = cache.open(2);
                    StepGraph graph = captured(cache, batch, second)) {
                assertThat(cache.saturation().written(1)).as("by the capture").isZero();
                assertThat(graph.launch()).isTrue();
                assertThatIllegalStateException()
                        .isThrownBy(() -> cache.setScales(1, scales))
                        .withMessageContaining("Layer 1 holds tokens");
                batch.commit();
                assertThat(cache.saturation().written(1)).isEqualTo(SIZE);
            }
        }
    }

    private StepGraph captured(KvCache cache, Batch batch, Sequence sequence) {
        assertThat(batch.add(sequence)).isTrue();
        return cache.capture(batch, () -> calls(cache, batch));
    }

    @Test
    void aGraphServesStepsOfItsShapeAlone() {
        try (KvCache cache = cache();
                Batch batch = cache.batch()) {
            fill(0);
            Sequence first = cache.open(1, 2);
            Sequence second = cache.open(3);
            assertThat(batch.add(first)).isTrue();
            assertThat(batch.add(second)).isTrue();
            calls(cache, batch);
            batch.commit();
            first.append(4);
            second.append(4);
            try (StepGraph graph = captured(cache, batch, first)) {
                batch.clear();
                assertThatIllegalStateException().isThrownBy(graph::launch).withMessageContaining("batch is empty");
                assertThat(batch.add(second)).isTrue();
                assertThat(graph.launch()).isTrue();
                batch.commit();
                second.append(5, 6);
                assertThat(batch.add(second)).isTrue();
                assertThat(graph.launch()).as("two rows").isFalse();
                batch.clear();
                assertThat(batch.add(second, 1)).isTrue();
                assertThat(batch.add(first)).isTrue();
                assertThat(graph.launch()).as("two sequences").isFalse();
                batch.clear();
                assertThat(batch.add(first)).isTrue();
                rows.close();
                assertThat(graph.launch()).as("memory that was closed").isFalse();
                batch.clear();
            }
        }
    }

    @Test
    void aCaptureThatFailsLeavesTheBatchAsItWas() {
        try (KvCache cache = cache();
                Batch batch = cache.batch()) {
            fill(0);
            Sequence sequence = cache.open(1);
            assertThat(batch.add(sequence)).isTrue();
            assertThatIllegalStateException()
                    .isThrownBy(() -> cache.capture(batch, () -> calls(cache, batch)))
                    .withMessageContaining("no schedule for 1 query heads yet");
            assertThatThrownBy(() -> cache.capture(batch, () -> {
                        throw new UnsupportedOperationException("mine");
                    }))
                    .hasMessage("mine");
            assertThatIllegalStateException()
                    .isThrownBy(() -> cache.capture(batch, () -> cache.capture(batch, () -> {})))
                    .withMessageContaining("not nested");
            calls(cache, batch);
            batch.commit();
            assertThat(cache.saturation().written(0)).isEqualTo(SIZE);
        }
    }

    @Test
    void aBackendWithoutGraphsSaysSo() {
        InMemoryBackend without = new InMemoryBackend(true);
        assertThat(without.capturesGraphs()).isFalse();
        assertThatThrownBy(() -> without.capture(() -> {}))
                .isInstanceOf(UnsupportedOperationException.class)
                .hasMessageContaining("The fake backend captures no graphs");
    }
}
