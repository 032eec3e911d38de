package dev.kv8.cli;

import dev.kv8.llm.LLM;
import dev.kv8.server.LlmServer;
import dev.kv8.server.ServerConfig;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 serve}: the model over HTTP until Ctrl-C. */
@Command(
        name = "serve",
        description = {
            "Serve a model over HTTP as OpenAI's clients expect it, on this machine only unless told otherwise.",
            "GET / is a page that shows the cache live. Ctrl-C lets running texts end, then stops."
        },
        footer = {
            "",
            "Example:",
            "  kv8 serve --model tiny-llama --kv-cache-dtype fp8 --dynamic-scales --port 8000",
            "  curl localhost:8000/v1/completions -H 'Content-Type: application/json' \\",
            "      -d '{\"prompt\": \"In the beginning\", \"max_tokens\": 32}'"
        })
final class ServeCommand extends Kv8Command {
    @Mixin
    EngineOptions engine = new EngineOptions();

    @Option(
            names = "--host",
            paramLabel = "ADDRESS",
            defaultValue = "127.0.0.1",
            description = "Address to listen on; 0.0.0.0 is reached from other machines (default: ${DEFAULT-VALUE}).")
    String host;

    @Option(
            names = "--port",
            paramLabel = "N",
            defaultValue = "8000",
            description = "Port to listen on; 0 takes a free one (default: ${DEFAULT-VALUE}).")
    int port;

    @Option(
            names = "--served-model-name",
            paramLabel = "NAME",
            description = "What clients call the model (default: its folder's name).")
    @Nullable
    String modelName;

    @Option(
            names = "--api-key",
            paramLabel = "KEY",
            defaultValue = "${env:KV8_API_KEY}",
            description = "What clients must send as a bearer token; KV8_API_KEY keeps it out of the process list"
                    + " (default: none, everybody is answered).")
    @Nullable
    String apiKey;

    @Option(
            names = "--cors-origin",
            paramLabel = "ORIGIN",
            description = "Pages from here may read answers; repeatable (default: none).")
    List<String> corsOrigins = List.of();

    @Option(
            names = "--max-batch-tokens",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens that one forward pass computes at most (default: ${DEFAULT-VALUE}).")
    int maxBatchTokens;

    @Option(
            names = "--max-sequences",
            paramLabel = "N",
            description = "Texts that are written at the same time at most (default: as many as the engine takes).")
    @Nullable
    Integer maxSequences;

    @Option(
            names = "--max-waiting",
            paramLabel = "N",
            defaultValue = "1024",
            description = "Texts that may wait before clients get status 429 (default: ${DEFAULT-VALUE}).")
    int maxWaiting;

    @Option(
            names = "--max-requests",
            paramLabel = "N",
            defaultValue = "512",
            description = "HTTP requests for text at the same time before 429 (default: ${DEFAULT-VALUE}).")
    int maxRequests;

    @Option(
            names = "--max-connections",
            paramLabel = "N",
            defaultValue = "1024",
            description = "Connections; more are closed at once (default: ${DEFAULT-VALUE}).")
    int maxConnections;

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            description = "Tokens that a request may ask for (default: as many as the model can).")
    @Nullable
    Integer maxTokens;

    @Option(
            names = "--max-body-bytes",
            paramLabel = "N",
            defaultValue = "4194304",
            description = "Bytes of a request (default: ${DEFAULT-VALUE}).")
    int maxBodyBytes;

    @Option(
            names = "--request-timeout",
            paramLabel = "SECONDS",
            defaultValue = "600",
            description = "How long a request may take, waiting included (default: ${DEFAULT-VALUE}).")
    long requestTimeout;

    @Option(
            names = "--drain-timeout",
            paramLabel = "SECONDS",
            defaultValue = "30",
            description = "How long running texts may go on after Ctrl-C (default: ${DEFAULT-VALUE}).")
    long drainTimeout;

    @Override
    public Integer call() throws IOException, InterruptedException {
        ServerConfig config = fromOptions(this::config);
        LLM.Builder builder = fromOptions(this::builder);
        CountDownLatch end = new CountDownLatch(1);
        Interruption interruption = new Interruption(end::countDown);
        try (LLM llm = builder.build();
                LlmServer server = LlmServer.start(llm, config)) {
            if (json) {
                printJson(generator -> {
                    generator.writeStringField("url", server.uri().toString());
                    generator.writeStringField("model", config.modelName());
                });
            } else {
                out().printf("%s is served at %s; Ctrl-C ends it.%n", config.modelName(), server.uri());
            }
            out().flush();
            end.await();
            err().println("Ending; running texts may go on for " + drainTimeout + " s.");
        } finally {
            interruption.close();
        }
        return 0;
    }

    private ServerConfig config() {
        ServerConfig.Builder config = ServerConfig.builder()
                .host(host)
                .port(port)
                .modelName(modelName != null ? modelName : folderName(engine.model))
                .corsOrigins(corsOrigins)
                .maxRequests(maxRequests)
                .maxConnections(maxConnections)
                .maxBodyBytes(maxBodyBytes)
                .requestTimeout(Duration.ofSeconds(requestTimeout))
                .drainTimeout(Duration.ofSeconds(drainTimeout));
        if (apiKey != null) {
            config.apiKey(apiKey);
        }
        if (maxTokens != null) {
            config.maxTokens(maxTokens);
        }
        return config.build();
    }

    private static String folderName(Path folder) {
        return folder.toAbsolutePath().normalize().getFileName().toString();
    }

    private LLM.Builder builder() {
        LLM.Builder builder = engine.builder().maxBatchTokens(maxBatchTokens).maxWaiting(maxWaiting);
        return maxSequences == null ? builder : builder.maxSequences(maxSequences);
    }
}
