package dev.kv8.server;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.Socket;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What is too many, too slow or too long ends with a status that says so, and leaves nothing behind. */
class LimitsTest {
    private static final String LONG =
            "{\"prompt\":\"In the beginning\",\"max_tokens\":1900,\"ignore_eos\":true,\"stream\":true}";
    private static final String SHORT = "{\"prompt\":\"In the beginning\",\"max_tokens\":2}";

    @Test
    void moreRequestsThanTheLimitAreToldToComeLater() throws IOException {
        try (TinyServer tiny = TinyServer.start(config -> config.maxRequests(2))) {
            List<Socket> streams = new ArrayList<>();
            for (int i = 0; i < 2; i++) {
                streams.add(RawRequest.open(tiny.server.uri(), RawRequest.post("/v1/completions", LONG)));
            }
            tiny.awaitRunning(2);
            HttpResponse<String> refused = tiny.post("/v1/completions", SHORT);
            assertThat(refused.statusCode()).isEqualTo(429);
            assertThat(refused.body()).contains("rate_limit_exceeded");
            assertThat(refused.headers().firstValue("retry-after")).isPresent();
            assertThat(tiny.get("/health").statusCode()).isEqualTo(200);
            for (Socket stream : streams) {
                stream.close();
            }
            assertThat(tiny.awaitIdle().usedBlocks()).isZero();
            assertThat(tiny.post("/v1/completions", SHORT).statusCode()).isEqualTo(200);
        }
    }

    @Test
    void moreThanMayWaitForTheEngineAreToldToComeLater() throws IOException {
        try (TinyServer tiny = TinyServer.start(config -> config, llm -> llm.maxWaiting(1))) {
            HttpResponse<String> refused = tiny.post(
                    "/v1/completions",
                    "{\"prompt\":[" + "\"a\",".repeat(99) + "\"b\"],\"max_tokens\":1900,\"ignore_eos\":true}");
            assertThat(refused.statusCode()).isEqualTo(429);
            assertThat(tiny.awaitIdle().openSequences())
                    .as("those that were taken before are cancelled")
                    .isZero();
        }
    }

    @Test
    void textThatTakesTooLongEndsWithATimeout() {
        try (TinyServer tiny = TinyServer.start(config -> config.requestTimeout(Duration.ofMillis(150)))) {
            HttpResponse<String> whole = tiny.post("/v1/completions", LONG.replace(",\"stream\":true", ""));
            assertThat(whole.statusCode()).isEqualTo(504);
            assertThat(whole.body()).contains("\"code\":\"timeout\"");
            HttpResponse<String> streamed = tiny.post("/v1/completions", LONG);
            assertThat(streamed.statusCode()).isEqualTo(200);
            assertThat(streamed.body()).contains("\"code\":\"timeout\"").doesNotContain("[DONE]");
            assertThat(tiny.awaitIdle().usedBlocks()).isZero();
        }
    }

    @Test
    void bodyThatDoesNotArriveIsGivenUp() throws IOException {
        try (TinyServer tiny = TinyServer.start(config -> config.bodyTimeout(Duration.ofMillis(200)))) {
            String half = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    + "Content-Length: 100\r\n\r\n{\"prompt\":";
            assertThat(RawRequest.status(tiny.server.uri(), half)).isEqualTo(408);
        }
    }

    @Test
    void connectionThatNeverAsksIsClosed() throws IOException {
        try (TinyServer tiny = TinyServer.start(config -> config.bodyTimeout(Duration.ofMillis(200)))) {
            assertThat(RawRequest.status(tiny.server.uri(), "GET /health HTTP/1.1\r\nHost: loc"))
                    .isEqualTo(-1);
        }
    }

    @Test
    void connectionThatAsksOnceAndThenBeginsForEverIsClosed() throws IOException {
        try (TinyServer tiny = TinyServer.start(config -> config.bodyTimeout(Duration.ofSeconds(1)));
                Socket socket = RawRequest.open(
                        tiny.server.uri(),
                        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHo")) {
            String answers = new String(socket.getInputStream().readAllBytes(), ISO_8859_1);
            assertThat(answers).startsWith("HTTP/1.1 200").containsOnlyOnce("HTTP/1.1");
        }
    }

    @Test
    void connectionWhoseBodyGoesOnAfterTheAnswerIsClosed() throws IOException {
        try (TinyServer tiny = TinyServer.start(config -> config.bodyTimeout(Duration.ofMinutes(10)));
                Socket socket = RawRequest.open(
                        tiny.server.uri(), "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")) {
            String answers = new String(socket.getInputStream().readAllBytes(), ISO_8859_1);
            assertThat(answers).startsWith("HTTP/1.1 200").containsOnlyOnce("HTTP/1.1");
        }
    }

    @Test
    void connectionThatIsBeingAnsweredMayBeSilent() throws IOException {
        try (TinyServer tiny = TinyServer.start(config -> config.bodyTimeout(Duration.ofSeconds(1)));
                Socket socket = RawRequest.open(tiny.server.uri(), RawRequest.post("/v1/completions", LONG))) {
            String answer = new String(socket.getInputStream().readAllBytes(), ISO_8859_1);
            assertThat(answer).startsWith("HTTP/1.1 200").contains("data: [DONE]");
        }
    }

    @Test
    void moreConnectionsThanTheLimitAreClosed() throws IOException {
        try (TinyServer tiny = TinyServer.start(config -> config.maxConnections(1));
                Socket first = RawRequest.open(tiny.server.uri(), "")) {
            String ask = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
            assertThat(RawRequest.status(tiny.server.uri(), ask)).isEqualTo(-1);
            assertThat(first.isClosed()).isFalse();
        }
    }
}
