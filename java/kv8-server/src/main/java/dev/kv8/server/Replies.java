package dev.kv8.server;

import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;

/** Answers that are sent at once. */
final class Replies {
    private static final int RETRY_SECONDS = 1;

    private Replies() {}

    static void json(HttpServerResponse response, String body) {
        text(response, "application/json", body);
    }

    static void text(HttpServerResponse response, String type, String body) {
        if (!response.ended() && !response.closed()) {
            response.putHeader(HttpHeaders.CONTENT_TYPE, type)
                    .putHeader("X-Content-Type-Options", "nosniff")
                    .putHeader(HttpHeaders.CACHE_CONTROL, "no-store")
                    .end(body);
        }
    }

    static void error(HttpServerRequest request, ApiError error) {
        HttpServerResponse response = request.response();
        if (response.ended() || response.closed() || response.headWritten()) {
            return;
        }
        response.setStatusCode(error.status());
        if (error.isTemporary()) {
            response.putHeader(HttpHeaders.RETRY_AFTER, String.valueOf(RETRY_SECONDS));
        }
        if (error.status() == 401) {
            response.putHeader("WWW-Authenticate", "Bearer");
        }
        json(response, error.json());
    }
}
