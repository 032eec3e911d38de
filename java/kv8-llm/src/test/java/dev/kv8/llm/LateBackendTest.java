package dev.kv8.llm;

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
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The engine and the cache wait where a GPU needs it: on a backend that does everything late they write the same text. */
class LateBackendTest {
    @ParameterizedTest
    @ValueSource(strings = {"auto", "fp8"})
    void changesNoToken(String dtype) {
        SamplingParams sampled = SamplingParams.builder()
                .temperature(0.9)
                .topP(0.95)
                .seed(11)
                .maxTokens(20)
                .build();
        try (KvBackend cpu = KvBackend.open("cpu");
                LLM prompt = llm(cpu, dtype);
                LLM late = llm(LateBackend.on(cpu), dtype)) {
            for (SamplingParams params : new SamplingParams[] {SamplingParams.greedy(20), sampled}) {
                assertThat(late.generate(TinyModel.prompts(), params))
                        .extracting(Completion::text)
                        .containsExactlyElementsOf(prompt.generate(TinyModel.prompts(), params).stream()
                                .map(Completion::text)
                                .toList());
            }
        }
    }

    /** Several steps of which nobody reads a result: the cache itself keeps its tables until kernels have read them. */
    @Test
    void theCachesTablesStayUntilTheyAreRead() {
        try (KvBackend cpu = KvBackend.open("cpu")) {
            assertThat(steps(LateBackend.on(cpu))).isEqualTo(steps(cpu));
        }
    }

    private static float[] steps(KvBackend backend) {
        int steps = 5;
        int size = 64;
        long rows = 2 * 4L * size; // of a step, in bytes
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(1)
                .kvHeads(1)
                .headSize(size)
                .blocks(8)
                .dtype(KvCacheDType.FP8_E4M3)
                .build();
        try (DeviceMemory inputs = backend.allocate(steps * rows);
                DeviceMemory outputs = backend.allocate(steps * rows);
                KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch()) {
            ByteBuffer numbers = ByteBuffer.allocateDirect((int) inputs.bytes()).order(ByteOrder.nativeOrder());
            for (int i = 0; i < numbers.capacity() / 4; i++) {
                numbers.putFloat(4 * i, (float) Math.sin(i));
            }
            backend.upload(numbers, inputs, 0);
            Sequence first = cache.open(1);
            Sequence second = cache.open(2);
            for (int step = 0; step < steps; step++) {
                assertThat(batch.add(first) && batch.add(second)).isTrue();
                HeadRows x = HeadRows.of(inputs.slice(step * rows, rows), DType.FLOAT32, 1, size);
                HeadRows out = HeadRows.of(outputs.slice(step * rows, rows), DType.FLOAT32, 1, size);
                cache.write(0, batch, x, x);
                cache.attend(0, batch, x, out);
                batch.commit();
                first.append(1);
                second.append(2);
            }
            ByteBuffer read = numbers.duplicate().order(ByteOrder.nativeOrder());
            backend.download(outputs, 0, read);
            float[] result = new float[read.remaining() / 4];
            read.asFloatBuffer().get(result);
            return result;
        }
    }

    private static LLM llm(KvBackend backend, String dtype) {
        return LLM.builder()
                .model(TinyModel.FOLDER)
                .backend(backend)
                .kvCacheDType(dtype)
                .calculateKvScales(true)
                .kvCacheMemory(ByteSize.mib(1))
                .maxBatchTokens(64)
                .build();
    }
}
