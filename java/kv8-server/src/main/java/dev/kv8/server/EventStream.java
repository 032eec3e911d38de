package dev.kv8.server;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerResponse;
import java.util.ArrayDeque;
import java.util.Deque;

/**
 * Server-sent events of one answer. A client that reads slowly fills a small buffer; who writes then waits for {@link #whenWritable}. While
 * there is nothing to say, comments tell whether the client is still there. For use on the event loop.
 */
final class EventStream {
    private static final int BUFFER_BYTES = 16 << 10;
    private static final long COMMENT_MILLIS = 10_000;

    private final Vertx vertx;
    private final HttpServerResponse response;
    private final Deque<Runnable> waiting = new ArrayDeque<>();
    private long timer;
    private boolean spoke;

    EventStream(Vertx vertx, HttpServerResponse response) {
        this.vertx = vertx;
        this.response = response;
    }

    void begin() {
        response.putHeader(HttpHeaders.CONTENT_TYPE, "text/event-stream; charset=utf-8")
                .putHeader(HttpHeaders.CACHE_CONTROL, "no-store")
                .putHeader("X-Accel-Buffering", "no") // proxies are to pass events on at once
                .setChunked(true)
                .setWriteQueueMaxSize(BUFFER_BYTES)
                .drainHandler(drained -> resume());
        response.writeHead();
        timer = vertx.setPeriodic(COMMENT_MILLIS, id -> {
            if (!spoke && isOpen() && !response.writeQueueFull()) {
                response.write(": waiting\n\n");
            }
            spoke = false;
        });
    }

    void event(String data) {
        if (isOpen()) {
            spoke = true;
            response.write("data: " + data + "\n\n");
        }
    }

    /** Runs it now or when the client has read some of what waits for it; never when the client is gone. */
    void whenWritable(Runnable next) {
        if (response.writeQueueFull()) {
            waiting.add(next);
        } else {
            next.run();
        }
    }

    private void resume() {
        while (!waiting.isEmpty() && !response.writeQueueFull()) {
            waiting.remove().run();
        }
    }

    void end() {
        stop();
        if (isOpen()) {
            response.end();
        }
    }

    /** Nothing is written any more. */
    void stop() {
        vertx.cancelTimer(timer);
        waiting.clear();
    }

    private boolean isOpen() {
        return !response.ended() && !response.closed();
    }
}
