package dev.kv8.natives;

import java.nio.ByteBuffer;
import org.bytedeco.javacpp.Pointer;

/** A raw address as JavaCPP's {@link Pointer}, for memory that JavaCPP did not allocate. */
final class Address extends Pointer {
    private Address(long address, long bytes) {
        super((Pointer) null);
        this.address = address;
        this.limit = bytes;
        this.capacity = bytes;
    }

    /** {@code bytes} bytes from {@code address} as a buffer in native order. */
    static ByteBuffer view(long address, int bytes) {
        // A pointer without a limit would become a buffer of one byte.
        return new Address(address, Math.max(1, bytes)).asByteBuffer().limit(bytes);
    }

    /** Where what remains in a direct buffer begins; the caller keeps the buffer reachable while it uses the address. */
    static long of(ByteBuffer direct) {
        return new Pointer(direct.slice()).address();
    }

    @Override
    public int sizeof() {
        return 1;
    }
}
