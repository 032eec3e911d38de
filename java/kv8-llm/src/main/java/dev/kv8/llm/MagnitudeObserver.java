package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Takes in the magnitudes of K (rotated, as it is stored) and V of every layer, in Java. For one thread.
 */
final class MagnitudeObserver {
    private final KvBackend backend;
    private final RopeTables rope;
    private final LayerMagnitudes magnitudes;
    private final boolean hostAccessible;
    /** For a device whose memory the processor can't reach. */
    private ByteBuffer downloaded = ByteBuffer.allocateDirect(0);

    MagnitudeObserver(KvBackend backend, RopeTables rope, LayerMagnitudes magnitudes) {
        this.backend = backend;
        this.rope = rope;
        this.magnitudes = magnitudes;
        hostAccessible = backend.info().hostAccessible();
    }

    /**
     * Rotates K in place and takes both sides' magnitudes in.
     *
     * @throws CalibrationException when a value is infinite
     */
    void observe(int layer, Batch batch, HeadRows k, HeadRows v) {
        backend.rope(k, rope.layer(layer), batch.positions(), batch.tokens());
        backend.synchronize();
        observe(layer, KvSide.K, k, batch.tokens());
        observe(layer, KvSide.V, v, batch.tokens());
    }

    private ByteBuffer read(HeadRows rows, int bytes) {
        if (hostAccessible) {
            return backend.hostView(rows.memory(), rows.offset(), bytes).order(ByteOrder.nativeOrder());
        }
        if (downloaded.capacity() < bytes) {
            downloaded = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
        }
        backend.download(rows.memory(), rows.offset(), downloaded.clear().limit(bytes));
        return downloaded;
    }

    private static float element(ByteBuffer values, int at, DType type) {
        return switch (type) {
            case FLOAT32 -> values.getFloat(at);
            case BFLOAT16 -> Float.intBitsToFloat(values.getShort(at) << 16);
            default -> StoredTensor.halfToFloat(values.getShort(at));
        };
    }

    private void observe(int layer, KvSide side, HeadRows rows, int tokens) {
        int heads = magnitudes.heads();
        int headSize = magnitudes.headSize();
        MagnitudeCounts into = magnitudes.counts(layer, side);
        DType type = rows.dtype();
        long span =
                (tokens - 1) * rows.tokenStride() + (heads - 1) * rows.headStride() + (long) headSize * type.bytes();
        ByteBuffer values = read(rows, Math.toIntExact(span));
        // All tokens of a channel in turn: its counts stay in the processor's cache.
        for (int head = 0; head < heads; head++) {
            for (int channel = 0; channel < headSize; channel++) {
                int at = (int) (head * rows.headStride()) + channel * type.bytes();
                for (int token = 0; token < tokens; token++) {
                    into.add(head * headSize + channel, element(values, at, type));
                    at += (int) rows.tokenStride();
                }
            }
        }
        int infinite = into.firstInfinite();
        if (infinite >= 0) {
            throw new CalibrationException(side + " of layer " + layer + ", head " + infinite / headSize + ", channel "
                    + infinite % headSize + " holds an infinite value, so it has no scale. The model overflows on this"
                    + " text; leave the text out, or keep the layer in 16 bits by other means than calibration.");
        }
    }
}
