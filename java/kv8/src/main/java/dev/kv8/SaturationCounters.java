package dev.kv8;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Where the write kernel counts what saturates: uint64 {@code [layers][2]} on the device, K before V. */
final class SaturationCounters implements AutoCloseable {
    private static final int LAYER_BYTES = 2 * Long.BYTES;

    private final KvBackend backend;
    private final long valuesOfToken;
    private final DeviceMemory memory;
    private final DeviceMemory[] layers;
    private final long[] writtenTokens;

    SaturationCounters(KvBackend backend, KvCacheConfig config) {
        this.backend = backend;
        valuesOfToken = (long) config.kvHeads() * config.headSize();
        memory = backend.allocate((long) config.layers() * LAYER_BYTES);
        backend.fill(memory, 0, memory.bytes(), (byte) 0);
        layers = new DeviceMemory[config.layers()];
        for (int layer = 0; layer < layers.length; layer++) {
            layers[layer] = memory.slice((long) layer * LAYER_BYTES, LAYER_BYTES);
        }
        writtenTokens = new long[layers.length];
    }

    /** What a write is given to count in. */
    DeviceMemory counter(int layer) {
        return layers[layer];
    }

    /** A write of {@code tokens} tokens counts there. */
    void written(int layer, int tokens) {
        writtenTokens[layer] += tokens;
    }

    void reset(int layer) {
        backend.fill(layers[layer], 0, LAYER_BYTES, (byte) 0);
        writtenTokens[layer] = 0;
    }

    /** Waits for the kernels. */
    Saturation read() {
        ByteBuffer counts = ByteBuffer.allocateDirect((int) memory.bytes()).order(ByteOrder.nativeOrder());
        backend.download(memory, 0, counts);
        long[] k = new long[layers.length];
        long[] v = new long[layers.length];
        long[] written = new long[layers.length];
        for (int layer = 0; layer < layers.length; layer++) {
            k[layer] = counts.getLong(layer * LAYER_BYTES);
            v[layer] = counts.getLong(layer * LAYER_BYTES + Long.BYTES);
            written[layer] = writtenTokens[layer] * valuesOfToken;
        }
        return new Saturation(k, v, written);
    }

    @Override
    public void close() {
        memory.close();
    }
}
