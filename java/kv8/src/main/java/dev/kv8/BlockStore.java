package dev.kv8;

import java.io.IOException;
import java.util.BitSet;
import java.util.List;

/**
 * SPI of a tier below the KV cache: a place that keeps frames, one for each block, under the block's key. {@link HostBlockStore} keeps
 * them in memory, {@link FileBlockStore} in files, {@code kv8-redis} in Valkey or Redis.
 *
 * <p>A cache prepares a transfer (keys, buffers, a deadline) and a store completes it, block by block, now or later; see {@link
 * BlockTransfer}. A store is best effort in everything but one thing: it says done only of a frame that it has moved. What it gives
 * back is checked by the cache (lengths, key, layout, checksums), so a store that loses, cuts, damages or mixes up frames costs time,
 * never a wrong result. It may therefore evict, refuse and forget as it likes.
 *
 * <p>All methods are called on the cache's transfer threads, never on the thread that drives the cache, except {@link #prepare},
 * {@link #close} and {@link #forget}, which comes on whatever thread completed the block. Loads and stores run at the same time, and
 * several caches may share one store: it must be safe for threads.
 */
public interface BlockStore extends AutoCloseable {
    /** A short name for messages and statistics, such as {@code host}; different for each tier of a cache. */
    String name();

    /**
     * Says, before the first transfer, that frames will have up to {@code frameBytes} bytes. Called once for each cache.
     *
     * @throws IllegalArgumentException when the store can't take frames of that size, saying what it can
     * @throws IllegalStateException when it has been closed
     */
    void prepare(int frameBytes);

    /** The bytes that one transfer should move: several blocks are grouped up to it. 4 MiB unless told otherwise. */
    default int transferBytes() {
        return 4 << 20;
    }

    /**
     * How many of {@code keys}, from the first on without a gap, are probably here. A hint: a load may still find less.
     *
     * @param deadlineNanos on the clock of {@link System#nanoTime}; it should not take longer
     * @throws IOException when it can't be known
     */
    int lookup(List<BlockKey> keys, long deadlineNanos) throws IOException;

    /**
     * Which of {@code keys} are probably here; bit {@code i} is for key {@code i}. A hint, as {@link #lookup}. Caches ask it whose
     * {@linkplain KvCacheConfig#layerGroups layers have blocks of their own}, where a prefix may have gaps: of many blocks, of which
     * most may be absent. As it stands it asks {@link #lookup} behind each gap, until the deadline; a store that is not in this
     * process does better to answer all at once.
     *
     * @param deadlineNanos on the clock of {@link System#nanoTime}; it should not take longer
     * @throws IOException when it can't be known
     */
    default BitSet present(List<BlockKey> keys, long deadlineNanos) throws IOException {
        BitSet present = new BitSet();
        for (int from = 0; from < keys.size() && System.nanoTime() - deadlineNanos < 0; ) {
            int found = lookup(keys.subList(from, keys.size()), deadlineNanos);
            if (found < 0 || found > keys.size() - from) {
                throw new IOException("it says to have " + found + " of " + (keys.size() - from) + " blocks");
            }
            present.set(from, from + found);
            from += found + 1;
        }
        return present;
    }

    /** Brings frames from the store into the transfer's buffers. */
    void load(BlockTransfer transfer);

    /** Keeps the transfer's frames, as far as it likes. */
    void store(BlockTransfer transfer);

    /**
     * What it gave back for a key was not that block's frame, or not whole: it should not do so again. Must neither take long nor wait for
     * another thread: it is called on the one that completed the block, from within {@link BlockTransfer#done}.
     */
    void forget(BlockKey key);

    /** Frees what it holds in this process. Transfers under way fail; closing twice does nothing. */
    @Override
    void close();
}
