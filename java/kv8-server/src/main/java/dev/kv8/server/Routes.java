package dev.kv8.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.kv8.llm.internal.JsonWriting;
import io.vertx.core.Vertx;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URLDecoder;
import java.time.Instant;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;

/** Which path and method does what, and who may. */
final class Routes {
    private static final System.Logger LOG = System.getLogger(LlmServer.class.getName());

    private static final String MODELS = "/v1/models";
    private static final String MODEL = MODELS + "/";
    private static final String COMPLETIONS = "/v1/completions";
    private static final String CHAT = "/v1/chat/completions";
    /** No status was sent; nginx logs this number for it. */
    private static final int CLIENT_LEFT = 499;

    /** Scripts and styles are in the page itself; it reaches nothing but this server, and nobody can frame it. */
    private static final String PAGE_POLICY =
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
                    + " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private final Vertx vertx;
    private final ServerConfig config;
    private final ServedModel model;
    private final Access access;
    private final Exchanges exchanges;
    private final ServerMetrics metrics;
    private final Status status;
    private final String page;
    private final long created = Instant.now().getEpochSecond();
    private final Map<String, Route> routes;

    /** What is done with one method of a path. */
    private record Route(HttpMethod method, boolean needsKey, Answer answer) {}

    @FunctionalInterface
    private interface Answer {
        void to(HttpServerRequest request);
    }

    Routes(Vertx vertx, ServerConfig config, ServedModel model, Exchanges exchanges, ServerMetrics metrics) {
        this.vertx = vertx;
        this.config = config;
        this.model = model;
        this.exchanges = exchanges;
        this.metrics = metrics;
        access = new Access(config);
        status = new Status(model);
        page = readPage();
        Endpoint completions = new CompletionEndpoint(model);
        Endpoint chat = new ChatEndpoint(model);
        routes = Map.of(
                "/",
                new Route(HttpMethod.GET, false, this::page),
                "/health",
                new Route(HttpMethod.GET, false, this::health),
                "/status",
                new Route(HttpMethod.GET, true, r -> Replies.json(r.response(), status.json())),
                "/metrics",
                new Route(HttpMethod.GET, true, this::metrics),
                MODELS,
                new Route(HttpMethod.GET, true, this::models),
                MODEL,
                new Route(HttpMethod.GET, true, this::oneModel),
                COMPLETIONS,
                new Route(HttpMethod.POST, true, request -> write(request, COMPLETIONS, completions)),
                CHAT,
                new Route(HttpMethod.POST, true, request -> write(request, CHAT, chat)));
    }

    private static String readPage() {
        try (InputStream in = Routes.class.getResourceAsStream("page.html")) {
            if (in == null) {
                throw new IllegalStateException("The page is missing from kv8-server's jar; build it anew.");
            }
            return new String(in.readAllBytes(), UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException("The page in kv8-server's jar cannot be read.", e);
        }
    }

    void handle(HttpServerRequest request) {
        String path = request.path() == null ? "" : request.path();
        String known = path.startsWith(MODEL) ? MODEL : path;
        Route route = routes.get(known);
        String measured = route == null ? "other" : known;
        HttpServerResponse response = request.response();
        Runnable ended = measurement(measured, response);
        response.endHandler(end -> ended.run());
        response.closeHandler(closed -> ended.run());
        try {
            access.checkHost(request);
            if (access.allowOrigin(request)) {
                return;
            }
            if (route == null) {
                throw ApiError.noSuchPath(request.method().name(), path);
            }
            if (route.needsKey()) {
                access.checkKey(request);
            }
            HttpMethod asked = request.method().equals(HttpMethod.HEAD) ? HttpMethod.GET : request.method();
            if (!asked.equals(route.method())) {
                response.putHeader("Allow", route.method().name());
                throw ApiError.wrongMethod(
                        request.method().name(), path, route.method().name());
            }
            route.answer().to(request);
        } catch (ApiError e) {
            Replies.error(request, e);
        } catch (RuntimeException e) {
            LOG.log(System.Logger.Level.ERROR, "A request for " + path + " failed.", e);
            Replies.error(request, ApiError.failed());
        }
    }

    /** To be run when the answer has ended, or the client has left before; runs once. */
    private Runnable measurement(String path, HttpServerResponse response) {
        long begin = System.nanoTime();
        AtomicBoolean done = new AtomicBoolean();
        return () -> {
            if (done.compareAndSet(false, true)) {
                int status = response.ended() ? response.getStatusCode() : CLIENT_LEFT;
                metrics.ended(path, status, System.nanoTime() - begin);
            }
        };
    }

    private void write(HttpServerRequest request, String path, Endpoint endpoint) {
        Exchange exchange = new Exchange(vertx, request, config, model, metrics);
        exchanges.add(exchange);
        Runnable measurement = measurement(path, request.response());
        exchange.run(endpoint, () -> {
            exchanges.remove(exchange);
            measurement.run();
        });
    }

    private void page(HttpServerRequest request) {
        request.response()
                .putHeader("Content-Security-Policy", PAGE_POLICY)
                .putHeader("Referrer-Policy", "no-referrer");
        Replies.text(request.response(), "text/html; charset=utf-8", page);
    }

    /** 503 once the server is shutting down or its model has failed, so that a load balancer sends nothing more. */
    private void health(HttpServerRequest request) {
        if (exchanges.isClosing()) {
            throw ApiError.shuttingDown();
        }
        if (!model.llm().isAccepting()) {
            throw ApiError.engineFailed();
        }
        Replies.json(request.response(), "{\"status\":\"ok\"}");
    }

    private void metrics(HttpServerRequest request) {
        Replies.text(request.response(), "text/plain; version=0.0.4; charset=utf-8", metrics.scrape());
    }

    private void models(HttpServerRequest request) {
        Replies.json(request.response(), JsonWriting.object(out -> {
            out.writeStringField("object", "list");
            out.writeArrayFieldStart("data");
            out.writeRawValue(modelJson());
            out.writeEndArray();
        }));
    }

    private void oneModel(HttpServerRequest request) {
        String name = decoded(request.path().substring(MODEL.length()));
        if (!name.equals(model.name())) {
            throw ApiError.noSuchModel(name, model.name());
        }
        Replies.json(request.response(), modelJson());
    }

    private String modelJson() {
        return JsonWriting.object(out -> {
            out.writeStringField("id", model.name());
            out.writeStringField("object", "model");
            out.writeNumberField("created", created);
            out.writeStringField("owned_by", "kv8");
            out.writeNumberField("max_model_len", model.longestSequence());
        });
    }

    /** A part of a path; what is no proper escape stays as it is, and is nobody's name. */
    private static String decoded(String part) {
        try {
            return URLDecoder.decode(part.replace("+", "%2B"), UTF_8);
        } catch (IllegalArgumentException e) {
            return part;
        }
    }
}
