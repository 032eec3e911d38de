package dev.kv8.natives;

import static dev.kv8.natives.abi.kv8.KV8_MEMORY_HOST;

import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_device;
import dev.kv8.natives.abi.kv8_device_info;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

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
    private final TreeMap<Long, Allocation> allocations = new TreeMap<>();
    private boolean closed;

    private record Allocation(DeviceMemory memory, int kind) {}

    OpenDevice(String backend, kv8_device handle) {
        this.backend = backend;
        this.handle = handle;
        this.hostAccessible = readInfo().host_accessible() != 0;
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
            if (allocations.remove(address) != null) {
                Status.check(kv8.kv8_free(handle(), address));
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
