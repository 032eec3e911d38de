package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.ByteSize;
import dev.kv8.KvBackend;
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
