package dev.kv8;

import java.util.function.LongSupplier;

/**
 * Leaves a failing tier alone for a while: after three failures in a row it is open for a second, then lets one operation try, and
 * doubles the time up to a minute while those fail. For any thread.
 */
final class CircuitBreaker {
    private static final int FAILURES = 3;
    private static final long FIRST_NANOS = 1_000_000_000L;
    private static final long LONGEST_NANOS = 60 * FIRST_NANOS;

    private final LongSupplier clock;
    private int failures;
    private long openNanos;
    private long openUntil;
    private boolean trying;

    /** @param clock as {@link System#nanoTime} */
    CircuitBreaker(LongSupplier clock) {
        this.clock = clock;
    }

    /** Whether an operation may run now; who gets true must report {@link #succeeded} or {@link #failed}. */
    synchronized boolean allows() {
        if (openNanos == 0) {
            return true;
        }
        if (trying || clock.getAsLong() - openUntil < 0) {
            return false;
        }
        trying = true;
        return true;
    }

    /** Whether it would refuse now. */
    synchronized boolean isOpen() {
        return openNanos != 0 && (trying || clock.getAsLong() - openUntil < 0);
    }

    synchronized void succeeded() {
        failures = 0;
        openNanos = 0;
        trying = false;
    }

    /** True when this opens it. */
    synchronized boolean failed() {
        failures++;
        if (failures < FAILURES) {
            return false;
        }
        boolean first = openNanos == 0;
        if (first || trying) {
            openNanos = first ? FIRST_NANOS : Math.min(LONGEST_NANOS, 2 * openNanos);
            openUntil = clock.getAsLong() + openNanos;
            trying = false;
        }
        return first;
    }
}
