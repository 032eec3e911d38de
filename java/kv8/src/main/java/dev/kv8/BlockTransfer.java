package dev.kv8;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.jspecify.annotations.Nullable;

/**
 * Some blocks on their way to or from a {@link BlockStore}. The cache prepares it; the store completes each block exactly once, by
 * {@link #done}, {@link #absent}, {@link #refused} or {@link #failed}, from any thread, before its method returns or later.
 *
 * <p>A block's buffer is the store's until it completes the block. A cache stops waiting at the deadline, but it leaves the buffer
 * alone (in quarantine) until then, so a late write hits nothing. Completing a block again does nothing but count.
 */
public final class BlockTransfer {
    /** What became of a block. */
    public enum Outcome {
        /** Its frame has been moved. */
        DONE,
        /** A load did not find it. */
        ABSENT,
        /** A store has no room for it, or no time. */
        REFUSED,
        /** Something went wrong. */
        FAILED
    }

    /** Learns what became of each block, once, on the thread that completes it. */
    public interface Listener {
        /**
         * @param bytes of the frame when it is done, else 0
         * @param cause when it failed and something is known
         */
        void completed(BlockTransfer transfer, int index, Outcome outcome, int bytes, @Nullable Throwable cause);

        /** A block was completed that had been completed before; nothing else comes of it. */
        default void repeated(BlockTransfer transfer, int index) {}
    }

    private final List<BlockKey> keys;
    private final List<ByteBuffer> frames;
    private final long deadlineNanos;
    private final Listener listener;
    private final AtomicIntegerArray completed;
    private final AtomicInteger remaining;

    /**
     * For caches, and for tests of stores.
     *
     * @param frames by block: for a load, buffers to be filled from 0 to the frame's length; for a store, the frames, from position to
     *     limit. Direct ones move fastest
     * @param deadlineNanos on the clock of {@link System#nanoTime}
     */
    public BlockTransfer(List<BlockKey> keys, List<ByteBuffer> frames, long deadlineNanos, Listener listener) {
        if (keys.size() != frames.size() || keys.isEmpty()) {
            throw new IllegalArgumentException("A transfer has one buffer for each key and at least one of both, not "
                    + keys.size() + " keys and " + frames.size() + " buffers.");
        }
        this.keys = List.copyOf(keys);
        this.frames = List.copyOf(frames);
        this.deadlineNanos = deadlineNanos;
        this.listener = listener;
        this.completed = new AtomicIntegerArray(keys.size());
        this.remaining = new AtomicInteger(keys.size());
    }

    /** Blocks. */
    public int size() {
        return keys.size();
    }

    /** The key of block {@code index}, from 0. */
    public BlockKey key(int index) {
        return keys.get(index);
    }

    /** The block's buffer, from position to limit: another object at each call, the same bytes. */
    public ByteBuffer frame(int index) {
        return frames.get(index).duplicate();
    }

    /** When the cache stops waiting, on the clock of {@link System#nanoTime}. */
    public long deadlineNanos() {
        return deadlineNanos;
    }

    /** Nanoseconds until the deadline; negative after it. */
    public long nanosLeft() {
        return deadlineNanos - System.nanoTime();
    }

    /** The block's frame of {@code bytes} bytes has been moved. */
    public void done(int index, int bytes) {
        complete(index, Outcome.DONE, bytes, null);
    }

    /** A load did not find the block. */
    public void absent(int index) {
        complete(index, Outcome.ABSENT, 0, null);
    }

    /** A store does not keep the block, for lack of room say. */
    public void refused(int index) {
        complete(index, Outcome.REFUSED, 0, null);
    }

    /** The block could not be moved. */
    public void failed(int index, @Nullable Throwable cause) {
        complete(index, Outcome.FAILED, 0, cause);
    }

    /** Fails all blocks that have not been completed. */
    public void failRest(@Nullable Throwable cause) {
        for (int i = 0; i < size(); i++) {
            if (completed.get(i) == 0) {
                failed(i, cause);
            }
        }
    }

    private void complete(int index, Outcome outcome, int bytes, @Nullable Throwable cause) {
        Objects.checkIndex(index, size());
        if (!completed.compareAndSet(index, 0, 1)) {
            listener.repeated(this, index);
            return;
        }
        try {
            listener.completed(this, index, outcome, bytes, cause);
        } finally {
            remaining.decrementAndGet();
        }
    }

    /** Blocks that are not completed. */
    public int remaining() {
        return remaining.get();
    }
}
