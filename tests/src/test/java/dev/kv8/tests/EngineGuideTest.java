package dev.kv8.tests;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.Batch;
import dev.kv8.ByteSize;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.Sequence;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The example of docs/engine-authors.md: it compiles, runs, and is the text that the guide shows. */
class EngineGuideTest {
    private static final int LAYERS = 2;

    // example:begin
    /** One step of an engine: prefill or decode, whatever is pending. */
    static void step(
            KvCache cache, Batch batch, HeadRows q, HeadRows k, HeadRows v, HeadRows out, Sequence... sequences) {
        for (Sequence sequence : sequences) {
            if (!batch.add(sequence)) { // not enough free blocks; nothing has changed
                break; // run what fits, then free some: close, truncate or preempt a sequence
            }
        }
        if (batch.sequences() == 0) {
            return;
        }
        for (int layer = 0; layer < cache.config().layers(); layer++) {
            // ... the engine computes q, k and v of batch.tokens() rows into device memory ...
            cache.write(layer, batch, k, v);
            cache.attend(layer, batch, q, out);
            // ... and goes on with out ...
        }
        batch.commit();
    }

    static int run() {
        var config = KvCacheConfig.builder()
                .layers(LAYERS)
                .kvHeads(2)
                .headSize(64)
                .dtype(KvCacheDType.FP8_E4M3)
                .memory(ByteSize.mib(1))
                .build();
        try (KvBackend backend = KvBackend.open(); // -Dkv.backend=auto|cpu|cuda|rocm
                KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch();
                DeviceMemory memory = backend.allocate(16 * (8 + 2 + 2 + 8) * 64 * 4)) {
            backend.fill(memory, 0, memory.bytes(), (byte) 0);
            HeadRows q = HeadRows.of(memory, DType.FLOAT32, 8, 64); // at most 16 tokens a step here
            HeadRows k = HeadRows.of(memory.slice(16 * 8 * 64 * 4, 16 * 2 * 64 * 4), DType.FLOAT32, 2, 64);
            HeadRows v = HeadRows.of(memory.slice(16 * 10 * 64 * 4, 16 * 2 * 64 * 4), DType.FLOAT32, 2, 64);
            HeadRows out = HeadRows.of(memory.slice(16 * 12 * 64 * 4, 16 * 8 * 64 * 4), DType.FLOAT32, 8, 64);

            Sequence first = cache.open(11, 12, 13, 14);
            step(cache, batch, q, k, v, out, first); // prefill
            Sequence second = first.fork(); // shares its blocks until one of them writes
            first.append(15);
            second.append(16);
            step(cache, batch, q, k, v, out, first, second); // decode, two sequences in one batch
            return cache.stats().usedBlocks();
        }
    }
    // example:end

    @Test
    void theGuidesExampleRuns() {
        assertThat(run()).isEqualTo(2);
    }

    @Test
    void theGuideShowsThisExample() throws IOException {
        String source = Files.readString(Path.of("src/test/java/dev/kv8/tests/EngineGuideTest.java"));
        String example = source.substring(
                source.indexOf("// example:begin\n") + "// example:begin\n".length(),
                source.indexOf("    // example:end\n"));
        assertThat(Files.readString(Path.of("../docs/engine-authors.md")))
                .as("docs/engine-authors.md must show this file's example, without its indentation")
                .contains(example.replaceAll("(?m)^    ", ""));
    }
}
