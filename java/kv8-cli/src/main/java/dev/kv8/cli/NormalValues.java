package dev.kv8.cli;

import dev.kv8.DeviceMemory;
import dev.kv8.Fp8Format;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Random;

/** What benchmarks fill their arrays with: values of the standard normal distribution, and scales that suit them. */
final class NormalValues {
    private static final int PIECE = 1 << 20;

    /** Nearly all values are within ± 4.5. */
    private static final float LARGEST = 4.5f;

    private static final float SCALE = LARGEST / Fp8Format.E4M3FN.maxValue();

    private NormalValues() {}

    /** Fills the first {@code count} float32 values of {@code target}; beyond {@value #PIECE} they repeat. */
    static void upload(KvBackend backend, DeviceMemory target, long count, Random random) {
        int piece = (int) Math.min(count, PIECE);
        ByteBuffer values = ByteBuffer.allocateDirect(piece * Float.BYTES).order(ByteOrder.nativeOrder());
        while (values.hasRemaining()) {
            values.putFloat((float) random.nextGaussian());
        }
        values.flip();
        for (long done = 0; done < count; done += piece) {
            values.limit((int) Math.min(piece, count - done) * Float.BYTES);
            backend.upload(values, target, done * Float.BYTES);
        }
    }

    /**
     * Fills the first {@code count} float32 values of {@code target} with rows whose codes are nearly all subnormal: their first
     * value is the largest, which a scale by token is made of too, and 1 to 7 of E4M3's smallest steps are beside it, or 1 to 3 of
     * them in E5M2, whose steps are finer.
     */
    static void uploadSubnormal(
            KvBackend backend,
            DeviceMemory target,
            int count,
            int rowElements,
            KvCacheDType dtype,
            KvScales.Granularity granularity) {
        boolean fine = dtype == KvCacheDType.FP8_E5M2;
        float scale = switch (granularity) {
            case NONE -> 1;
            case DYNAMIC -> LARGEST / (fine ? Fp8Format.E5M2 : Fp8Format.E4M3FN).maxValue();
            case TENSOR, HEAD, CHANNEL -> SCALE;
        };
        float step = scale * (fine ? 0x1p-16f : 0x1p-9f);
        ByteBuffer values = ByteBuffer.allocateDirect(count * Float.BYTES).order(ByteOrder.nativeOrder());
        for (int i = 0; i < count; i++) {
            int steps = 1 + i % (fine ? 3 : 7);
            values.putFloat(i % rowElements == 0 ? LARGEST : i % 2 == 0 ? steps * step : -steps * step);
        }
        backend.upload(values.flip(), target, 0);
    }

    /** The same scale everywhere, kept by the granularity. */
    static KvScales scales(int layers, int kvHeads, int headSize, KvScales.Granularity granularity) {
        float[] heads = new float[kvHeads];
        float[] channels = new float[kvHeads * headSize];
        Arrays.fill(heads, SCALE);
        Arrays.fill(channels, SCALE);
        Side side = switch (granularity) {
            case NONE -> Side.NONE;
            case TENSOR -> Side.tensor(SCALE);
            case HEAD -> Side.head(heads);
            case CHANNEL -> Side.channel(channels);
            case DYNAMIC -> Side.DYNAMIC;
        };
        KvScales.Builder builder = KvScales.builder(layers, kvHeads, headSize);
        for (int layer = 0; layer < layers; layer++) {
            builder.layer(layer, new LayerScales(side, side));
        }
        return builder.build();
    }
}
