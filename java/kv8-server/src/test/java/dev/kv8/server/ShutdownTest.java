package dev.kv8.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

class ShutdownTest {
    private static final String COMPLETIONS = "/v1/completions";

    private static String request(int tokens, boolean stream) {
        return "{\"prompt\":\"In the beginning\",\"max_tokens\":" + tokens + ",\"ignore_eos\":true,\"stream\":" + stream
                + "}";
    }

    @Test
    void letsRunningTextsEndWhileNewOnesAreRefused() {
        try (TinyServer tiny = TinyServer.start()) {
            CompletableFuture<HttpResponse<String>> running =
                    CompletableFuture.supplyAsync(() -> tiny.post(COMPLETIONS, request(1900, true)));
            tiny.awaitRunning(1);
            CompletableFuture<Void> closing =
                    CompletableFuture.runAsync(() -> tiny.server.shutdown(Duration.ofSeconds(60)));
            int health = 200;
            while (health == 200 && !running.isDone()) {
                health = tiny.get("/health").statusCode();
            }
            assertThat(health).isEqualTo(503);
            HttpResponse<String> late = tiny.post(COMPLETIONS, request(1, false));
            assertThat(late.statusCode()).isEqualTo(503);
            assertThat(late.body()).contains("shutting_down");
            assertThat(running.join().body()).endsWith("data: [DONE]\n\n");
            closing.join();
            assertThatThrownBy(() -> tiny.get("/health")).hasMessageContaining("Connect");
        }
    }

    @Test
    void cancelsWhatTakesTooLongAndSaysSo() {
        try (TinyServer tiny = TinyServer.start()) {
            CompletableFuture<HttpResponse<String>> streamed =
                    CompletableFuture.supplyAsync(() -> tiny.post(COMPLETIONS, request(1900, true)));
            CompletableFuture<HttpResponse<String>> whole =
                    CompletableFuture.supplyAsync(() -> tiny.post(COMPLETIONS, request(1900, false)));
            tiny.awaitRunning(2);
            tiny.server.shutdown(Duration.ofMillis(50));
            assertThat(streamed.join().body()).contains("shutting_down").doesNotContain("[DONE]");
            assertThat(whole.join().statusCode()).isEqualTo(503);
            assertThat(tiny.awaitIdle().usedBlocks()).isZero();
        }
    }
}
