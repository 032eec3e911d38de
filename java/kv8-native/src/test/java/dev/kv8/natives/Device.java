package dev.kv8.natives;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Moves Java arrays to a backend's memory and back. What it allocates is freed when the backend is closed. */
final class Device {
    private final KvBackend backend;

    Device(KvBackend backend) {
        this.backend = backend;
    }

    DeviceMemory floats(float... values) {
        ByteBuffer bytes = buffer(4 * values.length);
        bytes.asFloatBuffer().put(values);
        return upload(bytes);
    }

    DeviceMemory ints(int... values) {
        ByteBuffer bytes = buffer(4 * values.length);
        bytes.asIntBuffer().put(values);
        return upload(bytes);
    }

    DeviceMemory longs(long... values) {
        ByteBuffer bytes = buffer(8 * values.length);
        bytes.asLongBuffer().put(values);
        return upload(bytes);
    }

    DeviceMemory bytes(byte... values) {
        return upload(ByteBuffer.wrap(values));
    }

    /** The bit patterns of 16-bit floats. */
    DeviceMemory halves(short... patterns) {
        ByteBuffer bytes = buffer(2 * patterns.length);
        bytes.asShortBuffer().put(patterns);
        return upload(bytes);
    }

    private DeviceMemory upload(ByteBuffer bytes) {
        DeviceMemory memory = backend.allocate(Math.max(1, bytes.remaining()));
        backend.upload(bytes, memory, 0);
        return memory;
    }

    /** Memory full of 0xFF: NaN in every float format, so that what a kernel leaves out is seen. */
    DeviceMemory poisoned(long bytes) {
        DeviceMemory memory = backend.allocate(bytes);
        backend.fill(memory, 0, bytes, (byte) 0xFF);
        return memory;
    }

    float[] readFloats(DeviceMemory memory, int count) {
        float[] values = new float[count];
        download(memory, 4 * count).asFloatBuffer().get(values);
        return values;
    }

    int[] readInts(DeviceMemory memory, int count) {
        int[] values = new int[count];
        download(memory, 4 * count).asIntBuffer().get(values);
        return values;
    }

    short[] readHalves(DeviceMemory memory, int count) {
        short[] values = new short[count];
        download(memory, 2 * count).asShortBuffer().get(values);
        return values;
    }

    byte[] readBytes(DeviceMemory memory, int count) {
        byte[] values = new byte[count];
        backend.download(memory, 0, ByteBuffer.wrap(values));
        return values;
    }

    private ByteBuffer download(DeviceMemory memory, int bytes) {
        ByteBuffer target = buffer(bytes);
        backend.download(memory, 0, target);
        return target;
    }

    /** float32 rows without gaps. */
    HeadRows rows(float[] values, int heads, int width) {
        return HeadRows.of(floats(values), DType.FLOAT32, heads, width);
    }

    static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
    }
}
