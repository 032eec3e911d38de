package dev.kv8.cli;

import java.util.concurrent.CountDownLatch;

/** While it is open, Ctrl-C asks the work to end and lets the process live until this is closed. */
final class Interruption {
    private final CountDownLatch closed = new CountDownLatch(1);
    private final Thread hook;

    /** {@code cancel} runs on another thread than the work. */
    Interruption(Runnable cancel) {
        hook = new Thread(
                () -> {
                    cancel.run();
                    awaitClose();
                },
                "kv8-interruption");
        Runtime.getRuntime().addShutdownHook(hook);
    }

    private void awaitClose() {
        try {
            closed.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    void close() {
        closed.countDown();
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException e) {
            // The process is ending; the hook is what it waits for.
        }
    }
}
