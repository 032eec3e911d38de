package dev.kv8.server;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpConnection;
import io.vertx.core.http.HttpServerRequest;
import java.util.HashMap;
import java.util.Map;

/** Open connections: no more than a limit, and none that neither asks nor is being answered for long. For use on the event loop. */
final class Connections {
    /** How long a body may go on arriving when its request has been answered. */
    private static final long LEFTOVER_MILLIS = 2_000;

    private final Vertx vertx;
    private final long silenceMillis;
    private final int limit;
    private final Map<HttpConnection, Activity> open = new HashMap<>();

    private static final class Activity {
        /** Requests that have come and whose answers have not ended. */
        private int unanswered;
        /** Closes the connection while there are none. */
        private long timer;
    }

    Connections(Vertx vertx, ServerConfig config) {
        this.vertx = vertx;
        silenceMillis = config.bodyTimeout().toMillis();
        limit = config.maxConnections();
    }

    void opened(HttpConnection connection) {
        if (open.size() >= limit) {
            connection.close();
            return;
        }
        Activity activity = new Activity();
        open.put(connection, activity);
        connection.closeHandler(closed -> {
            open.remove(connection);
            vertx.cancelTimer(activity.timer);
        });
        awaitRequest(connection, activity);
    }

    /** A part of a request is none, however long its bytes go on arriving. */
    private void awaitRequest(HttpConnection connection, Activity activity) {
        activity.timer = vertx.setTimer(silenceMillis, id -> connection.close());
    }

    /** A request has come, with all its headers. */
    void asks(HttpServerRequest request) {
        Activity activity = open.get(request.connection());
        if (activity != null) {
            vertx.cancelTimer(activity.timer);
            activity.unanswered++;
            request.response().bodyEndHandler(end -> answered(request, activity));
        }
    }

    private void answered(HttpServerRequest request, Activity activity) {
        HttpConnection connection = request.connection();
        if (!open.containsKey(connection)) {
            return;
        }
        if (--activity.unanswered == 0) {
            awaitRequest(connection, activity);
        }
        if (!request.isEnded()) {
            vertx.setTimer(LEFTOVER_MILLIS, id -> {
                if (!request.isEnded()) {
                    connection.close();
                }
            });
        }
    }
}
