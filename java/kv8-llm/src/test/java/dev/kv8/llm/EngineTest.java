package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.ByteSize;
import dev.kv8.CachePriority;
import dev.kv8.PreemptionPolicy;
import dev.kv8.Tiers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

/** Which request gets what in a step, and when it ends. */
class EngineTest extends SteppedEngine {
    @Test
    void aTextThatRunsGetsATokenInEveryStepWhilePromptsAreComputed() {
        try (LLM llm = builder().maxBatchTokens(24).build()) {
            Generation running = llm.submit(request(PROMPT, sampled(60)));
            llm.engine().step();
            llm.submit(request(TinyModel.prompts().get(9), sampled(4))); // 307 tokens
            long before = llm.stats().generatedTokens();
            for (int step = 1; step <= 13; step++) {
                llm.engine().step();
                assertThat(llm.stats().generatedTokens()).as("step %d", step).isEqualTo(before + step);
            }
            llm.engine().step();
            assertThat(llm.stats().generatedTokens())
                    .as("13 steps of 23 tokens, then the last 8 and its first token")
                    .isEqualTo(before + 15);
            finish(llm);
            assertThat(done(running).get(0).tokenIds())
                    .isEqualTo(alone(request(PROMPT, sampled(60))).get(0).tokenIds());
        }
    }

    @Test
    void whenThereIsNoBlockForOneTextTheOtherGoesOn() {
        GenerationRequest first = request(PROMPT, sampled(70));
        GenerationRequest second = request("In the beginning God created", sampled(70));
        try (LLM llm = builder().kvCacheMemory(ByteSize.of(8 * BLOCK_BYTES)).build()) {
            Generation older = llm.submit(first);
            Generation newer = llm.submit(second);
            while (llm.stats().preemptions() == 0) {
                long before = llm.stats().generatedTokens();
                llm.engine().step();
                assertThat(llm.stats().generatedTokens() - before)
                        .as("tokens of step %d", llm.stats().steps())
                        .isEqualTo(2 - llm.stats().preemptions());
            }
            assertThat(llm.stats().running()).isEqualTo(1);
            finish(llm);
            assertThat(done(older).get(0).tokenIds())
                    .isEqualTo(alone(first).get(0).tokenIds());
            assertThat(done(newer).get(0).tokenIds())
                    .isEqualTo(alone(second).get(0).tokenIds());
        }
    }

    @Test
    void equalRequestsInEqualOrderTakeEqualSteps() {
        List<List<EngineStats>> runs = new ArrayList<>();
        for (int run = 0; run < 2; run++) {
            List<EngineStats> steps = new ArrayList<>();
            try (LLM llm = builder()
                    .maxBatchTokens(40)
                    .kvCacheMemory(ByteSize.of(23 * BLOCK_BYTES))
                    .preemption(PreemptionPolicy.always(PreemptionPolicy.Action.RECOMPUTE))
                    .build()) {
                for (String prompt : TinyModel.prompts()) {
                    llm.submit(request(prompt, sampled(30).n(2)));
                }
                while (llm.engine().step() != Engine.Progress.IDLE) {
                    EngineStats now = llm.stats();
                    steps.add(new EngineStats(
                            now.running(),
                            now.waiting(),
                            now.steps(),
                            now.promptTokens(),
                            now.generatedTokens(),
                            now.cachedTokens(),
                            now.preemptions(),
                            now.finishedRequests(),
                            0,
                            0,
                            now.graphCaptures(),
                            now.graphLaunches(),
                            Duration.ZERO));
                }
            }
            runs.add(steps);
        }
        assertThat(runs.get(1)).isEqualTo(runs.get(0)).hasSizeGreaterThan(30);
        assertThat(runs.get(0).get(runs.get(0).size() - 1).preemptions()).isPositive();
    }

    @Test
    void samplesOfAPromptAreThoseOfTheirSeedsAndShareItsComputation() {
        String prompt = TinyModel.prompts().get(9);
        List<int[]> expected = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            expected.add(alone(request(prompt, sampled(20).seed(Sampler.seedOf(11, i))))
                    .get(0)
                    .tokenIds());
        }
        for (boolean prefixCaching : new boolean[] {true, false}) {
            try (LLM llm = builder().prefixCaching(prefixCaching).build()) {
                Generation generation = llm.submit(request(prompt, sampled(20).n(4)));
                finish(llm);
                List<Completion> completions = done(generation);
                assertThat(completions).extracting(Completion::index).containsExactly(0, 1, 2, 3);
                assertThat(completions).extracting(Completion::tokenIds).containsExactlyElementsOf(expected);
                assertThat(completions).extracting(Completion::text).doesNotHaveDuplicates();
                assertThat(llm.stats().steps()).as("the prompt, then 19 tokens").isEqualTo(20);
                assertThat(llm.stats().generatedTokens()).isEqualTo(80);
                assertThat(llm.stats().promptTokens()).isEqualTo(307);
                assertAllGivenBack(llm);
            }
        }
    }

    /** Four samples of a prompt of 20 blocks, which share 19, in a cache for two and a half of their texts. */
    @Test
    void samplesThatGiveTheirBlocksBackAreTheSame() {
        GenerationRequest request =
                request(TinyModel.prompts().get(9), sampled(40).n(4));
        List<int[]> expected = alone(request).stream().map(Completion::tokenIds).toList();
        for (PreemptionPolicy.Action action : PreemptionPolicy.Action.values()) {
            try (LLM llm = builder()
                    .kvCacheMemory(ByteSize.of(26 * BLOCK_BYTES))
                    .preemption(PreemptionPolicy.always(action))
                    .build()) {
                Generation generation = llm.submit(request);
                finish(llm);
                assertThat(done(generation))
                        .as("%s", action)
                        .extracting(Completion::tokenIds)
                        .containsExactlyElementsOf(expected);
                assertThat(llm.stats().preemptions()).as("%s", action).isPositive();
                assertAllGivenBack(llm);
            }
        }
    }

    @Test
    void aSampleThatEndsAtOnceEndsAlone() {
        GenerationRequest longer = request(PROMPT, sampled(12).temperature(2).n(6));
        List<Completion> all = alone(longer);
        int first = all.get(0).tokenIds()[0];
        List<Completion> stopped =
                alone(request(PROMPT, sampled(12).temperature(2).n(6).stopTokenIds(first)));
        assertThat(stopped.get(0).tokenIds()).containsExactly(first);
        assertThat(stopped.get(0).finishReason()).isEqualTo(FinishReason.STOP);
        assertThat(stopped).anyMatch(one -> one.tokenIds().length > 1);
    }

    @Test
    void aHigherClassBeginsFirstButNobodyWaitsForEver() {
        try (LLM llm = builder().maxSequences(1).build()) {
            List<Long> order = new ArrayList<>();
            List<CompletableFuture<Void>> watched = new ArrayList<>();
            for (int i = 0; i < 80; i++) {
                CachePriority priority =
                        i == 1 ? CachePriority.LOW : i == 79 ? CachePriority.HIGH : CachePriority.NORMAL;
                Generation generation = llm.submit(GenerationRequest.builder()
                        .prompt("In the")
                        .sampling(SamplingParams.greedy(1))
                        .priority(priority)
                        .build());
                watched.add(generation.completions().thenAccept(done -> {
                    synchronized (order) {
                        order.add(generation.id());
                    }
                }));
            }
            while (llm.engine().step() != Engine.Progress.IDLE) {
                long finished = llm.stats().finishedRequests();
                CompletableFuture.allOf(watched.stream()
                                .filter(CompletableFuture::isDone)
                                .toArray(CompletableFuture[]::new))
                        .join();
                while (watched.stream().filter(CompletableFuture::isDone).count() < finished) {
                    Thread.onSpinWait();
                }
            }
            assertThat(order).hasSize(80);
            assertThat(order.indexOf(79L)).as("a HIGH one leads by 64").isEqualTo(15);
            assertThat(order.indexOf(1L))
                    .as("a LOW one is overtaken by 64 later ones at most")
                    .isEqualTo(65);
        }
    }

    @Test
    void aCancelledRequestEndsWithWhatThereIs() {
        for (PreemptionPolicy.Action action : PreemptionPolicy.Action.values()) {
            try (LLM llm = builder()
                    .kvCacheMemory(ByteSize.of(5 * BLOCK_BYTES))
                    .preemption(PreemptionPolicy.always(action))
                    .build()) {
                List<Generation> generations = new ArrayList<>();
                for (String prompt : TinyModel.prompts().subList(1, 4)) {
                    generations.add(llm.submit(request(prompt, sampled(45).n(2))));
                }
                while (llm.stats().preemptions() == 0) {
                    llm.engine().step();
                }
                assertThat(llm.stats().running()).isPositive();
                assertThat(llm.stats().waiting()).isPositive();
                generations.get(0).cancel();
                generations.forEach(Generation::cancel);
                assertThat(llm.engine().step()).isEqualTo(Engine.Progress.IDLE);
                int tokens = 0;
                for (Generation generation : generations) {
                    for (Completion completion : done(generation)) {
                        assertThat(completion.finishReason()).isEqualTo(FinishReason.CANCELLED);
                        tokens += completion.tokenIds().length;
                    }
                }
                assertThat((long) tokens)
                        .isEqualTo(llm.stats().generatedTokens())
                        .isPositive();
                assertThat(llm.stats().cancelledRequests()).isEqualTo(3);
                assertAllGivenBack(llm);
                generations.get(0).cancel();
                assertThat(llm.engine().step()).isEqualTo(Engine.Progress.IDLE);
            }
        }
    }

    @Test
    void cancellingTheFutureCancelsTheRequest() {
        try (LLM llm = builder().build()) {
            Generation generation = llm.submit(request(PROMPT, sampled(100)));
            llm.engine().step();
            generation.completions().cancel(true);
            llm.engine().step();
            assertThat(llm.stats().cancelledRequests()).isEqualTo(1);
            assertAllGivenBack(llm);
        }
    }

    @Test
    void aRequestWhoseTimeIsOverEndsWithWhatThereIs() {
        try (LLM llm = builder().build()) {
            Generation over = llm.submit(GenerationRequest.builder()
                    .prompt(PROMPT)
                    .sampling(sampled(10).n(2).build())
                    .timeout(Duration.ofNanos(1))
                    .build());
            Generation patient = llm.submit(GenerationRequest.builder()
                    .prompt(PROMPT)
                    .sampling(sampled(10).build())
                    .timeout(Duration.ofDays(365_000))
                    .build());
            finish(llm);
            assertThat(done(over))
                    .extracting(Completion::finishReason)
                    .containsExactly(FinishReason.TIMEOUT, FinishReason.TIMEOUT);
            assertThat(done(over).get(0).text()).isEmpty();
            assertThat(done(patient).get(0).finishReason()).isEqualTo(FinishReason.LENGTH);
            assertAllGivenBack(llm);
        }
    }

    @Test
    void aSaltKeepsPrefixesApart() {
        String prompt = TinyModel.prompts().get(9);
        try (LLM llm = builder().build()) {
            List<Integer> cached = new ArrayList<>();
            for (String salt : new String[] {"a", "b", "a"}) {
                Generation generation = llm.submit(GenerationRequest.builder()
                        .prompt(prompt)
                        .sampling(sampled(2).build())
                        .cacheSalt(salt)
                        .build());
                finish(llm);
                cached.add(done(generation).get(0).cachedTokens());
            }
            assertThat(cached).containsExactly(0, 0, 304);
            assertThat(llm.stats().cachedTokens()).isEqualTo(304);
        }
    }

    /** The load is over when the cache is polled next; until then it holds the blocks that have come. */
    @Test
    void whoWaitsBeginsWhenARequestThatWasLoadingIsCancelled() {
        String longer = TinyModel.prompts().get(9); // 20 blocks
        try (UnfinishedStore store = new UnfinishedStore()) {
            Tiers tiers = Tiers.builder()
                    .add(store)
                    .writtenOnFirstUse(true)
                    .loadDeadline(Duration.ofMinutes(10))
                    .build();
            try (LLM writer = builder().tiers(tiers).build()) {
                writer.submit(request(longer, sampled(1)));
                finish(writer);
            }
            GenerationRequest waiting = request(longer.substring(longer.length() / 2), sampled(4));
            try (LLM llm = builder()
                    .tiers(tiers)
                    .kvCacheMemory(ByteSize.of(23 * BLOCK_BYTES))
                    .build()) {
                Generation loading = llm.submit(request(longer, sampled(1)));
                while (llm.cache().tierStats().get(0).loaded() < 18) {
                    assertThat(llm.engine().step()).isEqualTo(Engine.Progress.TRANSFERRING);
                }
                for (int i = 0; i < 40; i++) { // a step puts some of what has come into the cache
                    llm.engine().step();
                }
                loading.cancel();
                Generation next = llm.submit(waiting);
                store.letGo();
                finish(llm);
                assertThat(done(loading).get(0).finishReason()).isEqualTo(FinishReason.CANCELLED);
                assertThat(done(next).get(0).tokenIds())
                        .isEqualTo(alone(waiting).get(0).tokenIds());
            }
        }
    }
}
