package dev.kv8.server;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.internal.JsonWriting;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/** Why a request was refused or failed, as OpenAI's clients read it: a status and {@code {"error": {…}}}. */
final class ApiError extends RuntimeException {
    private static final long serialVersionUID = 1;

    private static final String INVALID = "invalid_request_error";
    private static final String SERVER = "server_error";
    private static final String BUSY = "rate_limit_error";

    private final int status;
    private final String type;
    private final @Nullable String param;
    private final @Nullable String code;

    private ApiError(int status, String type, @Nullable String param, @Nullable String code, String message) {
        super(message, null, false, false);
        this.status = status;
        this.type = type;
        this.param = param;
        this.code = code;
    }

    /** 400: a field of the body, or the body itself where {@code param} is null. */
    static ApiError invalid(@Nullable String param, String message) {
        return new ApiError(400, INVALID, param, null, message);
    }

    /** 400 with a code that programs tell it by. */
    static ApiError invalid(@Nullable String param, String code, String message) {
        return new ApiError(400, INVALID, param, code, message);
    }

    static ApiError unauthorized() {
        return new ApiError(
                401,
                INVALID,
                null,
                "invalid_api_key",
                "No or a wrong API key was given; send the header \"Authorization: Bearer KEY\" with the server's key.");
    }

    static ApiError forbiddenHost(String host) {
        return new ApiError(
                403,
                INVALID,
                null,
                "host_not_allowed",
                "The request is for the host \"" + host + "\", but this server is for its own machine: use localhost or"
                        + " 127.0.0.1, or start it with an API key.");
    }

    static ApiError noSuchPath(String method, String path) {
        return new ApiError(404, INVALID, null, "not_found", "There is nothing at " + method + " " + path + ".");
    }

    static ApiError noSuchModel(String asked, String served) {
        return new ApiError(
                404,
                INVALID,
                "model",
                "model_not_found",
                "The model \"" + asked + "\" is not served here; ask for \"" + served + "\".");
    }

    static ApiError wrongMethod(String method, String path, String allowed) {
        return new ApiError(
                405, INVALID, null, "method_not_allowed", path + " takes " + allowed + ", not " + method + ".");
    }

    static ApiError slowBody(long seconds) {
        return new ApiError(
                408, INVALID, null, "body_timeout", "The body did not arrive within " + seconds + " seconds.");
    }

    static ApiError tooLarge(long limit) {
        return new ApiError(
                413,
                INVALID,
                null,
                "request_too_large",
                "The body is larger than this server's limit of " + limit + " bytes.");
    }

    static ApiError wrongContentType(@Nullable String given) {
        return new ApiError(
                415,
                INVALID,
                null,
                "unsupported_media_type",
                "The body is " + (given == null ? "of no stated type" : given)
                        + "; send Content-Type: application/json.");
    }

    static ApiError tooMany(String message) {
        return new ApiError(429, BUSY, null, "rate_limit_exceeded", message);
    }

    static ApiError malformed(int status, String message) {
        return new ApiError(status, INVALID, null, null, message);
    }

    static ApiError failed() {
        return new ApiError(500, SERVER, null, null, "The server failed to answer; its log says why.");
    }

    static ApiError shuttingDown() {
        return new ApiError(503, SERVER, null, "shutting_down", "The server is shutting down; try another or later.");
    }

    static ApiError engineFailed() {
        return new ApiError(
                503,
                SERVER,
                null,
                "engine_failed",
                "The model takes no more requests; the server's log says why, and it must be started anew.");
    }

    static ApiError timedOut(long seconds) {
        return new ApiError(
                504,
                SERVER,
                null,
                "timeout",
                "The text was not finished within this server's limit of " + seconds
                        + " seconds; ask for fewer tokens, or later when it is less busy.");
    }

    int status() {
        return status;
    }

    /** Whether the same request may work later: the answer then says after how many seconds to try. */
    boolean isTemporary() {
        return status == 429 || status == 503;
    }

    String message() {
        return String.valueOf(getMessage());
    }

    /** The whole body. */
    String json() {
        return JsonWriting.object(this::write);
    }

    private void write(JsonGenerator out) throws IOException {
        out.writeObjectFieldStart("error");
        out.writeStringField("message", message());
        out.writeStringField("type", type);
        out.writeStringField("param", param);
        out.writeStringField("code", code);
        out.writeEndObject();
    }
}
