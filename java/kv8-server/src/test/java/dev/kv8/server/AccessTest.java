package dev.kv8.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Who is answered: with a key, without one, under another name, and pages from elsewhere. */
class AccessTest {
    private static final String KEY = "sk-secret";
    private static final String PROMPT = "{\"prompt\":\"In the beginning\",\"max_tokens\":2}";
    private static final String PAGE = "https://chat.example.com";

    private static TinyServer open;
    private static TinyServer locked;

    @BeforeAll
    static void start() {
        open = TinyServer.start();
        locked = TinyServer.start(config -> config.apiKey(KEY).corsOrigins(List.of(PAGE)));
    }

    @AfterAll
    static void stop() {
        open.close();
        locked.close();
    }

    @Test
    void aKeyGuardsEverythingButHealthAndTheEmptyPage() {
        for (String path : List.of("/v1/models", "/v1/models/tiny", "/metrics", "/status")) {
            assertThat(locked.get(path).statusCode()).as(path).isEqualTo(401);
            assertThat(locked.get(path, "Authorization", "Bearer " + KEY).statusCode())
                    .as(path)
                    .isEqualTo(200);
        }
        assertThat(locked.get("/health").statusCode()).isEqualTo(200);
        assertThat(locked.get("/").statusCode()).isEqualTo(200);
        HttpResponse<String> refused = locked.post("/v1/completions", PROMPT);
        assertThat(refused.statusCode()).isEqualTo(401);
        assertThat(refused.body()).contains("invalid_api_key").doesNotContain(KEY);
        for (String wrong : List.of("Bearer sk-secre", "Bearer sk-secret2", "Bearer ", KEY, "Basic " + KEY)) {
            assertThat(locked.get("/v1/models", "Authorization", wrong).statusCode())
                    .as(wrong)
                    .isEqualTo(401);
        }
        assertThat(locked.post("/v1/completions", PROMPT, "Authorization", "bearer " + KEY)
                        .statusCode())
                .isEqualTo(200);
    }

    /** As a page whose name points at 127.0.0.1 would ask. */
    @Test
    void withoutAKeyOnlyNamesOfThisMachineAreAnswered() throws IOException {
        assertThat(RawRequest.status(open.server.uri(), "GET /v1/models HTTP/1.1\r\nHost: rebound.example.com\r\n\r\n"))
                .isEqualTo(403);
        assertThat(RawRequest.status(open.server.uri(), "GET /v1/models HTTP/1.1\r\nHost: localhost:1\r\n\r\n"))
                .isEqualTo(200);
        assertThat(RawRequest.status(open.server.uri(), "GET /v1/models HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"))
                .isEqualTo(200);
        assertThat(RawRequest.status(
                        locked.server.uri(),
                        "GET /v1/models HTTP/1.1\r\nHost: kv8.example.com\r\nAuthorization: Bearer " + KEY
                                + "\r\n\r\n"))
                .isEqualTo(200);
    }

    @Test
    void pagesFromElsewhereReadNothingUnlessTheyAreConfigured() {
        assertThat(open.get("/v1/models", "Origin", PAGE).headers().map())
                .doesNotContainKey("access-control-allow-origin");
        String key = "Bearer " + KEY;
        assertThat(locked.get("/v1/models", "Origin", PAGE, "Authorization", key)
                        .headers()
                        .firstValue("access-control-allow-origin"))
                .contains(PAGE);
        assertThat(locked.get("/v1/models", "Origin", "https://evil.example.com", "Authorization", key)
                        .headers()
                        .map())
                .doesNotContainKey("access-control-allow-origin");
        HttpResponse<String> asked =
                locked.send(locked.request("/v1/completions", "Origin", PAGE, "Access-Control-Request-Method", "POST")
                        .method("OPTIONS", BodyPublishers.noBody())
                        .build());
        assertThat(asked.statusCode()).isEqualTo(204);
        assertThat(asked.headers().firstValue("access-control-allow-headers").orElseThrow())
                .contains("Authorization");
    }

    @Test
    void whatIsNotHttpIsRefused() throws IOException {
        assertThat(RawRequest.status(open.server.uri(), "HELLO\r\n\r\n")).isEqualTo(400);
        assertThat(RawRequest.status(
                        open.server.uri(), "GET /" + "x".repeat(10_000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .isEqualTo(414);
        assertThat(RawRequest.status(
                        open.server.uri(),
                        "GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + "x".repeat(20_000) + "\r\n\r\n"))
                .isEqualTo(431);
        assertThat(open.get("/health").statusCode()).isEqualTo(200);
    }

    @Test
    void settingsThatCannotBeAreRefused() {
        assertThatThrownBy(() -> ServerConfig.builder().apiKey("two words")).hasMessageContaining("visible ASCII");
        assertThatThrownBy(() -> ServerConfig.builder().port(70_000)).hasMessageContaining("0 to 65535");
        assertThatThrownBy(() -> ServerConfig.builder().maxRequests(0)).hasMessageContaining("maxRequests is 0");
        assertThatThrownBy(() -> ServerConfig.builder().requestTimeout(Duration.ZERO))
                .hasMessageContaining("requestTimeout");
        assertThatThrownBy(() -> ServerConfig.builder().requestTimeout(Duration.ofSeconds(99_999_999_999_999_999L)))
                .hasMessageContaining("1 ms to 30 days");
        assertThatThrownBy(() -> LlmServer.start(
                        open.llm,
                        ServerConfig.builder().port(open.server.uri().getPort()).build()))
                .isInstanceOf(IOException.class)
                .hasMessageContaining(String.valueOf(open.server.uri().getPort()));
    }
}
