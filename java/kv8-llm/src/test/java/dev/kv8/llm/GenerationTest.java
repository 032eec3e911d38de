package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.ByteSize;
import dev.kv8.FileBlockStore;
import dev.kv8.HostBlockStore;
import dev.kv8.Tiers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Requests as a caller has them, on the engine's own thread. */
class GenerationTest extends CpuTest {
    private static final String PROMPT = "And Moses said unto the children of Israel,";

    private static LLM llm;

    @BeforeAll
    static void open() {
        llm = builder().build();
    }

    @AfterAll
    static void close() {
        llm.close();
    }

    private static LLM.Builder builder() {
        return LLM.builder().model(TinyModel.FOLDER).backend(backend).kvCacheMemory(ByteSize.mib(4));
    }

    private static SamplingParams.Builder sampled() {
        return SamplingParams.builder().temperature(0.9).topP(0.95).seed(11).maxTokens(40);
    }

    @Test
    void theChunksJoinedAreTheText() {
        List<Completion> whole = llm.generate(PROMPT, sampled().n(3).build());
        for (long atOnce : new long[] {1, 3, Long.MAX_VALUE}) {
            Generation generation =
                    llm.submit(GenerationRequest.of(PROMPT, sampled().n(3).build()));
            Recorder recorder = new Recorder(atOnce);
            generation.chunks().subscribe(recorder);
            List<TextChunk> chunks = recorder.all();
            List<Completion> completions = generation.completions().join();
            for (int i = 0; i < 3; i++) {
                int index = i;
                assertThat(Recorder.text(chunks, i)).isEqualTo(whole.get(i).text());
                assertThat(completions.get(i).tokenIds()).isEqualTo(whole.get(i).tokenIds());
                List<TextChunk> own =
                        chunks.stream().filter(chunk -> chunk.index() == index).toList();
                assertThat(own.subList(0, own.size() - 1)).allMatch(chunk -> chunk.finishReason() == null);
                assertThat(own.get(own.size() - 1).finishReason())
                        .isEqualTo(completions.get(i).finishReason());
            }
        }
    }

    /** The stop string begins inside one token and ends inside another. */
    @Test
    void noChunkShowsAPartOfAStopString() {
        SamplingParams params = SamplingParams.builder()
                .temperature(0)
                .maxTokens(64)
                .stop("oken it.\nAn")
                .build();
        Generation generation = llm.submit(GenerationRequest.of("The LORD is my shepherd;", params));
        Recorder recorder = new Recorder(1);
        generation.chunks().subscribe(recorder);
        assertThat(Recorder.text(recorder.all(), 0)).isEqualTo(" and the LORD hath sp");
        assertThat(generation.completions().join().get(0).text()).isEqualTo(" and the LORD hath sp");
    }

    @Test
    void callsFromSeveralThreadsAreBatchedAndChangeNoToken() {
        List<String> prompts = TinyModel.prompts();
        List<int[]> expected = new ArrayList<>();
        prompts.forEach(prompt ->
                expected.add(llm.generate(prompt, sampled().build()).get(0).tokenIds()));
        long before = llm.stats().steps();
        List<CompletableFuture<int[]>> texts = prompts.stream()
                .map(prompt -> CompletableFuture.supplyAsync(
                        () -> llm.generate(prompt, sampled().build()).get(0).tokenIds()))
                .toList();
        assertThat(texts.stream().map(CompletableFuture::join).toList()).containsExactlyElementsOf(expected);
        assertThat(llm.stats().steps()).isGreaterThan(before);
    }

    /** Submitting, reading and cancelling from eight threads at once, in a cache where some must wait. */
    @Test
    void manyThreadsAtOnceLeaveNothingBehind() {
        long seed = Long.getLong("kv8.seed", 20261126);
        try (LLM busy = builder()
                .kvCacheMemory(ByteSize.of(12 * 16 * 3072))
                .maxSequences(6)
                .build()) {
            List<CompletableFuture<Integer>> threads = new ArrayList<>();
            for (int thread = 0; thread < 8; thread++) {
                SplittableRandom random = new SplittableRandom(seed + thread);
                threads.add(
                        CompletableFuture.supplyAsync(() -> requests(busy, random), task -> new Thread(task).start()));
            }
            int ended = threads.stream().mapToInt(CompletableFuture::join).sum();
            EngineStats stats = busy.stats();
            assertThat(ended).as("seed %d", seed).isEqualTo(8 * 12);
            assertThat(stats.finishedRequests() + stats.cancelledRequests())
                    .as("seed %d: %s", seed, stats)
                    .isEqualTo(8 * 12);
            assertThat(stats.running() + stats.waiting()).isZero();
            assertThat(busy.cache().stats().usedBlocks()).isZero();
            assertThat(busy.cache().stats().openSequences()).isZero();
        }
    }

    /** Counts the requests whose chunks joined were their texts. */
    private static int requests(LLM busy, SplittableRandom random) {
        int ended = 0;
        for (int i = 0; i < 12; i++) {
            String prompt = TinyModel.prompts().get(random.nextInt(5));
            SamplingParams params = sampled()
                    .n(1 + random.nextInt(2))
                    .maxTokens(1 + random.nextInt(20))
                    .build();
            Generation generation = busy.submit(GenerationRequest.of(prompt, params));
            Recorder recorder = new Recorder(1 + random.nextInt(3));
            generation.chunks().subscribe(recorder);
            if (random.nextInt(4) == 0) {
                generation.cancel();
            }
            List<TextChunk> chunks = recorder.all();
            boolean same = true;
            for (Completion completion : generation.completions().join()) {
                same &= Recorder.text(chunks, completion.index()).equals(completion.text());
            }
            ended += same ? 1 : 0;
        }
        return ended;
    }

    @Test
    void anErrorThatNobodyExpectsEndsTheEngineAndAllRequests() {
        FailingBackend failing = new FailingBackend(backend);
        try (LLM broken = builder().backend(failing.backend()).build()) {
            failing.breakOnce("gateMul", 20);
            Generation generation =
                    broken.submit(GenerationRequest.of(PROMPT, sampled().build()));
            assertThatThrownBy(() -> generation.completions().join()).hasMessageContaining("gateMul is broken");
            assertThatIllegalStateException()
                    .isThrownBy(() -> broken.generate(PROMPT))
                    .withMessageContaining("The engine is dead")
                    .withMessageContaining("gateMul is broken");
            assertThat(broken.cache().stats().usedBlocks()).isZero();
        }
    }

    @Test
    void aThreadThatIsInterruptedGetsWhatThereIs() {
        Thread.currentThread().interrupt();
        List<Completion> completions = llm.generate(
                List.of(PROMPT, PROMPT),
                sampled().maxTokens(1500).ignoreEos(true).build());
        assertThat(Thread.interrupted()).isTrue();
        assertThat(completions).extracting(Completion::finishReason).containsOnly(FinishReason.CANCELLED);
    }

    @Test
    void drainingEndsWhatRunsAndRefusesWhatComes() throws InterruptedException {
        try (LLM draining = builder().build()) {
            Generation generation =
                    draining.submit(GenerationRequest.of(PROMPT, sampled().build()));
            assertThat(draining.drain(Duration.ofMinutes(5))).isTrue();
            assertThat(draining.stats().finishedRequests()).isEqualTo(1);
            assertThat(generation.completions().join().get(0).finishReason()).isNotEqualTo(FinishReason.CANCELLED);
            assertThatIllegalStateException()
                    .isThrownBy(() -> draining.submit(
                            GenerationRequest.of(PROMPT, sampled().build())))
                    .withMessageContaining("is draining");
        }
    }

    @Test
    void closingCancelsWhatRuns() {
        Generation generation;
        LLM closing = builder().build();
        try (closing) {
            generation = closing.submit(GenerationRequest.of(
                    PROMPT, sampled().maxTokens(1500).ignoreEos(true).build()));
        }
        assertThat(generation.completions().join().get(0).finishReason()).isEqualTo(FinishReason.CANCELLED);
        assertThatIllegalStateException()
                .isThrownBy(() ->
                        closing.submit(GenerationRequest.of(PROMPT, sampled().build())))
                .withMessageContaining("has been closed");
        generation.cancel();
        assertThat(closing.stats().cancelledRequests()).isEqualTo(1);
    }

    @Test
    void logprobsAreThoseOfTheReference() {
        TinyModel.Prompt reference = TinyModel.referencePrompts().get(0);
        Completion completion = llm.generate(
                        reference.text(),
                        SamplingParams.builder()
                                .temperature(0)
                                .maxTokens(3)
                                .logprobs(5)
                                .build())
                .get(0);
        assertThat(completion.logprobs()).hasSize(3);
        TokenLogprobs first = completion.logprobs().get(0);
        assertThat(first.top())
                .extracting(TokenLogprobs.Alternative::tokenId)
                .containsExactlyElementsOf(
                        Arrays.stream(reference.topIds()).boxed().toList());
        for (int i = 1; i < 5; i++) {
            assertThat(first.top().get(0).logprob() - first.top().get(i).logprob())
                    .isCloseTo(
                            reference.topLogits()[0] - reference.topLogits()[i],
                            within(0.15)); // the cache rounds K and V to bfloat16
        }
        assertThat(first.tokenId()).isEqualTo(first.top().get(0).tokenId());
        assertThat(first.logprob()).isEqualTo(first.top().get(0).logprob());
        double whole = 0;
        for (TokenLogprobs.Alternative one : first.top()) {
            whole += Math.exp(one.logprob());
        }
        assertThat(whole).isBetween(0.05, 1.0);
    }

    @Test
    void logprobsComeWithTheChunksAndChangeNoToken() {
        List<Completion> plain = llm.generate(PROMPT, sampled().n(2).build());
        Generation generation = llm.submit(
                GenerationRequest.of(PROMPT, sampled().n(2).logprobs(0).build()));
        Recorder recorder = new Recorder(2);
        generation.chunks().subscribe(recorder);
        List<TextChunk> chunks = recorder.all();
        for (int i = 0; i < 2; i++) {
            int index = i;
            Completion completion = generation.completions().join().get(i);
            assertThat(completion.tokenIds()).isEqualTo(plain.get(i).tokenIds());
            assertThat(chunks.stream()
                            .filter(chunk -> chunk.index() == index)
                            .flatMap(chunk -> chunk.logprobs().stream())
                            .toList())
                    .isEqualTo(completion.logprobs())
                    .hasSize(completion.tokenIds().length);
            assertThat(completion.logprobs())
                    .allMatch(one -> one.logprob() < 0 && one.top().isEmpty());
        }
    }

    @Test
    void minPOfOneIsGreedyAndPenaltiesKeepTokensFromComingBack() {
        SamplingParams one =
                SamplingParams.builder().minP(1).maxTokens(20).seed(3).build();
        assertThat(llm.generate(PROMPT, one).get(0).tokenIds())
                .isEqualTo(
                        llm.generate(PROMPT, SamplingParams.greedy(20)).get(0).tokenIds());
        int[] plain = llm.generate(PROMPT, SamplingParams.greedy(60)).get(0).tokenIds();
        assertThat(distinct(plain)).isLessThan(60);
        SamplingParams penalized = SamplingParams.builder()
                .temperature(0)
                .maxTokens(60)
                .repetitionPenalty(100)
                .build();
        int[] once = llm.generate(PROMPT, penalized).get(0).tokenIds();
        assertThat(distinct(once)).isGreaterThan(distinct(plain));
    }

    private static long distinct(int[] ids) {
        return Arrays.stream(ids).distinct().count();
    }

    @Test
    void aModelWithoutAChatTemplateRefusesMessages() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> llm.chat(
                        List.of(new ChatMessage("user", "Where is London?")),
                        sampled().build()))
                .withMessageContaining("has no chat template");
    }

    @Test
    void aConversationIsAnsweredAsTheTemplatePresentsIt(@TempDir Path folder) throws IOException {
        TinyModel.copyTo(folder);
        Files.writeString(
                folder.resolve("chat_template.jinja"),
                "{% for m in messages %}{% if m.role == 'judge' %}{{ raise_exception('no judge here') }}{% endif %}"
                        + "{{ m.role }}: {{ m.content }}\n{% endfor %}"
                        + "{% if add_generation_prompt %}And he said,{% endif %}");
        try (LLM chatting = builder().model(folder).build()) {
            Completion answer = chatting.chat(
                            List.of(new ChatMessage("king", "Who is this?")),
                            sampled().build())
                    .get(0);
            assertThat(answer.prompt()).isEqualTo("king: Who is this?\nAnd he said,");
            assertThat(answer.tokenIds())
                    .isEqualTo(llm.submit(GenerationRequest.builder()
                                    .promptTokenIds(answer.promptTokenIds())
                                    .sampling(sampled().build())
                                    .build())
                            .completions()
                            .join()
                            .get(0)
                            .tokenIds());
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> chatting.chat(
                            List.of(new ChatMessage("judge", "Guilty")),
                            sampled().build()))
                    .withMessageContaining("no judge here");
        }
    }

    @Test
    void afterARestartAFileTierGivesThePromptBackAndChangesNoToken(@TempDir Path folder)
            throws IOException, InterruptedException {
        String prompt = TinyModel.prompts().get(9);
        for (String dtype : new String[] {"auto", "fp8"}) {
            int[] expected;
            try (LLM plain = builder().kvCacheDType(dtype).build()) {
                expected = plain.generate(prompt, sampled().build()).get(0).tokenIds();
            }
            List<Integer> cached = new ArrayList<>();
            for (int start = 0; start < 2; start++) {
                try (FileBlockStore store = FileBlockStore.open(folder.resolve(dtype), ByteSize.mib(64));
                        LLM tiered = builder()
                                .kvCacheDType(dtype)
                                .tiers(Tiers.builder()
                                        .add(store)
                                        .writtenOnFirstUse(true)
                                        .loadDeadline(Duration.ofMinutes(1))
                                        .build())
                                .build()) {
                    Completion completion =
                            tiered.generate(prompt, sampled().build()).get(0);
                    assertThat(completion.tokenIds())
                            .as("%s, start %d", dtype, start)
                            .isEqualTo(expected);
                    cached.add(completion.cachedTokens());
                    assertThat(tiered.drain(Duration.ofMinutes(5))).isTrue();
                }
            }
            assertThat(cached).as(dtype).containsExactly(0, 304);
        }
    }

    @Test
    void otherWeightsFindNothingInATier(@TempDir Path folder) throws IOException, InterruptedException {
        TinyModel.copyTo(folder);
        Path weights = folder.resolve("model.safetensors");
        byte[] bytes = Files.readAllBytes(weights);
        bytes[bytes.length - 2] ^= 1; // in the last weight, the same size
        Files.write(weights, bytes);
        String prompt = TinyModel.prompts().get(9);
        try (HostBlockStore store = HostBlockStore.create(ByteSize.mib(64))) {
            List<Integer> cached = new ArrayList<>();
            for (Path model : List.of(TinyModel.FOLDER, folder, TinyModel.FOLDER)) {
                try (LLM tiered = builder()
                        .model(model)
                        .tiers(Tiers.builder()
                                .add(store)
                                .writtenOnFirstUse(true)
                                .loadDeadline(Duration.ofMinutes(1))
                                .build())
                        .build()) {
                    cached.add(tiered.generate(prompt, SamplingParams.greedy(2))
                            .get(0)
                            .cachedTokens());
                    assertThat(tiered.drain(Duration.ofMinutes(5))).isTrue();
                }
            }
            assertThat(cached).containsExactly(0, 0, 304);
        }
    }
}
