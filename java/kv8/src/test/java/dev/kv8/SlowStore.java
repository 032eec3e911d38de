package dev.kv8;

import java.io.IOException;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/**
 * Host memory that takes its time over every second load, so that it is seldom left alone. What it gives is whole. Made by the thread that
 * drives the cache, on which it refuses to work.
 */
final class SlowStore extends NamedStore {
    /** What is slow. */
    enum Pace {
        /** Nothing. */
        PROMPT,
        /** The question what it has, in the thread that asks it. */
        SLOW_LOOKUPS,
        /** The blocks, which come from another thread later. */
        SLOW_LOADS,
        /** The blocks, which never come until it is closed. */
        NO_ANSWERS
    }

    private final StepsThread stepsThread = new StepsThread();
    private final long delayNanos;
    private final AtomicInteger asked = new AtomicInteger();
    private final ConcurrentLinkedQueue<BlockTransfer> unanswered = new ConcurrentLinkedQueue<>();
    private final ScheduledExecutorService later = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "slow-store");
        thread.setDaemon(true);
        return thread;
    });
    private volatile Pace pace = Pace.PROMPT;

    SlowStore(long delayNanos) {
        super("slow", HostBlockStore.create(ByteSize.mib(16)));
        this.delayNanos = delayNanos;
    }

    void becomes(Pace next) {
        pace = next;
    }

    /** Whether this one is to be slow. */
    private boolean isTurn() {
        return asked.incrementAndGet() % 2 == 0;
    }

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) throws IOException {
        stepsThread.mustNotRun();
        if (pace == Pace.SLOW_LOOKUPS && isTurn()) {
            LockSupport.parkNanos(delayNanos);
        }
        return super.lookup(keys, deadlineNanos);
    }

    @Override
    public void load(BlockTransfer transfer) {
        stepsThread.mustNotRun();
        boolean slow = (pace == Pace.SLOW_LOADS || pace == Pace.NO_ANSWERS) && isTurn();
        if (!slow) {
            super.load(transfer);
        } else if (pace == Pace.NO_ANSWERS) {
            unanswered.add(transfer);
        } else {
            later.schedule(() -> super.load(transfer), delayNanos, TimeUnit.NANOSECONDS)
                    .isDone();
        }
    }

    @Override
    public void store(BlockTransfer transfer) {
        stepsThread.mustNotRun();
        super.store(transfer);
    }

    /** Ends what is under way, as a broken connection does. */
    @Override
    public void close() {
        later.shutdown();
        try {
            if (!later.awaitTermination(20, TimeUnit.SECONDS)) {
                throw new IllegalStateException("The delayed loads did not end.");
            }
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
        unanswered.forEach(transfer -> transfer.failRest(null));
        stepsThread.rethrow();
    }
}
