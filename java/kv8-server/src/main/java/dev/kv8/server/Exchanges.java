package dev.kv8.server;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** The requests that are being answered: no more than a limit, and none that begin once the server is to end. */
final class Exchanges {
    private final int limit;
    private final Set<Exchange> open = ConcurrentHashMap.newKeySet();
    private final CountDownLatch drained = new CountDownLatch(1);
    private boolean closing;

    Exchanges(int limit) {
        this.limit = limit;
    }

    /** @throws ApiError when there are too many, or the server is shutting down */
    synchronized void add(Exchange exchange) {
        if (closing) {
            throw ApiError.shuttingDown();
        }
        if (open.size() >= limit) {
            throw ApiError.tooMany("This server answers " + limit + " requests at a time; try again a little later.");
        }
        open.add(exchange);
    }

    synchronized void remove(Exchange exchange) {
        open.remove(exchange);
        if (closing && open.isEmpty()) {
            drained.countDown();
        }
    }

    synchronized boolean isClosing() {
        return closing;
    }

    /** From now on no request begins. */
    synchronized void close() {
        closing = true;
        if (open.isEmpty()) {
            drained.countDown();
        }
    }

    /** After {@link #close}: whether all requests have ended within the time. */
    boolean awaitEnd(long millis) throws InterruptedException {
        return drained.await(millis, TimeUnit.MILLISECONDS);
    }

    void cancelAll() {
        open.forEach(Exchange::cancelForShutdown);
    }
}
