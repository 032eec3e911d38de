package dev.kv8.cli;

import dev.kv8.AmaxGranularity;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;

/**
 * How fast a device reads and copies memory that no cache of a processor holds, measured between the rounds of what is compared
 * with it: the amax kernel over float32 values, and the backend's copy.
 */
final class MemoryBandwidth implements AutoCloseable {
    private static final int WIDTH = 1024;

    private final KvBackend backend;
    private final LastLevelCache cache;
    /** Twice what no cache holds, as a copy is of one half to the other. */
    private final long bytes;

    private final DeviceMemory memory;
    private final DeviceMemory out;
    private final Timings reads;
    private final Timings copies;

    MemoryBandwidth(KvBackend backend, int rounds) {
        this.backend = backend;
        cache = LastLevelCache.of(backend.info());
        long row = (long) WIDTH * Float.BYTES;
        bytes = (2 * cache.coldBytes() + 2 * row - 1) / (2 * row) * (2 * row);
        memory = backend.allocate(bytes);
        out = backend.allocate(Float.BYTES);
        reads = new Timings(rounds);
        copies = new Timings(rounds);
        backend.fill(memory, 0, bytes, (byte) 0);
        read();
        copy();
    }

    /** Reads all of the memory once, and copies one half of it to the other. */
    void measure(int round) {
        reads.time(round, this::read);
        copies.time(round, this::copy);
    }

    /** What it is beyond. */
    LastLevelCache cache() {
        return cache;
    }

    double readGbps() {
        return bytes / reads.medianSeconds() * 1e-9;
    }

    /** Bytes read and bytes written, together. */
    double copyGbps() {
        return bytes / copies.medianSeconds() * 1e-9;
    }

    private void read() {
        HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, WIDTH);
        backend.amax(rows, (int) (bytes / Float.BYTES / WIDTH), AmaxGranularity.TENSOR, out, false);
        backend.synchronize();
    }

    private void copy() {
        backend.copy(memory, 0, memory, bytes / 2, bytes / 2);
        backend.synchronize();
    }

    @Override
    public void close() {
        memory.close();
        out.close();
    }
}
