package dev.kv8.natives.cuda;

import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;

/**
 * Device pointers and streams of JavaCPP's CUDA preset where kv8 takes its own. Only addresses are exchanged: nothing of the
 * preset is loaded here, and it need not be the version that kv8 was built with.
 */
public final class CudaPreset {
    private CudaPreset() {}

    /**
     * Device memory from where {@code pointer} stands (of {@code cudaMalloc} and the like). It stays the preset's and must
     * outlive its use; a {@code CUdeviceptr} is a number, which {@link DeviceMemory#wrap} takes.
     *
     * @throws IllegalArgumentException when the pointer is null
     */
    public static DeviceMemory memory(Pointer pointer, long bytes) {
        long position = pointer.position();
        long skipped = position == 0 ? 0 : position * pointer.sizeof();
        return DeviceMemory.wrap(pointer.address() == 0 ? 0 : pointer.address() + skipped, bytes);
    }

    /**
     * kv8's memory for calls of the preset, from its first byte; {@code memory} must outlive it.
     *
     * @throws IllegalStateException when the memory has been closed
     */
    public static BytePointer pointer(DeviceMemory memory) {
        return new Borrowed(memory.address(), memory.bytes());
    }

    /**
     * {@code backend} with all calls on a stream of the driver or the runtime API; see {@link KvBackend#onStream}.
     *
     * @param stream a {@code CUstream} or {@code cudaStream_t}, one type in the preset; with address 0 the default stream
     */
    public static KvBackend onStream(KvBackend backend, CUstream_st stream) {
        return backend.onStream(stream.address());
    }

    /** A pointer that frees nothing. */
    private static final class Borrowed extends BytePointer {
        Borrowed(long address, long bytes) {
            super((Pointer) null);
            this.address = address;
            this.limit = bytes;
            this.capacity = bytes;
        }
    }
}
