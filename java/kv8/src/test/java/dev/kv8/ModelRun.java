package dev.kv8;

import java.io.IOException;
import java.io.UncheckedIOException;

/** Random operations, one after the other, with a look at everything after each. */
final class ModelRun {
    private ModelRun() {}

    /** What is operated on, and what it is compared with. */
    interface Driver {
        /** Does something, on both sides. */
        void operate() throws IOException;

        /** What {@link #operate} did last, for the message of a failure. */
        String last();

        /** Compares both sides; {@code operation} counts from 0. */
        void check(int operation);
    }

    /** A failure names {@code run}, the operation's number and what it was. */
    static void of(String run, int operations, Driver driver) {
        for (int i = 0; i < operations; i++) {
            try {
                driver.operate();
                driver.check(i);
            } catch (AssertionError | RuntimeException e) {
                throw new AssertionError(run + ", operation " + i + ": " + driver.last() + ": " + e.getMessage(), e);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }
}
