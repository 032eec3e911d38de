package dev.kv8;

import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * Moves blocks between the pool and frames. Decision: what a store loaded is checked once more where no store can write to it, in
 * case one writes to a frame that it has completed: in the pool itself where it can be read, else in a buffer of its own on the way
 * there. For the writer thread.
 */
final class PoolCopies implements AutoCloseable {
    private final KvBackend backend;
    private final DeviceMemory pool;
    private final int blockBytes;
    private final StoredCodes codes;
    private final @Nullable DeviceMemory stopover;

    PoolCopies(KvBackend backend, DeviceMemory pool, int blockBytes, StoredCodes codes) {
        this.backend = backend;
        this.pool = pool;
        this.blockBytes = blockBytes;
        this.codes = codes;
        boolean inPlace = backend.info().hostAccessible() && codes.areThoseOfTiers();
        this.stopover = inPlace ? null : backend.allocateHost(blockBytes);
    }

    private long offset(int block) {
        return (long) block * blockBytes;
    }

    /** Behind all kernels that were started before; as the device keeps it. */
    void toFrame(int block, Frame frame) {
        backend.download(pool, offset(block), frame.payload());
    }

    /** Brings a block of a group of layers; whether it is whole where it is now. */
    boolean toPool(Frame frame, int block, int group) {
        if (stopover == null) {
            backend.upload(frame.payload(), pool, offset(block));
            return isWhole(backend.hostView(pool, offset(block), blockBytes), frame);
        }
        ByteBuffer own = backend.hostView(stopover, 0, blockBytes);
        own.duplicate().put(frame.payload());
        if (!isWhole(own, frame)) {
            return false;
        }
        codes.toDevice(own, group);
        backend.upload(own, pool, offset(block));
        return true;
    }

    private boolean isWhole(ByteBuffer block, Frame frame) {
        return BlockFrame.crc(block, 0, blockBytes) == frame.acceptedCrc();
    }

    @Override
    public void close() {
        if (stopover != null) {
            stopover.close();
        }
    }
}
