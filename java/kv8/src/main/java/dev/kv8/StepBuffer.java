package dev.kv8;

import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;

/**
 * An array of one step's metadata: written in host memory, read by kernels on the device. Where the device sees host memory
 * (the CPU does) both are one. It grows in powers of two and keeps no content when it does.
 */
final class StepBuffer implements AutoCloseable {
    private static final int FIRST_BYTES = 256;

    private final KvBackend backend;
    private final boolean mirrored;
    private DeviceMemory host;
    private DeviceMemory device;
    private ByteBuffer bytes;
    private IntBuffer ints;
    private LongBuffer longs;

    /** @param mirrored whether kernels need a copy in device memory */
    StepBuffer(KvBackend backend, boolean mirrored) {
        this.backend = backend;
        this.mirrored = mirrored;
        host = backend.allocateHost(FIRST_BYTES);
        device = mirrored ? allocateDevice(host) : host;
        bytes = backend.hostView(host, 0, FIRST_BYTES);
        ints = bytes.asIntBuffer();
        longs = bytes.asLongBuffer();
    }

    private DeviceMemory allocateDevice(DeviceMemory hostSide) {
        try {
            return backend.allocate(hostSide.bytes());
        } catch (RuntimeException e) {
            hostSide.close();
            throw e;
        }
    }

    /** Makes room; what it replaces is freed, which waits for its readers. */
    void ensureBytes(long needed) {
        if (needed <= bytes.capacity()) {
            return;
        }
        if (needed > 1 << 30) {
            throw new IllegalArgumentException(
                    "A batch needs " + needed + " bytes for one of its tables; the limit is 1 GiB. Add fewer tokens.");
        }
        int size = Integer.highestOneBit((int) needed - 1) << 1;
        DeviceMemory newHost = backend.allocateHost(size);
        DeviceMemory newDevice = mirrored ? allocateDevice(newHost) : newHost;
        close();
        host = newHost;
        device = newDevice;
        bytes = backend.hostView(host, 0, size);
        ints = bytes.asIntBuffer();
        longs = bytes.asLongBuffer();
    }

    IntBuffer ints() {
        return ints;
    }

    LongBuffer longs() {
        return longs;
    }

    /** Brings the first {@code used} bytes to the device, in the order of kernels; the host's side must stay as it is until then. */
    void upload(int used) {
        if (mirrored) {
            backend.copy(host, 0, device, 0, used);
        }
    }

    DeviceMemory host() {
        return host;
    }

    DeviceMemory device() {
        return device;
    }

    @Override
    public void close() {
        host.close();
        if (mirrored) {
            device.close();
        }
    }
}
