package dev.kv8.server;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpConnection;
import java.util.HashSet;
import java.util.Set;

/** Open connections: no more than a limit, and none that never asks. For use on the event loop. */
final class Connections {
    private final Vertx vertx;
    private final ServerConfig config;
    private int open;
    /** Those that have not sent a request yet. */
    private final Set<HttpConnection> silent = new HashSet<>();

    Connections(Vertx vertx, ServerConfig config) {
        this.vertx = vertx;
        this.config = config;
    }

    void opened(HttpConnection connection) {
        open++;
        connection.closeHandler(closed -> {
            open--;
            silent.remove(connection);
        });
        if (open > config.maxConnections()) {
            connection.close();
            return;
        }
        silent.add(connection);
        vertx.setTimer(config.bodyTimeout().toMillis(), id -> {
            if (silent.contains(connection)) {
                connection.close();
            }
        });
    }

    void asks(HttpConnection connection) {
        silent.remove(connection);
    }
}
