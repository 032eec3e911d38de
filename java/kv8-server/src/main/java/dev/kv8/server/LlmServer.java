package dev.kv8.server;

import dev.kv8.llm.LLM;
import io.netty.handler.codec.http.TooLongHttpHeaderException;
import io.netty.handler.codec.http.TooLongHttpLineException;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.file.FileSystemOptions;
import io.vertx.core.http.HttpServer;
import io.vertx.core.http.HttpServerOptions;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.net.SocketAddress;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.time.Duration;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * Serves one model over HTTP as OpenAI's clients expect it.
 *
 * <pre>{@code
 * try (LLM llm = LLM.builder().model(folder).kvCacheDType("fp8").build();
 *         LlmServer server = LlmServer.start(llm, ServerConfig.builder().modelName("llama").build())) {
 *     System.out.println(server.uri());
 *     Thread.currentThread().join();
 * }
 * }</pre>
 *
 * <p>Paths: {@code POST /v1/completions} and {@code /v1/chat/completions} (streaming by server-sent events), {@code GET /v1/models},
 * {@code /metrics} (Prometheus), {@code /health}, {@code /status} (JSON), and {@code /}, a page that shows the cache live. docs/server.md
 * describes them.
 *
 * <p>One thread serves all connections; a stream that its client reads slowly holds a small buffer and no thread. Any thread may use this
 * class.
 */
public final class LlmServer implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(LlmServer.class.getName());
    private static final int WORKERS = 2;
    /** How long cancelled requests may take to tell their clients. */
    private static final long LAST_WORDS_MILLIS = 5_000;

    private final ServerConfig config;
    private final Vertx vertx;
    private final HttpServer http;
    private final Exchanges exchanges;
    private final ServerMetrics metrics;
    private boolean closed;

    private LlmServer(LLM llm, ServerConfig config, InetAddress address) throws IOException {
        this.config = config;
        ServedModel model = new ServedModel(llm, config);
        metrics = new ServerMetrics(llm, config.modelName());
        exchanges = new Exchanges(config.maxRequests());
        vertx = Vertx.vertx(new VertxOptions()
                .setEventLoopPoolSize(1)
                .setWorkerPoolSize(WORKERS)
                .setUseDaemonThread(true)
                .setFileSystemOptions(new FileSystemOptions()
                        .setClassPathResolvingEnabled(false)
                        .setFileCachingEnabled(false)));
        Routes routes = new Routes(vertx, config, model, exchanges, metrics);
        Connections connections = new Connections(vertx, config);
        long idleSeconds = config.requestTimeout().plus(config.bodyTimeout()).toSeconds() + 1;
        http = vertx.createHttpServer(new HttpServerOptions()
                        .setHttp2ClearTextEnabled(false)
                        .setHandle100ContinueAutomatically(true)
                        .setReuseAddress(true)
                        .setIdleTimeout(Math.toIntExact(idleSeconds))
                        .setIdleTimeoutUnit(TimeUnit.SECONDS))
                .connectionHandler(connections::opened)
                .invalidRequestHandler(this::refuseMalformed)
                .requestHandler(request -> {
                    connections.asks(request);
                    routes.handle(request);
                });
        try {
            await(http.listen(SocketAddress.inetSocketAddress(new InetSocketAddress(address, config.port()))));
        } catch (IOException e) {
            metrics.close();
            await(vertx.close());
            throw new IOException(
                    "The server cannot listen on " + config.host() + ", port " + config.port() + ": " + e.getMessage()
                            + ". Give another port, or 0 for a free one.",
                    e);
        }
    }

    /**
     * Begins to listen. The model stays the caller's, who closes it after the server.
     *
     * @throws IOException when the address cannot be listened on
     */
    public static LlmServer start(LLM llm, ServerConfig config) throws IOException {
        InetAddress address = InetAddress.getByName(config.host());
        if (!address.isLoopbackAddress() && config.apiKey().isEmpty()) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "The server listens on {0}, which other machines can reach, and has no API key: everybody there may use it.",
                    config.host());
        }
        return new LlmServer(llm, config, address);
    }

    /** Where it listens; with the port that was found free if none was given. */
    public URI uri() {
        String host = config.host().indexOf(':') >= 0 ? "[" + config.host() + "]" : config.host();
        return URI.create("http://" + host + ":" + http.actualPort());
    }

    private void refuseMalformed(HttpServerRequest request) {
        Throwable cause = request.decoderResult().cause();
        ApiError error;
        if (cause instanceof TooLongHttpLineException) {
            error = ApiError.malformed(414, "The request's first line is too long.");
        } else if (cause instanceof TooLongHttpHeaderException) {
            error = ApiError.malformed(431, "The request's headers are too long.");
        } else {
            error = ApiError.malformed(400, "The request is not proper HTTP.");
        }
        Replies.error(request, error);
        request.connection().close();
    }

    /** Waits for running requests as long as {@link ServerConfig#drainTimeout} says, then ends. */
    @Override
    public void close() {
        shutdown(config.drainTimeout());
    }

    /**
     * Answers no new request from now on (503, {@code /health} too), lets those that are being answered go on for some time, cancels what
     * is left, and stops listening. Doing it twice does nothing.
     */
    public synchronized void shutdown(Duration grace) {
        if (closed) {
            return;
        }
        closed = true;
        exchanges.close();
        try {
            if (!exchanges.awaitEnd(grace.toMillis())) {
                exchanges.cancelAll();
                exchanges.awaitEnd(LAST_WORDS_MILLIS);
            }
            await(http.close());
            await(vertx.close());
        } catch (InterruptedException e) {
            exchanges.cancelAll();
            Future<Void> ignored = vertx.close();
            LOG.log(System.Logger.Level.DEBUG, "Closing was interrupted; the rest of it goes on: {0}", ignored);
            Thread.currentThread().interrupt();
        } catch (IOException e) {
            LOG.log(System.Logger.Level.WARNING, "The server did not close cleanly.", e);
        } finally {
            metrics.close();
        }
    }

    private static <T> T await(Future<T> future) throws IOException {
        try {
            return future.toCompletionStage().toCompletableFuture().get();
        } catch (ExecutionException e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            throw new IOException(String.valueOf(cause.getMessage()), cause);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("The server was interrupted.", e);
        }
    }
}
