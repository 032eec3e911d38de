package dev.kv8.server;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.util.Arrays;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What the server tells of itself agrees with what it did. */
class MetricsTest {
    private static final int TOKENS = 20;
    private static final String REQUEST =
            "{\"prompt\":\"In the beginning God created the heaven and the earth. And the earth was without form,\","
                    + "\"max_tokens\":" + TOKENS + ",\"ignore_eos\":true,\"stream\":true}";

    private static TinyServer tiny;

    @BeforeAll
    static void start() {
        tiny = TinyServer.start();
        for (int i = 0; i < 3; i++) {
            tiny.stream("/v1/completions", REQUEST);
        }
        tiny.post("/v1/completions", "{");
        tiny.awaitIdle();
    }

    @AfterAll
    static void stop() {
        tiny.close();
    }

    private static double sample(String text, String name, String... labels) {
        return text.lines()
                .filter(line -> line.startsWith(name + "{"))
                .filter(line -> Arrays.stream(labels).allMatch(line::contains))
                .mapToDouble(line -> Double.parseDouble(line.substring(line.lastIndexOf(' ') + 1)))
                .findFirst()
                .orElseThrow(() -> new AssertionError("No " + name + " in\n" + text));
    }

    @Test
    void prometheusGetsTheCountersOfEngineCacheAndClients() {
        var response = tiny.get("/metrics");
        assertThat(response.headers().firstValue("content-type").orElseThrow()).startsWith("text/plain; version=0.0.4");
        String text = response.body();
        assertThat(sample(text, "kv8_engine_tokens_total", "kind=\"generated\"", "model=\"tiny\""))
                .isEqualTo(3 * TOKENS);
        assertThat(sample(text, "kv8_engine_tokens_total", "kind=\"cached\"")).isPositive();
        assertThat(sample(text, "kv8_engine_requests_total", "result=\"finished\""))
                .isEqualTo(3);
        assertThat(sample(text, "kv8_engine_texts", "state=\"running\"")).isZero();
        assertThat(sample(text, "kv8_cache_blocks", "state=\"held\"")).isZero();
        assertThat(sample(text, "kv8_cache_blocks", "state=\"cached\"")).isPositive();
        assertThat(sample(text, "kv8_http_requests_seconds_count", "status=\"200\"", "path=\"/v1/completions\""))
                .isEqualTo(3);
        assertThat(sample(text, "kv8_http_requests_seconds_count", "status=\"400\"", "path=\"/v1/completions\""))
                .isEqualTo(1);
        assertThat(sample(text, "kv8_http_first_token_seconds_count")).isEqualTo(3);
        assertThat(sample(text, "kv8_engine_graphs_total", "event=\"captured\""))
                .isZero(); // the CPU has none
        assertThat(sample(text, "kv8_engine_graphs_total", "event=\"launched\""))
                .isZero();
        assertThat(text).contains("jvm_memory_used_bytes");
    }

    @Test
    void statusHasWhatThePageShows() throws IOException {
        JsonNode status =
                JsonMapper.builder().build().readTree(tiny.get("/status").body());
        assertThat(status.get("model").asText()).isEqualTo("tiny");
        assertThat(status.get("kv_cache_dtype").asText()).startsWith("fp8");
        assertThat(status.get("generated_tokens").asInt()).isEqualTo(3 * TOKENS);
        JsonNode blocks = status.get("blocks");
        assertThat(blocks.get("held").asInt()
                        + blocks.get("cached").asInt()
                        + blocks.get("free").asInt())
                .isEqualTo(blocks.get("total").asInt());
        assertThat(status.get("prefix_hit_tokens").asInt()).isPositive();
    }
}
