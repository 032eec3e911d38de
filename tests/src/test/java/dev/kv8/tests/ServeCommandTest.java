package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.cli.Kv8;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ServeCommandTest {
    private static final String MODEL = "models/tiny-llama";
    private static final int END_SECONDS = 60;

    @TempDir
    Path folder;

    private final HttpClient client = HttpClient.newHttpClient();

    private HttpResponse<String> post(String url, String json) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/v1/completions"))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString(json))
                .build();
        return client.send(request, BodyHandlers.ofString());
    }

    @Test
    void serves_until_the_process_is_asked_to_end() throws Exception {
        Path err = folder.resolve("err");
        List<String> line = List.of(
                Command.java(),
                "--enable-native-access=ALL-UNNAMED",
                "-Dorg.bytedeco.javacpp.cachedir=" + System.getProperty("org.bytedeco.javacpp.cachedir"),
                "-cp",
                System.getProperty("java.class.path"),
                Kv8.class.getName(),
                "serve",
                "--model",
                MODEL,
                "--kv-cache-dtype",
                "fp8",
                "--dynamic-scales",
                "--kv-cache-memory",
                "16MiB",
                "--port",
                "0",
                "--json");
        Process process = new ProcessBuilder(line).redirectError(err.toFile()).start();
        try (BufferedReader out = new BufferedReader(new InputStreamReader(process.getInputStream(), UTF_8))) {
            String started = out.readLine();
            assertThat(started).as(Files.readString(err)).isNotNull();
            String url = Json.parse(started).get("url").text();
            assertThat(url).startsWith("http://127.0.0.1:");
            HttpResponse<String> answer =
                    post(url, "{\"model\":\"tiny-llama\",\"prompt\":\"In the beginning\",\"max_tokens\":4}");
            assertThat(answer.statusCode()).as(answer.body()).isEqualTo(200);
            assertThat(Json.parse(answer.body()).get("choices").list()).hasSize(1);
            process.destroy();
            assertThat(process.waitFor(END_SECONDS, TimeUnit.SECONDS)).isTrue();
            assertThat(Files.readString(err)).contains("Ending").doesNotContain("Exception");
        } finally {
            process.destroyForcibly();
        }
    }

    @Test
    void incomplete_model_folders_are_named_before_anything_listens() throws IOException {
        kv8("serve", "--model", folder).fails("config.json");
        Files.copy(Path.of(MODEL, "config.json"), folder.resolve("config.json"));
        kv8("serve", "--model", folder).fails("tokenizer");
    }

    @Test
    void wrong_usage_says_what_is_allowed() {
        kv8("serve").isWrongUsage("--model");
        kv8("serve", "--model", MODEL, "--port", "70000").isWrongUsage("port is 70000", "0 to 65535");
        kv8("serve", "--model", MODEL, "--api-key", "two words").isWrongUsage("API key");
        kv8("serve", "--model", MODEL, "--request-timeout", "0").isWrongUsage("requestTimeout");
        kv8("serve", "--model", MODEL, "--max-requests", "0").isWrongUsage("maxRequests is 0");
    }
}
