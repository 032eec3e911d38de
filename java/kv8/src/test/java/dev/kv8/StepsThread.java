package dev.kv8;

import org.jspecify.annotations.Nullable;

/** The thread that drives a cache, on which none of a store's transfers may run: the one that makes the store of a test. */
final class StepsThread {
    private final Thread thread = Thread.currentThread();
    private volatile @Nullable AssertionError seen;

    /** Fails when it is called on that thread; and so does {@link #rethrow} from then on, if nobody else told of it. */
    void mustNotRun() {
        if (Thread.currentThread() == thread) {
            AssertionError error = new AssertionError("A tier works on the thread that drives the cache.");
            seen = error;
            throw error;
        }
    }

    void rethrow() {
        AssertionError error = seen;
        if (error != null) {
            throw error;
        }
    }
}
