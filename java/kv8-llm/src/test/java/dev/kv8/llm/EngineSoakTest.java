package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.ByteSize;
import dev.kv8.CachePriority;
import dev.kv8.KvBackend;
import dev.kv8.PreemptionPolicy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Random requests, cancellations, timeouts and failures over a cache that is far too small: nothing leaks, starves or changes. */
class EngineSoakTest {
    private static final long SEED = Long.getLong("kv8.seed", 20261126);
    private static final int BLOCK_BYTES = 16 * 3072;
    private static final int REQUESTS = 120;

    private final SplittableRandom random = new SplittableRandom(SEED);
    private final Map<String, List<int[]>> expected = new HashMap<>();

    private record Asked(GenerationRequest request, Generation generation) {}

    @Test
    void whatEndsByItselfIsWhatItIsAlone() {
        try (KvBackend cpu = KvBackend.open("cpu");
                LLM alone = LLM.builder()
                        .model(TinyModel.FOLDER)
                        .backend(cpu)
                        .kvCacheMemory(ByteSize.mib(8))
                        .build()) {
            FailingBackend failing = new FailingBackend(cpu);
            try (LLM llm = LLM.builder()
                    .model(TinyModel.FOLDER)
                    .backend(failing.backend())
                    .kvCacheMemory(ByteSize.of(8 * BLOCK_BYTES))
                    .maxBatchTokens(48)
                    .maxSequences(8)
                    .preemption(cost ->
                            random.nextBoolean() ? PreemptionPolicy.Action.SWAP : PreemptionPolicy.Action.RECOMPUTE)
                    .withoutThread()
                    .build()) {
                List<Asked> asked = run(llm, failing);
                int whole = 0;
                for (Asked one : asked) {
                    whole += check(alone, one);
                }
                EngineStats stats = llm.stats();
                String name = "seed " + SEED + ": " + stats;
                assertThat(whole).as(name).isGreaterThan(REQUESTS / 3);
                assertThat(stats.preemptions()).as(name).isPositive();
                assertThat(stats.cancelledRequests()).as(name).isPositive();
                assertThat(stats.failedRequests()).as(name).isPositive();
                assertThat(stats.finishedRequests() + stats.cancelledRequests() + stats.failedRequests())
                        .as(name)
                        .isEqualTo(REQUESTS);
                assertThat(llm.cache().stats().usedBlocks()).as(name).isZero();
                assertThat(llm.cache().stats().openSequences()).as(name).isZero();
                assertThat(llm.cache().swappedBytes()).as(name).isZero();
            }
        }
    }

    private List<Asked> run(LLM llm, FailingBackend failing) {
        List<Asked> asked = new ArrayList<>();
        int steps = 0;
        Engine.Progress progress = Engine.Progress.ADVANCED;
        while (asked.size() < REQUESTS || progress != Engine.Progress.IDLE) {
            if (asked.size() < REQUESTS && random.nextInt(3) == 0) {
                GenerationRequest request = request();
                asked.add(new Asked(request, llm.submit(request)));
            }
            if (!asked.isEmpty() && random.nextInt(40) == 0) {
                asked.get(random.nextInt(asked.size())).generation().cancel();
            }
            if (random.nextInt(150) == 0) {
                failing.failOnce(random.nextBoolean() ? "attend" : "sample", random.nextInt(6));
            }
            progress = llm.engine().step();
            assertThat(++steps).as("seed %d, steps: somebody starves", SEED).isLessThan(20_000);
        }
        return asked;
    }

    private GenerationRequest request() {
        List<String> prompts = TinyModel.prompts().subList(0, 8);
        String text = prompts.get(random.nextInt(prompts.size()));
        String prompt = text.substring(0, Math.min(text.length(), 20 + random.nextInt(120)));
        CachePriority[] classes = CachePriority.values();
        GenerationRequest.Builder builder = GenerationRequest.builder()
                .prompt(prompt)
                .sampling(SamplingParams.builder()
                        .temperature(0.8)
                        .minP(random.nextInt(4) == 0 ? 0.05 : 0)
                        .n(1 + random.nextInt(3))
                        .seed(random.nextInt(3))
                        .ignoreEos(true)
                        .maxTokens(1 + random.nextInt(40))
                        .build())
                .priority(classes[random.nextInt(classes.length)]);
        if (random.nextInt(10) == 0) {
            builder.timeout(Duration.ofNanos(1 + random.nextInt(20_000_000)));
        }
        return builder.build();
    }

    /** 1 when it ended by itself. */
    private int check(LLM alone, Asked one) {
        assertThat(one.generation().completions())
                .as("seed %d", SEED)
                .satisfiesAnyOf(
                        future -> assertThat(future.isDone()).isTrue(),
                        future -> assertThat(future).succeedsWithin(Duration.ofMinutes(1)),
                        future -> assertThat(future).failsWithin(Duration.ofMinutes(1)));
        if (one.generation().completions().isCompletedExceptionally()) {
            return 0;
        }
        List<Completion> completions = one.generation().completions().join();
        SamplingParams sampling = one.request().sampling();
        String prompt = one.request().prompt().orElseThrow();
        List<int[]> whole = expected.computeIfAbsent(
                prompt + sampling.seed() + sampling.n() + sampling.minP() + sampling.maxTokens(),
                key -> alone.generate(prompt, sampling).stream()
                        .map(Completion::tokenIds)
                        .toList());
        boolean natural = true;
        for (Completion completion : completions) {
            natural &= completion.finishReason() == FinishReason.LENGTH;
            int[] all = whole.get(completion.index());
            assertThat(completion.tokenIds())
                    .as("seed %d, request %d", SEED, one.generation().id())
                    .isEqualTo(Arrays.copyOf(all, completion.tokenIds().length));
            if (completion.finishReason() == FinishReason.LENGTH) {
                assertThat(completion.tokenIds()).hasSameSizeAs(all);
            }
        }
        return natural ? 1 : 0;
    }
}
