package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.ByteSize;
import dev.kv8.KvBackend;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/** Tests of the engine step by step, on the test's own thread: what they share. */
abstract class SteppedEngine extends CpuTest {
    static final int BLOCK_BYTES = 16 * 3072;
    static final String PROMPT = "And Moses said unto the children of Israel,";

    static LLM.Builder builder() {
        return builder(backend);
    }

    static LLM.Builder builder(KvBackend on) {
        return LLM.builder()
                .model(TinyModel.FOLDER)
                .backend(on)
                .kvCacheMemory(ByteSize.mib(4))
                .withoutThread();
    }

    static SamplingParams.Builder sampled(int tokens) {
        return SamplingParams.builder()
                .temperature(0.9)
                .topP(0.95)
                .seed(11)
                .maxTokens(tokens)
                .ignoreEos(true);
    }

    static GenerationRequest request(String prompt, SamplingParams.Builder params) {
        return GenerationRequest.of(prompt, params.build());
    }

    static void finish(LLM llm) {
        int steps = 0;
        Engine.Progress progress;
        while ((progress = llm.engine().step()) != Engine.Progress.IDLE) {
            assertThat(++steps).as("steps").isLessThan(5000);
            if (progress == Engine.Progress.TRANSFERRING) {
                LockSupport.parkNanos(1_000_000);
            }
        }
    }

    static List<Completion> done(Generation generation) {
        return generation.completions().join();
    }

    static List<Completion> alone(GenerationRequest request) {
        try (LLM llm = builder().build()) {
            Generation generation = llm.submit(request);
            finish(llm);
            return done(generation);
        }
    }

    static void assertAllGivenBack(LLM llm) {
        assertThat(llm.cache().stats().usedBlocks()).isZero();
        assertThat(llm.cache().stats().openSequences()).isZero();
        assertThat(llm.cache().swappedBytes()).isZero();
        assertThat(llm.stats().running()).isZero();
        assertThat(llm.stats().waiting()).isZero();
    }
}
