package dev.kv8.llm;

import dev.kv8.AmaxGranularity;
import dev.kv8.Batch;
import dev.kv8.DeviceMemory;
import dev.kv8.Fp8Format;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvScales;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;

/**
 * The largest magnitudes of K (rotated, as it is stored) and V of every layer, and the scales that follow from them: {@code
 * amax / the format's largest value}, 1.0 where everything is zero.
 */
final class ScaleObserver implements AutoCloseable {
    private final KvBackend backend;
    private final RopeTables rope;
    private final AmaxGranularity granularity;
    private final int values;
    /** float32 {@code [layers][2][values]}, K before V. */
    private final DeviceMemory amax;
    /** K's rows, to be rotated here: what is stored must be rounded once only. Null until the first step. */
    private @Nullable DeviceMemory copy;

    ScaleObserver(KvBackend backend, RopeTables rope, ModelConfig config, AmaxGranularity granularity) {
        this.backend = backend;
        this.rope = rope;
        this.granularity = granularity;
        values = switch (granularity) {
            case TENSOR -> 1;
            case HEAD -> config.kvHeads();
            case CHANNEL -> config.kvHeads() * config.headSize();
            case ROW ->
                throw new IllegalArgumentException("Row scales are not observed; they are computed at each write.");
        };
        amax = backend.allocate(2L * config.layers() * values * Float.BYTES);
        backend.fill(amax, 0, amax.bytes(), (byte) 0);
    }

    /** Takes both sides' magnitudes in, K's as they are rotated; leaves K as it is. */
    void observe(int layer, Batch batch, HeadRows k, HeadRows v) {
        HeadRows rotated = copied(k, batch.tokens());
        backend.rope(rotated, rope.layer(layer), batch.positions(), batch.tokens());
        backend.amax(rotated, batch.tokens(), granularity, side(layer, 0), true);
        backend.amax(v, batch.tokens(), granularity, side(layer, 1), true);
    }

    private HeadRows copied(HeadRows k, int tokens) {
        DeviceMemory target = copy;
        if (target == null || target.bytes() < k.memory().bytes()) {
            if (target != null) {
                backend.synchronize();
                target.close();
            }
            target = backend.allocate(k.memory().bytes());
            copy = target;
        }
        backend.copy(k.memory(), 0, target, 0, tokens * k.tokenStride());
        return new HeadRows(target, k.offset(), k.dtype(), k.heads(), k.width(), k.tokenStride(), k.headStride());
    }

    /** The scale that follows from a largest magnitude. */
    @FunctionalInterface
    interface Rule {
        float scale(float amax);
    }

    /** The scales of a layer whose sides are stored in these formats. */
    KvScales.LayerScales scales(int layer, Fp8Format kFormat, Fp8Format vFormat) {
        return scales(layer, amax -> KvScales.scaleFor(amax, kFormat), amax -> KvScales.scaleFor(amax, vFormat));
    }

    KvScales.LayerScales scales(int layer, Rule k, Rule v) {
        return new KvScales.LayerScales(scale(layer, 0, k, "K"), scale(layer, 1, v, "V"));
    }

    private KvScales.Side scale(int layer, int side, Rule rule, String name) {
        ByteBuffer read = ByteBuffer.allocateDirect(values * Float.BYTES).order(ByteOrder.nativeOrder());
        backend.download(side(layer, side), 0, read);
        float[] scales = new float[values];
        for (int i = 0; i < values; i++) {
            float largest = read.getFloat(i * Float.BYTES);
            if (Float.isInfinite(largest)) {
                throw new IllegalStateException(name + " of layer " + layer
                        + " holds infinite values, so it has no scale. The model overflows on this text.");
            }
            scales[i] = rule.scale(largest);
        }
        return switch (granularity) {
            case TENSOR -> KvScales.Side.tensor(scales[0]);
            case HEAD -> KvScales.Side.head(scales);
            default -> KvScales.Side.channel(scales);
        };
    }

    private DeviceMemory side(int layer, int side) {
        long bytes = (long) values * Float.BYTES;
        return amax.slice((2L * layer + side) * bytes, bytes);
    }

    @Override
    public void close() {
        amax.close();
        if (copy != null) {
            copy.close();
        }
    }
}
