package dev.kv8;

import org.jspecify.annotations.Nullable;

/**
 * Memory that a backend's kernels can touch: an address on the device and the bytes that may be used there.
 *
 * <p>Made by {@link KvBackend#allocate} (closing it frees the memory), by {@link #wrap} (memory of the caller, never
 * freed here) or by {@link #slice} (a part; it lives as long as the whole). Use after close is refused with {@link
 * IllegalStateException}. Closing memory of {@link KvBackend#allocate} waits for kernels that use it.
 */
public final class DeviceMemory implements AutoCloseable {
    private final long address;
    private final long bytes;
    private final @Nullable DeviceMemory whole;
    private final @Nullable Runnable release;
    private volatile boolean closed;

    private DeviceMemory(long address, long bytes, @Nullable DeviceMemory whole, @Nullable Runnable release) {
        this.address = address;
        this.bytes = bytes;
        this.whole = whole;
        this.release = release;
    }

    /** Memory that {@code release} frees; for backends. */
    public static DeviceMemory owned(long address, long bytes, Runnable release) {
        return new DeviceMemory(checkAddress(address, bytes), bytes, null, release);
    }

    /** Memory of the caller, for instance of another native library: it must stay valid while kernels use it. */
    public static DeviceMemory wrap(long address, long bytes) {
        return new DeviceMemory(checkAddress(address, bytes), bytes, null, null);
    }

    private static long checkAddress(long address, long bytes) {
        if (address == 0 || bytes < 0) {
            throw new IllegalArgumentException(
                    "Device memory needs an address other than 0 and a size of at least 0 bytes, not address " + address
                            + " with " + bytes + " bytes.");
        }
        return address;
    }

    /** The part of {@code length} bytes that begins {@code offset} bytes from here. */
    public DeviceMemory slice(long offset, long length) {
        checkRange(offset, length);
        return new DeviceMemory(address + offset, length, this, null);
    }

    /** Refuses a range that is not inside this memory. */
    public void checkRange(long offset, long length) {
        if (offset < 0 || length < 0 || length > bytes || offset > bytes - length) {
            throw new IllegalArgumentException("The range of " + length + " bytes at offset " + offset
                    + " is not inside device memory of " + bytes + " bytes.");
        }
    }

    /**
     * The first byte's address on the device.
     *
     * @throws IllegalStateException when the memory has been freed
     */
    public long address() {
        if (isClosed()) {
            throw new IllegalStateException("This device memory (" + bytes + " bytes) has been closed.");
        }
        return address;
    }

    /** Bytes that may be used; also after close. */
    public long bytes() {
        return bytes;
    }

    /** Whether it, or the memory that it is a part of, has been closed. */
    public boolean isClosed() {
        return closed || (whole != null && whole.isClosed());
    }

    /** Frees memory that a backend allocated; of wrapped memory and slices it ends only the use of this object. Closing twice does nothing. */
    @Override
    public void close() {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
        }
        if (release != null) {
            release.run();
        }
    }
}
