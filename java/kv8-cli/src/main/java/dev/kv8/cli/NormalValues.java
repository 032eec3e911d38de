package dev.kv8.cli;

import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
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

    /** The same scale everywhere, kept by the granularity. */
    static KvScales scales(int layers, int kvHeads, int headSize, KvScales.Granularity granularity) {
        float scale = LARGEST / 448;
        float[] heads = new float[kvHeads];
        float[] channels = new float[kvHeads * headSize];
        Arrays.fill(heads, scale);
        Arrays.fill(channels, scale);
        Side side = switch (granularity) {
            case NONE -> Side.NONE;
            case TENSOR -> Side.tensor(scale);
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
