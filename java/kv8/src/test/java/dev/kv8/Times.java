package dev.kv8;

import java.util.Arrays;
import java.util.Locale;

/** Nanoseconds, one for each step, wait or the like; for one thread. */
final class Times {
    private final long[] nanos;
    private int count;

    Times(int most) {
        nanos = new long[most];
    }

    boolean isFull() {
        return count == nanos.length;
    }

    void add(long time) {
        nanos[count++] = time;
    }

    /** Microseconds. */
    @Override
    public String toString() {
        long[] sorted = Arrays.copyOf(nanos, count);
        Arrays.sort(sorted);
        return String.format(
                Locale.ROOT,
                "median %.0f, 99.9 %% %.0f, most %.0f us",
                sorted[count / 2] / 1e3,
                sorted[(int) (count * 0.999)] / 1e3,
                sorted[count - 1] / 1e3);
    }
}
