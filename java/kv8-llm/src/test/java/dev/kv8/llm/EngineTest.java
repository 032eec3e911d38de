package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.kv8.ByteSize;
import dev.kv8.CachePriority;
import dev.kv8.DeviceException;
import dev.kv8.KvBackend;
import dev.kv8.PreemptionPolicy;
import dev.kv8.Tiers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The engine step by step, on the test's own thread. */
class EngineTest {
    private static final int BLOCK_BYTES = 16 * 3072;
    private static final String PROMPT = "And Moses said unto the children of Israel,";

    private static KvBackend backend;

    @BeforeAll
    static void open() {
        backend = KvBackend.open("cpu");
    }

    @AfterAll
    static void close() {
        backend.close();
    }

    private static LLM.Builder builder() {
        return builder(backend);
    }

    private static LLM.Builder builder(KvBackend on) {
        return LLM.builder()
                .model(TinyModel.FOLDER)
                .backend(on)
                .kvCacheMemory(ByteSize.mib(4))
                .withoutThread();
    }

    private static SamplingParams.Builder sampled(int tokens) {
        return SamplingParams.builder()
                .temperature(0.9)
                .topP(0.95)
                .seed(11)
                .maxTokens(tokens)
                .ignoreEos(true);
    }

    private static GenerationRequest request(String prompt, SamplingParams.Builder params) {
        return GenerationRequest.of(prompt, params.build());
    }

    private static void finish(LLM llm) {
        int steps = 0;
        Engine.Progress progress;
        while ((progress = llm.engine().step()) != Engine.Progress.IDLE) {
            assertThat(++steps).as("steps").isLessThan(5000);
            if (progress == Engine.Progress.TRANSFERRING) {
                LockSupport.parkNanos(1_000_000);
            }
        }
    }

    private static List<Completion> done(Generation generation) {
        return generation.completions().join();
    }

    private static List<Completion> alone(GenerationRequest request) {
        try (LLM llm = builder().build()) {
            Generation generation = llm.submit(request);
            finish(llm);
            return done(generation);
        }
    }

    private static void assertAllGivenBack(LLM llm) {
        assertThat(llm.cache().stats().usedBlocks()).isZero();
        assertThat(llm.cache().stats().openSequences()).isZero();
        assertThat(llm.cache().swappedBytes()).isZero();
        assertThat(llm.stats().running()).isZero();
        assertThat(llm.stats().waiting()).isZero();
    }

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
    void refusesWhatIsTooMuch() {
        try (LLM llm = builder().maxWaiting(2).maxSequences(3).build()) {
            llm.submit(request(PROMPT, sampled(2)));
            llm.submit(request(PROMPT, sampled(2)));
            assertThatExceptionOfType(TooManyRequestsException.class)
                    .isThrownBy(() -> llm.submit(request(PROMPT, sampled(2))))
                    .withMessageContaining("2 requests wait, and at most 2 may (maxWaiting)");
            assertThat(llm.stats().waiting()).isEqualTo(2);
            llm.engine().step();
            llm.submit(request(PROMPT, sampled(2)));
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(request(PROMPT, sampled(2).n(4))))
                    .withMessageContaining("n is 4, but at most 3 texts are written at once (maxSequences");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(GenerationRequest.builder()
                            .promptTokenIds(5, 100_000)
                            .build()))
                    .withMessageContaining("Token 1 of the prompt is 100000; the model has tokens 0 to");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(GenerationRequest.builder()
                            .promptTokenIds(new int[2049])
                            .build()))
                    .withMessageContaining("2049 tokens");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(
                            GenerationRequest.builder().promptTokenIds().build()))
                    .withMessageContaining("has no tokens");
            finish(llm);
        }
    }

    @Test
    void refusesARequestWithoutOneClearPrompt() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> GenerationRequest.builder().build())
                .withMessageContaining("There is no prompt");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> GenerationRequest.builder()
                        .prompt("In")
                        .messages(List.of(new ChatMessage("user", "In")))
                        .build())
                .withMessageContaining("more than one prompt");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> GenerationRequest.builder().timeout(Duration.ZERO))
                .withMessageContaining("The timeout is PT0S");
    }

    @Test
    void theLongestTextIsTheModelsOrTheCaches() {
        try (LLM llm = builder().kvCacheMemory(ByteSize.of(8 * BLOCK_BYTES)).build()) {
            assertThat(llm.longestSequence()).isEqualTo(8 * 16);
        }
        try (LLM llm = builder().kvCacheMemory(ByteSize.mib(16)).build()) {
            assertThat(llm.longestSequence()).isEqualTo(2048);
        }
    }

    @Test
    void tokenIdsAreAPromptToo() {
        try (LLM llm = builder().build()) {
            int[] ids = llm.tokenizer().encode(PROMPT);
            Generation given = llm.submit(GenerationRequest.builder()
                    .promptTokenIds(ids)
                    .sampling(sampled(10).build())
                    .build());
            finish(llm);
            Completion text = alone(request(PROMPT, sampled(10))).get(0);
            assertThat(given.promptTokens()).isEqualTo(ids.length);
            assertThat(done(given).get(0).tokenIds()).isEqualTo(text.tokenIds());
            assertThat(done(given).get(0).prompt()).isEqualTo(PROMPT);
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

    @Test
    void aStepThatFailsEndsItsRequestsAndTheOthersGoOn() {
        for (String kernel : new String[] {"sample", "attend", "embedding"}) {
            FailingBackend failing = new FailingBackend(backend);
            try (LLM llm = builder(failing.backend()).maxSequences(2).build()) {
                Generation first = llm.submit(request(PROMPT, sampled(20)));
                Generation second = llm.submit(request(TinyModel.prompts().get(2), sampled(20)));
                Generation third = llm.submit(request(PROMPT, sampled(20)));
                Recorder recorder = new Recorder(Long.MAX_VALUE);
                first.chunks().subscribe(recorder);
                failing.failOnce(kernel, kernel.equals("attend") ? 6 * 4 + 2 : 4);
                finish(llm);
                for (Generation generation : List.of(first, second)) {
                    assertThatThrownBy(() -> done(generation))
                            .as(kernel)
                            .hasCauseInstanceOf(DeviceException.class)
                            .hasMessageContaining(kernel + " has failed");
                }
                assertThatThrownBy(recorder::all).hasMessageContaining(kernel + " has failed");
                assertThat(done(third).get(0).tokenIds())
                        .as(kernel)
                        .isEqualTo(alone(request(PROMPT, sampled(20))).get(0).tokenIds());
                assertThat(llm.stats().failedRequests()).isEqualTo(2);
                assertThat(llm.stats().finishedRequests()).isEqualTo(1);
                assertAllGivenBack(llm);
            }
        }
    }

    @Test
    void whatOneRequestAsksForFailsNoOtherOfItsStep() {
        GenerationRequest other =
                request(PROMPT, SamplingParams.builder().temperature(0).maxTokens(8));
        int[] expected = alone(other).get(0).tokenIds();
        for (SamplingParams.Builder extreme : List.of(
                sampled(8).topP(1e-50),
                sampled(8).topP(Float.MIN_VALUE),
                sampled(8).temperature(1e-50),
                sampled(8).minP(Double.MIN_VALUE),
                sampled(8).repetitionPenalty(1e-39),
                sampled(8).repetitionPenalty(Double.MIN_VALUE).temperature(0))) {
            try (LLM llm = builder().build()) {
                Generation odd = llm.submit(request("In the beginning God created", extreme));
                Generation plain = llm.submit(other);
                finish(llm);
                assertThat(done(plain).get(0).tokenIds()).isEqualTo(expected);
                assertThat(done(odd).get(0).tokenIds()).hasSize(8);
                assertThat(llm.stats().failedRequests()).isZero();
            }
        }
    }

    @Test
    void aShareOfProbabilityThatIsNoFloatKeepsTheMostProbableToken() {
        assertThat(alone(request(PROMPT, sampled(8).topP(1e-50))).get(0).tokenIds())
                .isEqualTo(
                        alone(request(PROMPT, sampled(8).temperature(0))).get(0).tokenIds());
    }

    @Test
    void logitsThatAreNoNumbersFailTheRequestThatHasThem() {
        for (int row = 0; row < 3; row++) {
            FailingBackend failing = new FailingBackend(backend);
            try (LLM llm = builder(failing.backend()).build()) {
                List<GenerationRequest> asked = List.of(
                        request(PROMPT, sampled(8).logprobs(1)),
                        request("In the beginning God created", sampled(8)),
                        request(PROMPT, sampled(8).seed(12).repetitionPenalty(1.5)));
                List<Generation> all = asked.stream().map(llm::submit).toList();
                llm.engine().step();
                llm.engine().step();
                failing.poison(row);
                finish(llm);
                for (int i = 0; i < 3; i++) {
                    Generation one = all.get(i);
                    if (i == row) {
                        assertThatThrownBy(() -> done(one))
                                .hasCauseInstanceOf(IllegalStateException.class)
                                .hasMessageContaining("are not numbers");
                    } else {
                        assertThat(done(one).get(0).tokenIds())
                                .isEqualTo(alone(asked.get(i)).get(0).tokenIds());
                    }
                }
                assertThat(llm.stats().failedRequests()).isEqualTo(1);
                assertAllGivenBack(llm);
            }
        }
    }

    /** As of a tokenizer that got a token for padding after the model was made. */
    @Test
    void aTextOfTokensThatTheModelLacksIsRefused(@TempDir Path folder) throws IOException {
        try (Stream<Path> files = Files.list(TinyModel.FOLDER)) {
            for (Path file : files.toList()) {
                Files.copy(file, folder.resolve(file.getFileName()));
            }
        }
        Path tokenizer = folder.resolve("tokenizer.json");
        JsonObject json = JsonParser.parseString(Files.readString(tokenizer)).getAsJsonObject();
        JsonObject added =
                json.getAsJsonArray("added_tokens").get(0).getAsJsonObject().deepCopy();
        int vocabulary = ModelConfig.read(folder).vocabularySize();
        added.addProperty("id", vocabulary);
        added.addProperty("content", "[PAD]");
        json.getAsJsonArray("added_tokens").add(added);
        Files.delete(tokenizer);
        Files.writeString(tokenizer, json.toString());
        try (LLM llm = builder().model(folder).build()) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(request("In the[PAD] beginning", sampled(2))))
                    .withMessageContaining("is " + vocabulary
                            + ", \"[PAD]\" to the tokenizer; the model has tokens 0 to " + (vocabulary - 1));
        }
    }

    @Test
    void anEngineWhoseDeviceIsLostSaysSo() {
        FailingBackend failing = new FailingBackend(backend);
        try (LLM llm = builder(failing.backend()).maxSequences(1).build()) {
            Generation first = llm.submit(request(PROMPT, sampled(20)));
            Generation waiting = llm.submit(request(PROMPT, sampled(20)));
            llm.engine().step();
            failing.lose();
            llm.engine().step();
            for (Generation generation : List.of(first, waiting)) {
                assertThatThrownBy(() -> done(generation)).hasCauseInstanceOf(DeviceException.class);
            }
            assertThatIllegalStateException()
                    .isThrownBy(() -> llm.submit(request(PROMPT, sampled(2))))
                    .withMessageContaining("The engine is dead")
                    .withMessageContaining("the device is lost");
            assertThatThrownBy(llm::close).isInstanceOf(DeviceException.class);
        }
    }

    /** A request of four texts, of which some are in host memory, and one that waits. */
    private static List<Generation> swapped(LLM llm) {
        List<Generation> generations = List.of(
                llm.submit(request(TinyModel.prompts().get(9), sampled(40).n(4))),
                llm.submit(request(PROMPT, sampled(200))));
        while (llm.cache().swappedBytes() == 0) {
            assertThat(llm.engine().step()).isEqualTo(Engine.Progress.ADVANCED);
        }
        return generations;
    }

    private static LLM swapping(FailingBackend failing) {
        return builder(failing.backend())
                .kvCacheMemory(ByteSize.of(26 * BLOCK_BYTES))
                .preemption(PreemptionPolicy.always(PreemptionPolicy.Action.SWAP))
                .build();
    }

    @Test
    void requestsInHostMemoryEndWhenTheDeviceIsLost() {
        FailingBackend failing = new FailingBackend(backend);
        try (LLM llm = swapping(failing)) {
            List<Generation> generations = swapped(llm);
            failing.lose();
            failing.failOnce("attend", 0);
            llm.engine().step();
            for (Generation generation : generations) {
                assertThat(generation.completions())
                        .failsWithin(Duration.ofSeconds(60))
                        .withThrowableThat()
                        .withCauseInstanceOf(DeviceException.class);
            }
            assertThat(llm.stats().failedRequests()).isEqualTo(2);
            assertThat(llm.stats().waiting()).isZero();
            assertThat(llm.isAccepting()).isFalse();
            assertThatThrownBy(llm::close).isInstanceOf(DeviceException.class);
        }
    }

    @Test
    void closingEndsRequestsInHostMemoryOfADeviceThatIsLost() {
        FailingBackend failing = new FailingBackend(backend);
        try (LLM llm = swapping(failing)) {
            List<Generation> generations = swapped(llm);
            failing.lose();
            assertThatThrownBy(llm::close).isInstanceOf(DeviceException.class);
            assertThat(generations)
                    .allSatisfy(one -> assertThat(one.completions().handle((done, error) -> true))
                            .succeedsWithin(Duration.ofSeconds(60)));
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

    @Test
    void aCacheThatIsTakenElsewhereFailsTheRequestThatFindsNoRoom() {
        try (LLM llm = builder().kvCacheMemory(ByteSize.of(4 * BLOCK_BYTES)).build();
                var outside = llm.cache().open(new int[50]);
                var batch = llm.cache().batch()) {
            batch.add(outside);
            Generation generation = llm.submit(request(PROMPT, sampled(2)));
            finish(llm);
            assertThatThrownBy(() -> done(generation)).hasMessageContaining("opened on this cache elsewhere");
        }
    }
}
