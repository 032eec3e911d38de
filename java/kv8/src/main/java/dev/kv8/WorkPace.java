package dev.kv8;

import java.util.function.LongSupplier;

/**
 * Keeps work that is done in portions, whoever asks for them, from adding up: after a portion that took most of {@code budgetNanos}
 * it is time to rest for as long as the work took. So many askers in a row cost little more than one, and one that asks again and
 * again half of its time; who has nothing better to do need not rest. For one thread.
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

    boolean isRestTime() {
        return clock.getAsLong() - rested < 0;
    }

    /** A portion begins. */
    void begin() {
        began = clock.getAsLong();
    }

    /** It ends. */
    void end() {
        long now = clock.getAsLong();
        long worked = now - began;
        if (2 * worked >= budgetNanos) {
            rested = now + worked;
        }
    }
}
