package dev.kv8;

/** Moves blocks between the pool and frames. For the writer thread. */
final class PoolCopies {
    private final KvBackend backend;
    private final DeviceMemory pool;
    private final long blockBytes;
    private final boolean checkedInPlace;

    PoolCopies(KvBackend backend, DeviceMemory pool, long blockBytes, StoredCodes codes) {
        this.backend = backend;
        this.pool = pool;
        this.blockBytes = blockBytes;
        this.checkedInPlace = backend.info().hostAccessible() && codes.areThoseOfTiers();
    }

    /** Behind all kernels that were started before. */
    void toFrame(int block, Frame frame) {
        backend.download(pool, block * blockBytes, frame.payload());
    }

    /**
     * Whether the block is whole where it is now. The frame has been checked; what the pool got is checked once more where it can
     * be read, in case a store wrote to a frame that it had completed.
     */
    boolean toPool(Frame frame, int block) {
        backend.upload(frame.payload(), pool, block * blockBytes);
        if (!checkedInPlace) {
            return true;
        }
        var placed = backend.hostView(pool, block * blockBytes, Math.toIntExact(blockBytes));
        return BlockFrame.crc(placed, 0, placed.capacity()) == frame.acceptedCrc();
    }
}
