package dev.kv8.natives;

import static dev.kv8.natives.abi.kv8.KV8_MEMORY_HOST;

import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_device;
import dev.kv8.natives.abi.kv8_device_info;
import dev.kv8.natives.abi.kv8_graph;
import dev.kv8.natives.abi.kv8_stream;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * An open device: its life, the memory allocated on it and the turn that calls take, shared by the backends on its streams.
 *
 * <p>Every call holds {@link #turn} from the check that the device is open, over reading the addresses of its memory, until
 * the native call has returned. So closing the device or freeing memory from another thread waits for a running call, and a
 * later call finds it closed: native code never sees freed memory. Memory that the device owns is closed with it.
 */
final class OpenDevice {
    /** Guards the handle, the allocations and the reused argument structs. */
    final Object turn = new Object();

    private final String backend;
    private final kv8_device handle;
    private final boolean hostAccessible;
    private final boolean capturesGraphs;
    private final TreeMap<Long, Allocation> allocations = new TreeMap<>();
    /** On which calls are captured; made when the first are. */
    private @Nullable kv8_stream recording;

    private boolean capturing;
    private boolean closed;

    private record Allocation(DeviceMemory memory, int kind) {}

    OpenDevice(String backend, kv8_device handle) {
        this.backend = backend;
        this.handle = handle;
        kv8_device_info info = readInfo();
        this.hostAccessible = info.host_accessible() != 0;
        this.capturesGraphs = info.captures_graphs() != 0;
    }

    String backend() {
        return backend;
    }

    /** The handle, for a caller that holds {@link #turn}. */
    kv8_device handle() {
        if (closed) {
            throw new IllegalStateException("This " + backend + " backend has been closed.");
        }
        return handle;
    }

    DeviceInfo info() {
        synchronized (turn) {
            handle();
            kv8_device_info info = readInfo();
            return new DeviceInfo(
                    backend,
                    info.ordinal(),
                    Status.text(info.name()),
                    Status.text(info.arch()),
                    info.memory_bytes(),
                    info.memory_free(),
                    info.allocated_bytes(),
                    types(info.dtypes()),
                    types(info.native_fp8()),
                    info.threads(),
                    hostAccessible,
                    Status.text(info.driver()));
        }
    }

    private kv8_device_info readInfo() {
        kv8_device_info info = new kv8_device_info(Struct.zeroed(kv8_device_info.class));
        info.struct_size(info.sizeof());
        Status.check(kv8.kv8_device_get_info(handle, info));
        return info;
    }

    private static Set<DType> types(int bits) {
        EnumSet<DType> types = EnumSet.noneOf(DType.class);
        for (DType type : DType.values()) {
            if ((bits & 1 << type.code()) != 0) {
                types.add(type);
            }
        }
        return types;
    }

    boolean capturesGraphs() {
        return capturesGraphs;
    }

    boolean isCapturing() {
        return capturing;
    }

    /**
     * The stream that captures what is put on it, until {@link #endCapture} or {@link #dropCapture}. As with those, its caller holds
     * {@link #turn}, and goes on holding it till then.
     */
    kv8_stream beginCapture() {
        kv8_device device = handle();
        kv8_stream stream = recording;
        if (stream == null) {
            stream = new kv8_stream();
            Status.check(kv8.kv8_stream_create(device, stream));
            recording = stream;
        }
        Status.check(kv8.kv8_graph_begin(device, stream));
        capturing = true;
        return stream;
    }

    kv8_graph endCapture() {
        capturing = false;
        kv8_graph graph = new kv8_graph();
        Status.check(kv8.kv8_graph_end(handle(), recording, graph));
        return graph;
    }

    /** Ends a capture that has failed for {@code reason}. */
    void dropCapture(Throwable reason) {
        try {
            Status.check(kv8.kv8_graph_destroy(handle(), endCapture()));
        } catch (RuntimeException e) {
            reason.addSuppressed(e);
        }
    }

    /** @param kind KV8_MEMORY_DEVICE or KV8_MEMORY_HOST */
    DeviceMemory allocate(long bytes, int kind) {
        if (bytes < 1) {
            throw new IllegalArgumentException("Memory of " + bytes + " bytes cannot be allocated; give at least 1.");
        }
        synchronized (turn) {
            long[] address = new long[1];
            Status.check(kv8.kv8_alloc(handle(), bytes, kind, address));
            long start = address[0];
            DeviceMemory memory = DeviceMemory.owned(start, bytes, () -> free(start));
            allocations.put(start, new Allocation(memory, kind));
            return memory;
        }
    }

    private void free(long address) {
        synchronized (turn) {
            // Gone when the device was closed first: that freed everything.
            if (allocations.containsKey(address)) {
                Status.check(
                        kv8.kv8_free(handle(), address)); // refused in a capture: then the device frees it at its end
                allocations.remove(address);
            }
        }
    }

    /** Whether Java can look at memory that begins at {@code address}; for a caller that holds {@link #turn}. */
    boolean canBeViewed(long address) {
        if (hostAccessible) {
            return true;
        }
        Map.Entry<Long, Allocation> below = allocations.floorEntry(address);
        return below != null
                && below.getValue().kind() == KV8_MEMORY_HOST
                && address - below.getKey() < below.getValue().memory().bytes();
    }

    boolean isOpen() {
        synchronized (turn) {
            return !closed;
        }
    }

    void close() {
        synchronized (turn) {
            if (closed) {
                return;
            }
            // Closing the device frees its memory; here it is only marked as closed.
            List<Allocation> owned = new ArrayList<>(allocations.values());
            allocations.clear();
            owned.forEach(allocation -> allocation.memory().close());
            closed = true;
            Status.check(kv8.kv8_device_close(handle));
        }
    }
}
