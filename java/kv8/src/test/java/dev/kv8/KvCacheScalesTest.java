package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import java.util.Arrays;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Scales of a cache: when they may be set, what the kernels get of them, and what they can't hold. */
class KvCacheScalesTest extends SmallCache {
    @Test
    void scalesAreSetWhileNothingOfTheLayerIsStored() {
        LayerScales head = new LayerScales(Side.head(0.5f), Side.tensor(0.25f));
        assertThat(cache.scales().layer(0)).isEqualTo(LayerScales.NONE);
        Sequence sequence = cache.open(1, 2);
        assertThat(batch.add(sequence)).isTrue();
        cache.write(2, batch, oneHead, oneHead);
        cache.setScales(0, head);
        assertThat(cache.scales().layer(0)).isEqualTo(head);
        cache.write(0, batch, oneHead, oneHead);
        assertThatThrownBy(() -> cache.setScales(0, LayerScales.NONE))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("Layer 0 holds tokens");
        assertThat(cache.scales().layer(0)).isEqualTo(head);
        batch.commit();
        sequence.close();
        cache.setScales(0, LayerScales.NONE);
        assertThat(cache.scales().layer(0)).isEqualTo(LayerScales.NONE);
    }

    @Test
    void badScalesAreRefusedAndTheOldOnesStay() {
        assertThatThrownBy(() -> cache.setScales(0, new LayerScales(Side.NONE, Side.tensor(Float.NaN))))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith("v_scale of layer 0 is NaN");
        assertThatThrownBy(() -> cache.setScales(0, LayerScales.DYNAMIC))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("K of layer 0 are dynamic, but the cache was configured with static ones");
        assertThatThrownBy(() -> cache.setScales(2, LayerScales.NONE))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("K of layer 2 are static, but the cache was configured with dynamic ones");
        assertThat(cache.scales().layer(0)).isEqualTo(LayerScales.NONE);
        assertThat(cache.scales().layer(2)).isEqualTo(LayerScales.DYNAMIC);
    }

    @Test
    void layersInSixteenOrThirtyTwoBitsHaveNoScales() {
        cache.setScales(1, new LayerScales(Side.tensor(2), Side.tensor(2)));
        assertThat(cache.scales().layer(1)).isEqualTo(LayerScales.NONE);
    }

    @Test
    void staticScalesReachTheKernels() {
        float[] channels = new float[HEAD_SIZE];
        Arrays.fill(channels, 2);
        channels[3] = 4;
        cache.setScales(0, new LayerScales(Side.channel(channels), Side.head(0.5f)));
        Sequence sequence = cache.open(1);
        assertThat(batch.add(sequence)).isTrue();
        for (int d = 0; d < HEAD_SIZE; d++) {
            backend.hostView(rows, d * 4L, 4).putFloat(1000);
        }
        cache.write(0, batch, oneHead, oneHead);
        LayerLayout layout = cache.config().layout().layer(0, 4);
        DeviceMemory out = backend.allocate(2L * HEAD_SIZE * 4);
        HeadRows k = HeadRows.of(out.slice(0, HEAD_SIZE * 4), DType.FLOAT32, 1, HEAD_SIZE);
        HeadRows v = HeadRows.of(out.slice(HEAD_SIZE * 4, HEAD_SIZE * 4), DType.FLOAT32, 1, HEAD_SIZE);
        backend.gather(backend.viewOf(layout), k, v, 1, batch.slots());
        assertThat(backend.hostView(out, 0, 4).getFloat())
                .as("saturates at 448 * 2")
                .isEqualTo(896);
        assertThat(backend.hostView(out, 3 * 4, 4).getFloat())
                .as("1000 / 4 rounds to 256")
                .isEqualTo(1024);
        assertThat(backend.hostView(out, HEAD_SIZE * 4, 4).getFloat())
                .as("448 / 2")
                .isEqualTo(224);
        out.close();
    }

    @Test
    void countsWhatTheScalesCantHold() {
        cache.setScales(0, new LayerScales(Side.tensor(2), Side.NONE));
        Sequence sequence = cache.open(1, 2, 3);
        assertThat(batch.add(sequence)).isTrue();
        float[] values = {1000, -1000, 900, 465, -464, Float.NaN, Float.POSITIVE_INFINITY};
        for (int i = 0; i < values.length; i++) {
            backend.hostView(rows, i * 4L, 4).putFloat(values[i]);
        }
        cache.write(0, batch, oneHead, oneHead);
        cache.write(1, batch, oneHead, oneHead);
        assertThat(cache.stats().saturatedValues()).as("nobody asked yet").isZero();

        Saturation saturation = cache.saturation();
        assertThat(saturation.k(0)).as("1000, -1000 and infinity, at 464 * 2").isEqualTo(3);
        assertThat(saturation.v(0)).as("900 and 465 as well, at 464").isEqualTo(5);
        assertThat(saturation.written(0)).isEqualTo(3 * HEAD_SIZE);
        assertThat(saturation.k(1) + saturation.v(1)).as("a layer of 32 bits").isZero();
        assertThat(saturation.total()).isEqualTo(cache.stats().saturatedValues());
        assertThat(saturation.worstLayer()).isZero();
        assertThat(saturation.part(0)).isEqualTo(5.0 / (3 * HEAD_SIZE));

        batch.clear();
        sequence.close();
        cache.setScales(0, new LayerScales(Side.tensor(4), Side.tensor(4)));
        assertThat(cache.saturation().k(0)).as("with new scales").isZero();
    }

    /** Hardware that converts FNUZ alone: half the value of the same code, so twice the scale. */
    @Test
    void storesFnuzWithDoubledScalesWhereThatIsWhatTheDeviceConverts() {
        InMemoryBackend amd = new InMemoryBackend(true) {
            @Override
            public DeviceInfo info() {
                Set<DType> fnuz = Set.of(DType.E4M3FNUZ, DType.E5M2FNUZ);
                return new DeviceInfo(
                        "fake", 0, "test", "gfx942", 1L << 40, 1L << 40, 0, Set.of(DType.values()), fnuz, 1, true, "");
            }
        };
        KvCacheConfig config =
                config().skipLayers().kDtype(KvCacheDType.FP8_E5M2).build();
        try (KvCache other = KvCache.create(amd, config);
                DeviceMemory memory = amd.allocate(HEAD_SIZE * 4L)) {
            HeadRows row = HeadRows.of(memory, DType.FLOAT32, 1, HEAD_SIZE);
            for (int d = 0; d < HEAD_SIZE; d++) {
                amd.hostView(memory, d * 4L, 4).putFloat(448);
            }
            other.setScales(1, new LayerScales(Side.NONE, Side.tensor(2)));
            Batch step = other.batch();
            assertThat(step.add(other.open(1))).isTrue();
            for (int layer = 0; layer < 3; layer++) {
                other.write(layer, step, row, row);
                LayerLayout stored = amd.lastWritten().layout();
                assertThat(stored.k().dtype()).isEqualTo(DType.E5M2FNUZ);
                assertThat(stored.v().dtype()).isEqualTo(DType.E4M3FNUZ);
                amd.gather(amd.lastWritten(), row, row, 1, step.slots());
                assertThat(amd.hostView(memory, 0, 4).getFloat())
                        .as("V of layer %d", layer)
                        .isEqualTo(448);
                amd.hostView(memory, 0, 4).putFloat(448);
            }
            assertThat(other.config().vDtype(0)).as("what it means").isEqualTo(DType.E4M3FN);
        }
        assertThat(amd.liveAllocations()).isZero();
    }
}
