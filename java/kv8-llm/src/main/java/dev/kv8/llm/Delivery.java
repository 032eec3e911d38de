package dev.kv8.llm;

import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Where callers' own code runs, so that the engine's thread never does: as many daemon threads as there are callers that block, none
 * while there is nothing to tell. After close whoever has something to tell does it himself.
 */
final class Delivery implements Executor, AutoCloseable {
    private final AtomicInteger threads = new AtomicInteger();
    private final ExecutorService executor = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task, "kv8-delivery-" + threads.incrementAndGet());
        thread.setDaemon(true);
        return thread;
    });

    @Override
    public void execute(Runnable task) {
        try {
            executor.execute(task);
        } catch (RejectedExecutionException e) {
            task.run();
        }
    }

    /** What was handed over before is still told. */
    @Override
    public void close() {
        executor.shutdown();
    }
}
