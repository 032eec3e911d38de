package dev.kv8.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.net.HostAndPort;
import java.security.MessageDigest;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Who may ask. A key, where one is set, protects all but the health check and the page's empty frame. Without a key, a server on
 * loopback answers only to names of the own machine, since a page from anywhere can point a name of its own at 127.0.0.1.
 */
final class Access {
    private static final String BEARER = "Bearer ";
    private static final Pattern LOOPBACK = Pattern.compile("localhost|127\\.\\d+\\.\\d+\\.\\d+|\\[?::1]?");

    private final ServerConfig config;
    private final boolean namesOfThisMachineOnly;

    Access(ServerConfig config) {
        this.config = config;
        namesOfThisMachineOnly = config.apiKey().isEmpty() && isLoopback(config.host());
    }

    static boolean isLoopback(String host) {
        return LOOPBACK.matcher(host.toLowerCase(Locale.ROOT)).matches();
    }

    /** @throws ApiError for a request that came under a stranger's name */
    void checkHost(HttpServerRequest request) {
        HostAndPort authority = request.authority();
        if (namesOfThisMachineOnly && authority != null && !isLoopback(authority.host())) {
            throw ApiError.forbiddenHost(authority.host());
        }
    }

    /** @throws ApiError without the key */
    void checkKey(HttpServerRequest request) {
        Optional<String> key = config.apiKey();
        if (key.isEmpty()) {
            return;
        }
        String given = request.getHeader(HttpHeaders.AUTHORIZATION);
        boolean matches = given != null
                && given.regionMatches(true, 0, BEARER, 0, BEARER.length())
                && MessageDigest.isEqual(
                        given.substring(BEARER.length()).strip().getBytes(UTF_8),
                        key.get().getBytes(UTF_8)); // takes as long for any wrong key
        if (!matches) {
            throw ApiError.unauthorized();
        }
    }

    /** Lets pages of the configured origins read the answer; true when that was all that the request asked. */
    boolean allowOrigin(HttpServerRequest request) {
        String origin = request.getHeader(HttpHeaders.ORIGIN);
        List<String> allowed = config.corsOrigins();
        if (origin == null || allowed.isEmpty()) {
            return false;
        }
        HttpServerResponse response = request.response();
        response.putHeader(HttpHeaders.VARY, "Origin");
        if (!allowed.contains("*") && !allowed.contains(origin)) {
            return false;
        }
        response.putHeader(HttpHeaders.ACCESS_CONTROL_ALLOW_ORIGIN, allowed.contains("*") ? "*" : origin);
        boolean asksOnly = request.method().equals(HttpMethod.OPTIONS)
                && request.getHeader(HttpHeaders.ACCESS_CONTROL_REQUEST_METHOD) != null;
        if (asksOnly) {
            response.putHeader(HttpHeaders.ACCESS_CONTROL_ALLOW_METHODS, "GET, POST")
                    .putHeader(HttpHeaders.ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type")
                    .putHeader(HttpHeaders.ACCESS_CONTROL_MAX_AGE, "600")
                    .setStatusCode(204)
                    .end();
        }
        return asksOnly;
    }
}
