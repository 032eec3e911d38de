package dev.kv8.server;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.CacheStats;
import dev.kv8.llm.EngineStats;
import dev.kv8.llm.internal.JsonWriting;
import java.io.IOException;

/** What the page shows, as JSON: {@code GET /status}. Counters only grow; the page makes rates of them. */
final class Status {
    private final ServedModel model;

    Status(ServedModel model) {
        this.model = model;
    }

    String json() {
        EngineStats engine = model.llm().stats();
        CacheStats cache = model.llm().cache().stats();
        return JsonWriting.object(out -> {
            out.writeStringField("model", model.name());
            out.writeStringField(
                    "kv_cache_dtype", model.llm().cache().config().kDtype().toString());
            out.writeNumberField("block_size", model.llm().cache().config().blockSize());
            out.writeNumberField("uptime_seconds", engine.uptime().toMillis() / 1e3);
            writeEngine(out, engine);
            writeCache(out, cache);
        });
    }

    private static void writeEngine(JsonGenerator out, EngineStats engine) throws IOException {
        out.writeNumberField("running", engine.running());
        out.writeNumberField("waiting", engine.waiting());
        out.writeNumberField("steps", engine.steps());
        out.writeNumberField("preemptions", engine.preemptions());
        out.writeNumberField("prompt_tokens", engine.promptTokens());
        out.writeNumberField("generated_tokens", engine.generatedTokens());
        out.writeNumberField("cached_tokens", engine.cachedTokens());
        out.writeNumberField("finished_requests", engine.finishedRequests());
        out.writeNumberField("cancelled_requests", engine.cancelledRequests());
        out.writeNumberField("failed_requests", engine.failedRequests());
        out.writeNumberField("graph_captures", engine.graphCaptures());
        out.writeNumberField("graph_launches", engine.graphLaunches());
    }

    private static void writeCache(JsonGenerator out, CacheStats cache) throws IOException {
        out.writeObjectFieldStart("blocks");
        out.writeNumberField("total", cache.totalBlocks());
        out.writeNumberField("held", cache.usedBlocks());
        out.writeNumberField("cached", cache.cachedBlocks());
        out.writeNumberField("free", cache.freeBlocks() - cache.cachedBlocks());
        out.writeEndObject();
        out.writeNumberField("pool_bytes", cache.poolBytes());
        out.writeNumberField("stored_tokens", cache.storedTokens());
        out.writeNumberField("open_sequences", cache.openSequences());
        out.writeNumberField("prefix_query_tokens", cache.prefixQueryTokens());
        out.writeNumberField("prefix_hit_tokens", cache.prefixHitTokens());
        out.writeNumberField("evicted_blocks", cache.evictedBlocks());
    }
}
