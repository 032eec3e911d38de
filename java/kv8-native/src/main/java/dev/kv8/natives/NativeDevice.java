package dev.kv8.natives;

import static dev.kv8.natives.abi.kv8.KV8_MEMORY_DEVICE;
import static dev.kv8.natives.abi.kv8.KV8_MEMORY_HOST;

import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_device;
import dev.kv8.natives.abi.kv8_device_info;
import dev.kv8.natives.abi.kv8_span;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * An open device: its life, its memory and the turn that calls take.
 *
 * <p>Every call holds {@link #turn} from the check that the device is open, over reading the addresses of its memory, until
 * the native call has returned. So closing the device or freeing memory from another thread waits for a running call, and a
 * later call finds it closed: native code never sees freed memory. Memory that the device owns is closed with it.
 */
abstract sealed class NativeDevice implements KvBackend permits NativeBackend {
    private static final int STAGING_BYTES = 1 << 20;

    /** Guards the handle, the allocations and the reused argument structs. */
    final Object turn = new Object();

    private final String backend;
    private final kv8_device handle;
    private final boolean hostAccessible;
    private final TreeMap<Long, Allocation> allocations = new TreeMap<>();
    private final SpanArgument copyTarget = new SpanArgument("target", new kv8_span(Struct.zeroed(kv8_span.class)));
    private final SpanArgument copySource = new SpanArgument("source", new kv8_span(Struct.zeroed(kv8_span.class)));
    private boolean closed;

    private record Allocation(DeviceMemory memory, int kind) {}

    NativeDevice(String backend, kv8_device handle) {
        this.backend = backend;
        this.handle = handle;
        this.hostAccessible = readInfo().host_accessible() != 0;
    }

    /** The device's handle, for a caller that holds {@link #turn}. */
    final kv8_device handle() {
        if (closed) {
            throw new IllegalStateException("This " + backend + " backend has been closed.");
        }
        return handle;
    }

    // ---- what it is

    @Override
    public final DeviceInfo info() {
        synchronized (turn) {
            handle();
            kv8_device_info info = readInfo();
            return new DeviceInfo(
                    backend,
                    Status.text(info.name()),
                    Status.text(info.arch()),
                    info.memory_bytes(),
                    info.memory_free(),
                    info.allocated_bytes(),
                    types(info.dtypes()),
                    types(info.native_fp8()),
                    info.threads(),
                    hostAccessible);
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

    // ---- memory

    @Override
    public final DeviceMemory allocate(long bytes) {
        return allocate(bytes, KV8_MEMORY_DEVICE);
    }

    @Override
    public final DeviceMemory allocateHost(long bytes) {
        return allocate(bytes, KV8_MEMORY_HOST);
    }

    private DeviceMemory allocate(long bytes, int kind) {
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

    @Override
    public final ByteBuffer hostView(DeviceMemory memory, long offset, int bytes) {
        memory.checkRange(offset, bytes);
        synchronized (turn) {
            handle();
            long address = memory.address();
            if (!hostAccessible && !isHostAllocation(address)) {
                throw new IllegalArgumentException("The host cannot read memory of the " + backend
                        + " device. Use allocateHost, or upload and download.");
            }
            return Address.view(address + offset, bytes);
        }
    }

    private boolean isHostAllocation(long address) {
        Map.Entry<Long, Allocation> below = allocations.floorEntry(address);
        return below != null
                && below.getValue().kind() == KV8_MEMORY_HOST
                && address - below.getKey() < below.getValue().memory().bytes();
    }

    @Override
    public final void upload(ByteBuffer source, DeviceMemory target, long offset) {
        target.checkRange(offset, source.remaining());
        synchronized (turn) {
            handle();
            ByteBuffer rest = source.duplicate();
            if (source.isDirect()) {
                uploadDirect(rest, target.address() + offset);
                return;
            }
            ByteBuffer staging = staging(rest.remaining());
            for (long at = offset; rest.hasRemaining(); at += staging.limit()) {
                staging.clear();
                int length = Math.min(rest.remaining(), staging.capacity());
                staging.put(rest.slice(rest.position(), length));
                rest.position(rest.position() + length);
                uploadDirect(staging.flip(), target.address() + at);
            }
        }
    }

    @Override
    public final void download(DeviceMemory source, long offset, ByteBuffer target) {
        if (target.isReadOnly()) {
            throw new IllegalArgumentException("The buffer to download into is read-only.");
        }
        source.checkRange(offset, target.remaining());
        synchronized (turn) {
            handle();
            ByteBuffer rest = target.duplicate();
            if (target.isDirect()) {
                downloadDirect(source.address() + offset, rest);
                return;
            }
            ByteBuffer staging = staging(rest.remaining());
            for (long at = offset; rest.hasRemaining(); at += staging.limit()) {
                staging.clear().limit(Math.min(rest.remaining(), staging.capacity()));
                downloadDirect(source.address() + at, staging);
                rest.put(staging.duplicate());
            }
        }
    }

    private static ByteBuffer staging(int bytes) {
        return ByteBuffer.allocateDirect(Math.min(bytes, STAGING_BYTES));
    }

    private void uploadDirect(ByteBuffer source, long to) {
        try {
            copyNow(Address.of(source), to, source.remaining());
        } finally {
            Reference.reachabilityFence(source);
        }
    }

    private void downloadDirect(long from, ByteBuffer target) {
        try {
            copyNow(from, Address.of(target), target.remaining());
        } finally {
            Reference.reachabilityFence(target);
        }
    }

    /** Waits, because the buffer may be changed or freed by its owner afterwards. */
    private void copyNow(long from, long to, int bytes) {
        copy(from, to, bytes);
        Status.check(kv8.kv8_stream_sync(handle, null));
    }

    private void copy(long from, long to, long bytes) {
        copyTarget.set(to, bytes);
        copySource.set(from, bytes);
        Status.check(kv8.kv8_copy(handle, null, copyTarget.struct, copySource.struct));
    }

    @Override
    public final void copy(DeviceMemory source, long sourceOffset, DeviceMemory target, long targetOffset, long bytes) {
        source.checkRange(sourceOffset, bytes);
        target.checkRange(targetOffset, bytes);
        synchronized (turn) {
            handle();
            copy(source.address() + sourceOffset, target.address() + targetOffset, bytes);
        }
    }

    @Override
    public final void fill(DeviceMemory target, long offset, long bytes, byte value) {
        target.checkRange(offset, bytes);
        synchronized (turn) {
            handle();
            copyTarget.set(target.address() + offset, bytes);
            Status.check(kv8.kv8_fill(handle, null, copyTarget.struct, value));
        }
    }

    @Override
    public final void synchronize() {
        synchronized (turn) {
            Status.check(kv8.kv8_stream_sync(handle(), null));
        }
    }

    @Override
    public final void close() {
        synchronized (turn) {
            if (closed) {
                return;
            }
            for (Allocation allocation : new ArrayList<>(allocations.values())) {
                allocation.memory().close();
            }
            allocations.clear();
            closed = true;
            Status.check(kv8.kv8_device_close(handle));
        }
    }
}
