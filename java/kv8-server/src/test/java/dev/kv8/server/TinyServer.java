package dev.kv8.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.kv8.ByteSize;
import dev.kv8.CacheStats;
import dev.kv8.llm.LLM;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/** The trained tiny model behind a server on a free port of loopback, and a plain client for it. */
final class TinyServer implements AutoCloseable {
    static final String MODEL = "tiny";
    static final Path FOLDER = Path.of(System.getProperty("kv8.models")).resolve("tiny-llama");
    /** Each turn on a line of its own, as a play is printed: what the model, which has no template, has read of conversations. */
    private static final String TEMPLATE =
            "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
                    + "{% if add_generation_prompt %}assistant:{% endif %}";

    private static final long FREE_SECONDS = 30;

    final LLM llm;
    final LlmServer server;
    private final Path folder;
    private final HttpClient client =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    private TinyServer(Path folder, LLM llm, LlmServer server) {
        this.folder = folder;
        this.llm = llm;
        this.server = server;
    }

    static TinyServer start() {
        return start(config -> config);
    }

    static TinyServer start(UnaryOperator<ServerConfig.Builder> config) {
        return start(config, llm -> llm);
    }

    static TinyServer start(UnaryOperator<ServerConfig.Builder> config, UnaryOperator<LLM.Builder> engine) {
        try {
            Path folder = withTemplate();
            LLM llm = engine.apply(LLM.builder()
                            .model(folder)
                            .kvCacheDType("fp8")
                            .dynamicKvScales(true)
                            .kvCacheMemory(ByteSize.mib(64)))
                    .build();
            LlmServer server = LlmServer.start(
                    llm,
                    config.apply(ServerConfig.builder().port(0).modelName(MODEL))
                            .build());
            return new TinyServer(folder, llm, server);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A folder of links to the model's files, with a chat template beside them. */
    private static Path withTemplate() throws IOException {
        Path folder = Files.createTempDirectory("kv8-server");
        try (Stream<Path> files = Files.list(FOLDER)) {
            for (Path file : files.toList()) {
                Files.createSymbolicLink(folder.resolve(file.getFileName()), file.toAbsolutePath());
            }
        }
        Files.writeString(folder.resolve("chat_template.jinja"), TEMPLATE);
        return folder;
    }

    URI uri(String path) {
        return server.uri().resolve(path);
    }

    HttpResponse<String> get(String path, String... headers) {
        return send(request(path, headers).GET().build());
    }

    HttpResponse<String> post(String path, String json, String... headers) {
        return send(request(path, headers)
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString(json))
                .build());
    }

    HttpRequest.Builder request(String path, String... headers) {
        HttpRequest.Builder builder = HttpRequest.newBuilder(uri(path)).timeout(Duration.ofSeconds(60));
        for (int i = 0; i < headers.length; i += 2) {
            builder.header(headers[i], headers[i + 1]);
        }
        return builder;
    }

    HttpResponse<String> send(HttpRequest request) {
        try {
            return client.send(request, BodyHandlers.ofString(UTF_8));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** The data of a stream's events, without the last one, {@code [DONE]}. */
    List<String> stream(String path, String json) {
        HttpResponse<String> response = post(path, json);
        List<String> events = response.body()
                .lines()
                .filter(line -> line.startsWith("data: "))
                .map(line -> line.substring("data: ".length()))
                .toList();
        if (events.isEmpty() || !events.get(events.size() - 1).equals("[DONE]")) {
            throw new AssertionError("The stream does not end with [DONE]: " + response.body());
        }
        return events.subList(0, events.size() - 1);
    }

    /** Waits until nothing runs or waits and no sequence or block is held, which cancelled requests take a step for. */
    CacheStats awaitIdle() {
        long deadline = System.nanoTime() + Duration.ofSeconds(FREE_SECONDS).toNanos();
        while (System.nanoTime() < deadline && !isIdle()) {
            pause();
        }
        return llm.cache().stats();
    }

    private boolean isIdle() {
        CacheStats cache = llm.cache().stats();
        return llm.stats().running() == 0
                && llm.stats().waiting() == 0
                && cache.openSequences() == 0
                && cache.usedBlocks() == 0;
    }

    /** Waits until so many texts are being written. */
    void awaitRunning(int texts) {
        long deadline = System.nanoTime() + Duration.ofSeconds(FREE_SECONDS).toNanos();
        while (llm.stats().running() < texts) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("Only " + llm.stats().running() + " of " + texts + " texts run.");
            }
            pause();
        }
    }

    static void pause() {
        try {
            Thread.sleep(5);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Override
    public void close() {
        server.shutdown(Duration.ofMillis(1));
        llm.close();
        try (Stream<Path> files = Files.walk(folder)) {
            files.sorted(Comparator.reverseOrder())
                    .forEach(file -> file.toFile().delete());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
