package dev.kv8.server;

import io.vertx.core.Future;
import io.vertx.core.Promise;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerRequest;
import java.util.Locale;

/** The JSON body of a request, as it arrives: neither too large nor too slow. */
final class Body {
    private static final String JSON = "application/json";
    /** A length with more of them is no long, and larger than any limit. That these are digits, the HTTP decoder has seen to. */
    private static final int LENGTH_DIGITS = 18;

    private final Promise<byte[]> whole = Promise.promise();
    private final HttpServerRequest request;
    private final int limit;
    private Buffer received = Buffer.buffer();

    private Body(HttpServerRequest request, int limit) {
        this.request = request;
        this.limit = limit;
    }

    /** Must be called when the request has just come. Fails with an {@link ApiError}, or otherwise when the client is gone. */
    static Future<byte[]> read(Vertx vertx, HttpServerRequest request, ServerConfig config) {
        Body body = new Body(request, config.maxBodyBytes());
        body.receive();
        long timer = vertx.setTimer(
                config.bodyTimeout().toMillis(),
                id -> body.refuse(ApiError.slowBody(config.bodyTimeout().toSeconds())));
        return body.whole.future().onComplete(done -> vertx.cancelTimer(timer));
    }

    private void receive() {
        String type = request.getHeader(HttpHeaders.CONTENT_TYPE);
        // A page from elsewhere cannot send this type without asking first, so it cannot make this server work behind
        // its user's back.
        if (type == null
                || !type.split(";", 2)[0].strip().toLowerCase(Locale.ROOT).equals(JSON)) {
            refuse(ApiError.wrongContentType(type));
            return;
        }
        String length = request.getHeader(HttpHeaders.CONTENT_LENGTH);
        if (length != null && (length.length() > LENGTH_DIGITS || Long.parseLong(length) > limit)) {
            refuse(ApiError.tooLarge(limit));
            return;
        }
        request.handler(this::add);
        request.endHandler(end -> whole.tryComplete(received.getBytes()));
        request.exceptionHandler(whole::tryFail);
    }

    private void add(Buffer part) {
        if (received.length() + (long) part.length() > limit) {
            refuse(ApiError.tooLarge(limit));
        } else {
            received.appendBuffer(part);
        }
    }

    /** What still comes is dropped, so that the client reads the answer before the connection ends. */
    private void refuse(ApiError error) {
        received = Buffer.buffer();
        request.handler(dropped -> {});
        whole.tryFail(error);
    }
}
