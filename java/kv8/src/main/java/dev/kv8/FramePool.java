package dev.kv8;

import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * A bounded number of {@link Frame}s, allocated when first needed. What is here bounds what can be under way: who gets none waits or
 * does without. For any thread.
 */
final class FramePool {
    private final int capacity;
    private final int frameBytes;
    private final ArrayBlockingQueue<Frame> free;
    private final AtomicInteger allocated = new AtomicInteger();
    private final AtomicInteger lent = new AtomicInteger();

    FramePool(int capacity, int frameBytes) {
        this.capacity = capacity;
        this.frameBytes = frameBytes;
        this.free = new ArrayBlockingQueue<>(capacity);
    }

    /** A frame with one holder; null when all are in use. */
    @Nullable
    Frame tryTake() {
        Frame frame = free.poll();
        if (frame == null && allocated.get() < capacity) {
            if (allocated.incrementAndGet() <= capacity) {
                frame = new Frame(this, frameBytes);
            } else {
                allocated.decrementAndGet();
            }
        }
        return frame == null ? null : frame.taken();
    }

    /** Waits for a frame; null when there is none until the deadline. */
    @Nullable
    Frame take(long deadlineNanos) throws InterruptedException {
        Frame frame = tryTake();
        if (frame == null) {
            Frame given = free.poll(deadlineNanos - System.nanoTime(), TimeUnit.NANOSECONDS);
            frame = given == null ? null : given.taken();
        }
        return frame;
    }

    /** Takes note that a frame is lent until it is given back; false when half of them are, since the others are for loads. */
    boolean lend() {
        if (lent.incrementAndGet() <= Math.max(1, capacity / 2)) {
            return true;
        }
        lent.decrementAndGet();
        return false;
    }

    void giveBack(Frame frame, boolean wasLent) {
        if (wasLent) {
            lent.decrementAndGet();
        }
        free.add(frame);
    }

    int capacity() {
        return capacity;
    }

    int inUse() {
        return allocated.get() - free.size();
    }
}
