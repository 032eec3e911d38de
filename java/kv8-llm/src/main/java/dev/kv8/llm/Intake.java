package dev.kv8.llm;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/** What other threads tell the engine's, and where that one waits for it. Any thread may use it. */
final class Intake {
    private enum State {
        OPEN,
        DRAINING,
        CLOSED
    }

    private final int maxWaiting;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition told = lock.newCondition();
    private final Condition idleReached = lock.newCondition();
    private final Deque<Request> arrivals = new ArrayDeque<>();
    private final Deque<Long> cancellations = new ArrayDeque<>();
    private State state = State.OPEN;
    private @Nullable Throwable death;
    /** Of the engine, as it said last. */
    private int waiting;

    private boolean idle = true;

    Intake(int maxWaiting) {
        this.maxWaiting = maxWaiting;
    }

    /**
     * Takes requests, all or none.
     *
     * @param unlimited whether more may wait than is allowed, because who asks waits for them
     * @throws TooManyRequestsException when too many wait
     * @throws IllegalStateException when no more are taken
     */
    void submit(Collection<Request> requests, boolean unlimited) {
        lock.lock();
        try {
            checkOpen();
            int before = waiting + arrivals.size();
            if (!unlimited && before + requests.size() > maxWaiting) {
                throw new TooManyRequestsException(before + " requests wait, and at most " + maxWaiting
                        + " may (maxWaiting). Try again later, or give the model fewer at once.");
            }
            arrivals.addAll(requests);
            idle = false;
            told.signal();
        } finally {
            lock.unlock();
        }
    }

    /** @throws IllegalStateException when no more requests are taken; it says why */
    void checkOpen() {
        lock.lock();
        try {
            if (state == State.CLOSED) {
                throw new IllegalStateException("This LLM has been closed.");
            }
            if (death != null) {
                throw new IllegalStateException(
                        "The engine is dead and takes no requests, because its device or thread failed: "
                                + death.getMessage() + ". Close this LLM and load it again.",
                        death);
            }
            if (state == State.DRAINING) {
                throw new IllegalStateException(
                        "This LLM is draining: it ends what it has and takes no more requests.");
            }
        } finally {
            lock.unlock();
        }
    }

    boolean isOpen() {
        lock.lock();
        try {
            return state == State.OPEN && death == null;
        } finally {
            lock.unlock();
        }
    }

    /** Ends a request; one that has ended already is not changed. */
    void cancel(long id) {
        lock.lock();
        try {
            if (state != State.CLOSED) { // closing cancels all
                cancellations.add(id);
                told.signal();
            }
        } finally {
            lock.unlock();
        }
    }

    /** Moves what has come since the last call to the two lists. */
    void take(List<Request> newOnes, List<Long> cancelled) {
        lock.lock();
        try {
            newOnes.addAll(arrivals);
            waiting += arrivals.size();
            arrivals.clear();
            cancelled.addAll(cancellations);
            cancellations.clear();
        } finally {
            lock.unlock();
        }
    }

    /** The engine says how many requests wait in it, and whether it has any. */
    void tell(int nowWaiting, boolean nowIdle) {
        lock.lock();
        try {
            waiting = nowWaiting;
            idle = nowIdle && arrivals.isEmpty();
            if (idle) {
                idleReached.signalAll();
            }
        } finally {
            lock.unlock();
        }
    }

    /** Requests that the engine has not taken in yet. */
    int arrivals() {
        lock.lock();
        try {
            return arrivals.size();
        } finally {
            lock.unlock();
        }
    }

    /** Waits until there is something to take, or the intake is closed, or the time is over. */
    void await(Duration longest) throws InterruptedException {
        lock.lockInterruptibly();
        try {
            long nanos = longest.toNanos();
            while (arrivals.isEmpty() && cancellations.isEmpty() && state != State.CLOSED && nanos > 0) {
                nanos = told.awaitNanos(nanos);
            }
        } finally {
            lock.unlock();
        }
    }

    /** Takes no more requests; waits until the engine has none, which the result says, or the time is over. */
    boolean drain(Duration longest) throws InterruptedException {
        lock.lockInterruptibly();
        try {
            if (state == State.OPEN) {
                state = State.DRAINING;
            }
            long nanos = TimeUnit.NANOSECONDS.convert(longest);
            while (!idle && nanos > 0) {
                nanos = idleReached.awaitNanos(nanos);
            }
            return idle;
        } finally {
            lock.unlock();
        }
    }

    /** Takes nothing more, for this reason. */
    void die(Throwable reason) {
        lock.lock();
        try {
            death = reason;
        } finally {
            lock.unlock();
        }
    }

    boolean isDead() {
        lock.lock();
        try {
            return death != null;
        } finally {
            lock.unlock();
        }
    }

    void close() {
        lock.lock();
        try {
            state = State.CLOSED;
            told.signalAll();
        } finally {
            lock.unlock();
        }
    }

    boolean isClosed() {
        lock.lock();
        try {
            return state == State.CLOSED;
        } finally {
            lock.unlock();
        }
    }
}
