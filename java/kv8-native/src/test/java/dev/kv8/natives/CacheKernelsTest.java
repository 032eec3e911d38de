package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.Fp8Format;
import dev.kv8.HeadRows;
import dev.kv8.RopeTable;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class CacheKernelsTest extends CpuTest {
    private static final int TOKENS = 5;
    private static final int KV_HEADS = 2;
    private static final int HEAD_SIZE = 64;
    private static final int BLOCK_SIZE = 8;
    private static final long[] SLOTS = {17, 3, -1, 23, 8};
    private static final int ELEMENTS = TOKENS * KV_HEADS * HEAD_SIZE;
    private static final long SEED = 41;

    private final float[] k = Numbers.gaussian(new Random(SEED), ELEMENTS);
    private final float[] v = Numbers.gaussian(new Random(SEED + 1), ELEMENTS);

    @ParameterizedTest
    @EnumSource(Fp8Format.class)
    void storesOneScalePerTensor(Fp8Format format) {
        CacheLayer layer = layer(format, scales(0, 0, 0.01f), scales(0, 0, 0.02f));
        write(layer, null, null);

        assertGathered(layer, stored(format, k, (h, d) -> 0.01f), stored(format, v, (h, d) -> 0.02f));
    }

    @Test
    void storesOneScalePerHeadAndPerChannel() {
        float[] channels = new float[KV_HEADS * HEAD_SIZE];
        for (int i = 0; i < channels.length; i++) {
            channels[i] = 0.01f + 0.001f * i;
        }
        CacheLayer layer = layer(Fp8Format.E4M3FN, scales(1, 0, 0.01f, 0.03f), scales(HEAD_SIZE, 1, channels));
        write(layer, null, null);

        assertGathered(
                layer,
                stored(Fp8Format.E4M3FN, k, (h, d) -> h == 0 ? 0.01f : 0.03f),
                stored(Fp8Format.E4M3FN, v, (h, d) -> channels[h * HEAD_SIZE + d]));
    }

    @Test
    void computesRowScales() {
        CacheLayer layer =
                CacheLayer.of(backend, DType.E4M3FN, DType.E5M2, 3, BLOCK_SIZE, KV_HEADS, HEAD_SIZE, true, null, null);
        write(layer, null, null);

        assertGathered(layer, storedByRow(Fp8Format.E4M3FN, k), storedByRow(Fp8Format.E5M2, v));
    }

    @Test
    void keepsFloat32AsItIs() {
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 3, BLOCK_SIZE, KV_HEADS, HEAD_SIZE);
        write(layer, null, null);

        assertGathered(layer, withoutSkipped(k), withoutSkipped(v));
    }

    @ParameterizedTest
    @EnumSource(RopeTable.Style.class)
    void rotatesKeysFirst(RopeTable.Style style) {
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 3, BLOCK_SIZE, KV_HEADS, HEAD_SIZE);
        RopeAngles angles = new RopeAngles(10, 32);
        int[] positions = {4, 0, 1, 9, 2};
        write(layer, new RopeTable(device.floats(angles.table()), 32, style), device.ints(positions));

        float[] rotated = k.clone();
        angles.rotate(rotated, positions, KV_HEADS, HEAD_SIZE, style);
        assertGathered(layer, withoutSkipped(rotated), withoutSkipped(v));
    }

    @Test
    void movesBlocksWithinALayer() {
        CacheLayer layer = layer(Fp8Format.E4M3FN, scales(0, 0, 0.01f), scales(0, 0, 0.01f));
        write(layer, null, null);
        backend.moveBlocks(layer.view(), layer.view(), 1, device.ints(2, 0));

        int block = (int) layer.layout().blockStride();
        byte[] pool = device.readBytes(layer.pool(), 3 * block);
        for (int i = 0; i < block; i++) {
            assertThat(pool[i]).as("byte %d of the copied block", i).isEqualTo(pool[2 * block + i]);
        }
    }

    @Test
    void movesBlocksBetweenDtypes() {
        CacheLayer fp8 = layer(Fp8Format.E4M3FN, scales(0, 0, 0.01f), scales(0, 0, 0.01f));
        write(fp8, null, null);
        CacheLayer wide = CacheLayer.plain(backend, DType.FLOAT32, 3, BLOCK_SIZE, KV_HEADS, HEAD_SIZE);
        backend.moveBlocks(fp8.view(), wide.view(), 3, device.ints(0, 0, 1, 1, 2, 2));

        assertGathered(
                wide, stored(Fp8Format.E4M3FN, k, (h, d) -> 0.01f), stored(Fp8Format.E4M3FN, v, (h, d) -> 0.01f));
    }

    private interface Scale {
        float at(int head, int channel);
    }

    private CacheLayer layer(Fp8Format format, ChannelScales kScales, ChannelScales vScales) {
        return CacheLayer.of(
                backend, format.dtype(), format.dtype(), 3, BLOCK_SIZE, KV_HEADS, HEAD_SIZE, false, kScales, vScales);
    }

    private ChannelScales scales(long headStride, long channelStride, float... values) {
        return new ChannelScales(device.floats(values), headStride, channelStride);
    }

    private void write(
            CacheLayer layer,
            @org.jspecify.annotations.Nullable RopeTable rope,
            @org.jspecify.annotations.Nullable DeviceMemory positions) {
        backend.write(
                layer.view(),
                device.rows(k, KV_HEADS, HEAD_SIZE),
                device.rows(v, KV_HEADS, HEAD_SIZE),
                TOKENS,
                device.longs(SLOTS),
                rope,
                positions,
                null);
    }

    private void assertGathered(CacheLayer layer, float[] expectedK, float[] expectedV) {
        DeviceMemory outK = device.poisoned(4L * ELEMENTS);
        DeviceMemory outV = device.poisoned(4L * ELEMENTS);
        backend.gather(
                layer.view(),
                HeadRows.of(outK, DType.FLOAT32, KV_HEADS, HEAD_SIZE),
                HeadRows.of(outV, DType.FLOAT32, KV_HEADS, HEAD_SIZE),
                TOKENS,
                device.longs(SLOTS));
        assertThat(device.readFloats(outK, ELEMENTS)).as("K, seed %d", SEED).isEqualTo(expectedK);
        assertThat(device.readFloats(outV, ELEMENTS)).as("V, seed %d", SEED).isEqualTo(expectedV);
    }

    private static float[] stored(Fp8Format format, float[] x, Scale scale) {
        float[] result = new float[x.length];
        for (int i = 0; i < x.length; i++) {
            float s = scale.at(i / HEAD_SIZE % KV_HEADS, i % HEAD_SIZE);
            float most = largestCached(format);
            result[i] = format.decode(format.encode(Math.max(-most, Math.min(most, x[i] / s)))) * s;
        }
        return withoutSkipped(result);
    }

    /** A cache keeps FNUZ within what OCP's twin of the same code and half the scale can hold. */
    private static float largestCached(Fp8Format format) {
        return switch (format) {
            case E4M3FN, E5M2 -> format.maxValue();
            case E4M3FNUZ -> Fp8Format.E4M3FN.maxValue() / 2;
            case E5M2FNUZ -> Fp8Format.E5M2.maxValue() / 2;
        };
    }

    private static float[] storedByRow(Fp8Format format, float[] x) {
        float[] result = new float[x.length];
        for (int row = 0; row < x.length / HEAD_SIZE; row++) {
            float amax = 0;
            for (int d = 0; d < HEAD_SIZE; d++) {
                amax = Math.max(amax, Math.abs(x[row * HEAD_SIZE + d]));
            }
            float scale = amax / format.maxValue();
            for (int i = row * HEAD_SIZE; i < (row + 1) * HEAD_SIZE; i++) {
                result[i] = format.decode(format.encode(x[i] / scale)) * scale;
            }
        }
        return withoutSkipped(result);
    }

    /** A token with slot -1 is gathered as zeros. */
    private static float[] withoutSkipped(float[] x) {
        float[] result = x.clone();
        java.util.Arrays.fill(result, 2 * KV_HEADS * HEAD_SIZE, 3 * KV_HEADS * HEAD_SIZE, 0);
        return result;
    }
}
