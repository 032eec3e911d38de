package dev.kv8;

import java.util.function.LongSupplier;

/**
 * Keeps work that is done in portions, whoever asks for them, from adding up: after portions that took most of {@code budgetNanos}
 * there is a rest as long as the work was. So many callers in a row cost little more than one, and one that asks again and
 * again half of its time. For one thread.
 */
final class WorkPace {
    private final long budgetNanos;
    private final LongSupplier clock;
    private long rested;
    private long began;

    /** @param clock as {@link System#nanoTime} */
    WorkPace(long budgetNanos, LongSupplier clock) {
        this.budgetNanos = budgetNanos;
        this.clock = clock;
        rested = clock.getAsLong();
    }

    /** Begins a portion, unless it is time to rest. */
    boolean begin() {
        began = clock.getAsLong();
        return began - rested >= 0;
    }

    /** Ends a portion that {@link #begin} has allowed. */
    void end() {
        long now = clock.getAsLong();
        long worked = now - began;
        if (2 * worked >= budgetNanos) {
            rested = now + worked;
        }
    }
}
