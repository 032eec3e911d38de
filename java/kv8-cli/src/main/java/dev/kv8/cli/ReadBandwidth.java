package dev.kv8.cli;

import dev.kv8.AmaxGranularity;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;

/** How fast a device reads its memory: the amax kernel over float32 values that no cache of a processor holds. */
final class ReadBandwidth implements AutoCloseable {
    private static final long BYTES = 256L << 20;
    private static final int WIDTH = 1024;

    private final KvBackend backend;
    private final DeviceMemory memory;
    private final DeviceMemory out;

    ReadBandwidth(KvBackend backend) {
        this.backend = backend;
        memory = backend.allocate(BYTES);
        out = backend.allocate(Float.BYTES);
        backend.fill(memory, 0, BYTES, (byte) 0);
    }

    /** Reads all of it once, waited for. */
    void read() {
        HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, WIDTH);
        backend.amax(rows, (int) (BYTES / Float.BYTES / WIDTH), AmaxGranularity.TENSOR, out, false);
        backend.synchronize();
    }

    long bytes() {
        return BYTES;
    }

    @Override
    public void close() {
        memory.close();
        out.close();
    }
}
