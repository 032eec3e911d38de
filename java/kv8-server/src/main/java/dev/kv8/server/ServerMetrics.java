package dev.kv8.server;

import dev.kv8.llm.EngineStats;
import dev.kv8.llm.LLM;
import dev.kv8.micrometer.KvCacheMetrics;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.binder.jvm.JvmMemoryMetrics;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import java.time.Duration;
import java.util.function.ToDoubleFunction;

/**
 * The meters of the cache, of the engine and of what clients see, as Prometheus reads them. Any thread may use it.
 *
 * <table>
 * <caption>Meters beside those of {@link KvCacheMetrics}</caption>
 * <tr><td>{@code kv8.engine.texts}</td><td>gauge; {@code state} is running or waiting</td></tr>
 * <tr><td>{@code kv8.engine.requests}</td><td>counter; {@code result} is finished, cancelled or failed</td></tr>
 * <tr><td>{@code kv8.engine.steps}, {@code kv8.engine.preemptions}</td><td>counters</td></tr>
 * <tr><td>{@code kv8.engine.tokens}</td><td>counter; {@code kind} is prompt, cached (of the prompt ones) or generated</td></tr>
 * <tr><td>{@code kv8.http.requests}</td><td>timer until the answer has ended; {@code path}, {@code status}</td></tr>
 * <tr><td>{@code kv8.http.first.token}</td><td>timer until a stream's first text</td></tr>
 * </table>
 */
final class ServerMetrics {
    private static final Duration SHORTEST = Duration.ofMillis(5);
    private static final Duration LONGEST = Duration.ofMinutes(10);

    private final PrometheusMeterRegistry registry = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
    private final Timer firstToken;

    ServerMetrics(LLM llm, String modelName) {
        registry.config().commonTags("model", modelName);
        new KvCacheMetrics(llm.cache()).bindTo(registry);
        new JvmMemoryMetrics().bindTo(registry);
        gauge(llm, "kv8.engine.texts", "Texts being written or waiting", "state", "running", EngineStats::running);
        gauge(llm, "kv8.engine.texts", "Texts being written or waiting", "state", "waiting", EngineStats::waiting);
        String ended = "Requests that have ended";
        counter(llm, "kv8.engine.requests", ended, Tags.of("result", "finished"), EngineStats::finishedRequests);
        counter(llm, "kv8.engine.requests", ended, Tags.of("result", "cancelled"), EngineStats::cancelledRequests);
        counter(llm, "kv8.engine.requests", ended, Tags.of("result", "failed"), EngineStats::failedRequests);
        counter(llm, "kv8.engine.steps", "Forward passes", Tags.empty(), EngineStats::steps);
        counter(
                llm,
                "kv8.engine.preemptions",
                "Texts that gave their blocks back",
                Tags.empty(),
                EngineStats::preemptions);
        String graphs = "Decode steps captured into a graph of the device, and those launched as one";
        counter(llm, "kv8.engine.graphs", graphs, Tags.of("event", "captured"), EngineStats::graphCaptures);
        counter(llm, "kv8.engine.graphs", graphs, Tags.of("event", "launched"), EngineStats::graphLaunches);
        String tokens = "Tokens of prompts, those of them that were cached, and drawn ones";
        counter(llm, "kv8.engine.tokens", tokens, Tags.of("kind", "prompt"), EngineStats::promptTokens);
        counter(llm, "kv8.engine.tokens", tokens, Tags.of("kind", "cached"), EngineStats::cachedTokens);
        counter(llm, "kv8.engine.tokens", tokens, Tags.of("kind", "generated"), EngineStats::generatedTokens);
        firstToken = timer("kv8.http.first.token", "Until a stream's first text", Tags.empty());
    }

    private void gauge(
            LLM llm, String name, String description, String tag, String value, ToDoubleFunction<EngineStats> read) {
        Gauge.builder(name, llm, model -> read.applyAsDouble(model.stats()))
                .description(description)
                .tag(tag, value)
                .register(registry);
    }

    private void counter(LLM llm, String name, String description, Tags tags, ToDoubleFunction<EngineStats> read) {
        FunctionCounter.builder(name, llm, model -> read.applyAsDouble(model.stats()))
                .description(description)
                .tags(tags)
                .register(registry);
    }

    private Timer timer(String name, String description, Tags tags) {
        return Timer.builder(name)
                .description(description)
                .tags(tags)
                .publishPercentileHistogram()
                .minimumExpectedValue(SHORTEST)
                .maximumExpectedValue(LONGEST)
                .register(registry);
    }

    void firstToken(long nanos) {
        firstToken.record(Duration.ofNanos(nanos));
    }

    /** An answer has ended; {@code path} is one of the server's own. */
    void ended(String path, int status, long nanos) {
        timer(
                        "kv8.http.requests",
                        "Until the answer has ended",
                        Tags.of("path", path, "status", String.valueOf(status)))
                .record(Duration.ofNanos(nanos));
    }

    /** Prometheus' text format. */
    String scrape() {
        return registry.scrape();
    }

    void close() {
        registry.close();
    }
}
