package dev.kv8.natives;

import static dev.kv8.natives.abi.kv8.KV8_MEMORY_DEVICE;
import static dev.kv8.natives.abi.kv8.KV8_MEMORY_HOST;

import dev.kv8.CapturedGraph;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_device;
import dev.kv8.natives.abi.kv8_graph;
import dev.kv8.natives.abi.kv8_span;
import dev.kv8.natives.abi.kv8_stream;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** One stream of an open device, and what every backend does with memory on it. */
abstract sealed class NativeDevice implements KvBackend permits NativeBackend {
    private static final int STAGING_BYTES = 1 << 20;

    final OpenDevice device;
    /** Where calls go: this backend's stream, null for the device's default one, or while they are captured another. */
    @Nullable
    kv8_stream stream;
    /** {@link OpenDevice#turn} */
    final Object turn;

    final GivenMemory given = new GivenMemory();

    private final @Nullable kv8_stream own;
    private final SpanArgument copyTarget =
            new SpanArgument("target", new kv8_span(Struct.zeroed(kv8_span.class)), given);
    private final SpanArgument copySource =
            new SpanArgument("source", new kv8_span(Struct.zeroed(kv8_span.class)), given);
    private boolean closed;

    NativeDevice(OpenDevice device, @Nullable kv8_stream stream) {
        this.device = device;
        this.own = stream;
        this.stream = stream;
        this.turn = device.turn;
    }

    /** The device's handle, for a caller that holds {@link #turn}. */
    final kv8_device handle() {
        kv8_device handle = device.handle();
        if (closed) {
            throw new IllegalStateException("This " + device.backend() + " backend on a stream has been closed.");
        }
        return handle;
    }

    @Override
    public final DeviceInfo info() {
        synchronized (turn) {
            handle();
            return device.info();
        }
    }

    /** Wraps a stream of the caller's runtime. */
    final kv8_stream wrap(long nativeStream) {
        synchronized (turn) {
            kv8_stream wrapped = new kv8_stream();
            Status.check(kv8.kv8_stream_wrap(handle(), nativeStream, wrapped));
            return wrapped;
        }
    }

    // ---- graphs

    @Override
    public final boolean capturesGraphs() {
        synchronized (turn) {
            handle();
            return device.capturesGraphs();
        }
    }

    /** No driver captures its default stream, so calls are captured on one of the device's own, whatever this one's is. */
    @Override
    public final CapturedGraph capture(Runnable calls) {
        Objects.requireNonNull(calls, "calls is null.");
        synchronized (turn) {
            if (!capturesGraphs()) {
                return KvBackend.super.capture(calls);
            }
            if (device.isCapturing()) {
                throw new IllegalStateException("Calls are being captured already; captures are not nested.");
            }
            kv8_stream recording = device.beginCapture();
            GivenMemory.Noted uses;
            stream = recording;
            given.note();
            try {
                calls.run();
            } catch (Throwable e) {
                device.dropCapture(e);
                throw e;
            } finally {
                uses = given.noted();
                stream = own;
            }
            return new NativeGraph(this, device.endCapture(), uses);
        }
    }

    /** For a caller that holds {@link #turn}. */
    final void launch(kv8_graph graph) {
        Status.check(kv8.kv8_graph_launch(handle(), stream, graph));
    }

    /** For a caller that holds {@link #turn}. What a closed device had is gone with it. */
    final void destroy(kv8_graph graph) {
        if (device.isOpen()) {
            Status.check(kv8.kv8_graph_destroy(device.handle(), graph));
        }
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
        synchronized (turn) {
            handle();
            return device.allocate(bytes, kind);
        }
    }

    @Override
    public final ByteBuffer hostView(DeviceMemory memory, long offset, int bytes) {
        memory.checkRange(offset, bytes);
        synchronized (turn) {
            handle();
            long address = memory.address();
            if (!device.canBeViewed(address)) {
                throw new IllegalArgumentException("The host cannot read memory of the " + device.backend()
                        + " device. Use allocateHost, or upload and download.");
            }
            return Address.view(address + offset, bytes);
        }
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
        Status.check(kv8.kv8_stream_sync(device.handle(), stream));
    }

    private void copy(long from, long to, long bytes) {
        copyTarget.set(to, bytes);
        copySource.set(from, bytes);
        Status.check(kv8.kv8_copy(device.handle(), stream, copyTarget.struct, copySource.struct));
    }

    @Override
    public final void copy(DeviceMemory source, long sourceOffset, DeviceMemory target, long targetOffset, long bytes) {
        source.checkRange(sourceOffset, bytes);
        target.checkRange(targetOffset, bytes);
        synchronized (turn) {
            handle();
            copy(given.address(source) + sourceOffset, given.address(target) + targetOffset, bytes);
        }
    }

    @Override
    public final void fill(DeviceMemory target, long offset, long bytes, byte value) {
        target.checkRange(offset, bytes);
        synchronized (turn) {
            handle();
            copyTarget.set(given.address(target) + offset, bytes);
            Status.check(kv8.kv8_fill(handle(), stream, copyTarget.struct, value));
        }
    }

    @Override
    public final void synchronize() {
        synchronized (turn) {
            Status.check(kv8.kv8_stream_sync(handle(), stream));
        }
    }

    /** Closes the device, or only this stream's wrapper when it is not the device's own. */
    @Override
    public final void close() {
        kv8_stream wrapped = own;
        if (wrapped == null) {
            device.close();
            return;
        }
        synchronized (turn) {
            if (!closed && device.isOpen()) {
                Status.check(kv8.kv8_stream_destroy(device.handle(), wrapped));
            }
            closed = true;
        }
    }
}
