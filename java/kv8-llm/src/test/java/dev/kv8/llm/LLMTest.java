package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import dev.kv8.ByteSize;
import dev.kv8.DType;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.PreemptionPolicy;
import dev.kv8.Sequence;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LLMTest extends CpuTest {
    private static final int BLOCK_BYTES = 16 * 3072;
    private static final String PROMPT = "And Moses said unto the children of Israel,";

    private static LLM llm;

    @BeforeAll
    static void open() {
        llm = builder().kvCacheMemory(ByteSize.mib(16)).build();
    }

    @AfterAll
    static void close() {
        llm.close();
    }

    private static LLM.Builder builder() {
        return LLM.builder().model(TinyModel.FOLDER).backend(backend);
    }

    private static SamplingParams.Builder sampled() {
        return SamplingParams.builder().temperature(0.9).topP(0.95).seed(11).maxTokens(40);
    }

    private static List<int[]> tokens(List<Completion> completions) {
        return completions.stream().map(Completion::tokenIds).toList();
    }

    private static List<int[]> aloneOneByOne(SamplingParams params) {
        List<int[]> result = new ArrayList<>();
        for (String prompt : TinyModel.prompts()) {
            result.add(llm.generate(prompt, params).get(0).tokenIds());
        }
        return result;
    }

    @Test
    void aPromptGivesTheSameTokensAloneAndInABatch() {
        SamplingParams params = sampled().build();
        List<int[]> alone = aloneOneByOne(params);
        assertThat(tokens(llm.generate(TinyModel.prompts(), params))).containsExactlyElementsOf(alone);
        assertThat(llm.lastStats().steps()).isLessThan(45);
        assertThat(llm.lastStats().tokens())
                .isEqualTo(alone.stream().mapToInt(ids -> ids.length).sum());
        assertThat(llm.lastStats().tokensPerSecond()).isPositive();
    }

    @Test
    void smallChunksAndASmallCacheChangeNoToken() {
        SamplingParams params = sampled().build();
        List<int[]> expected = aloneOneByOne(params);
        // The tenth prompt alone grows to 22 blocks.
        try (LLM small = builder()
                .maxBatchTokens(24)
                .kvCacheMemory(ByteSize.of(23 * BLOCK_BYTES))
                .build()) {
            assertThat(tokens(small.generate(TinyModel.prompts(), params))).containsExactlyElementsOf(expected);
        }
    }

    /** Three texts that grow to four blocks each in a cache of five. */
    @Test
    void aTextThatHadToGiveItsBlocksBackIsTheSame() {
        SamplingParams params = sampled().maxTokens(45).build();
        List<String> prompts = TinyModel.prompts().subList(1, 4);
        List<int[]> expected = new ArrayList<>();
        prompts.forEach(
                prompt -> expected.add(llm.generate(prompt, params).get(0).tokenIds()));
        List<PreemptionPolicy> policies = List.of(
                PreemptionPolicy.faster(),
                PreemptionPolicy.always(PreemptionPolicy.Action.RECOMPUTE),
                PreemptionPolicy.always(PreemptionPolicy.Action.SWAP));
        for (int i = 0; i < policies.size(); i++) {
            try (LLM small = builder()
                    .kvCacheMemory(ByteSize.of(5 * BLOCK_BYTES))
                    .preemption(policies.get(i))
                    .build()) {
                assertThat(tokens(small.generate(prompts, params)))
                        .as("policy %d", i)
                        .containsExactlyElementsOf(expected);
                assertThat(small.lastStats().preemptions()).isPositive();
                assertThat(small.cache().stats().usedBlocks()).isZero();
                assertThat(small.cache().stats().openSequences()).isZero();
                assertThat(small.cache().swappedBytes()).isZero();
                if (i > 0) {
                    assertThat(small.cache().swapBytesPerSecond() > 0).isEqualTo(i == 2);
                }
            }
        }
    }

    @Test
    void aSecondIdenticalPromptIsServedFromTheCacheWithTheSameTokens() {
        String prompt = TinyModel.prompts().get(9);
        SamplingParams params = sampled().build();
        try (LLM fresh = builder().kvCacheMemory(ByteSize.mib(4)).build()) {
            Completion first = fresh.generate(prompt, params).get(0);
            Completion second = fresh.generate(prompt, params).get(0);
            assertThat(first.promptTokenIds()).hasSize(307);
            assertThat(first.cachedTokens()).isZero();
            assertThat(second.cachedTokens()).as("its full blocks").isEqualTo(304);
            assertThat(second.tokenIds()).isEqualTo(first.tokenIds());
            assertThat(fresh.cache().stats().prefixHitTokens()).isEqualTo(304);
            String longer = prompt + first.text();
            assertThat(fresh.generate(longer, params).get(0).cachedTokens()).isGreaterThanOrEqualTo(304);
        }
    }

    /** What is reused was computed in other chunks, beside other requests, and partly evicted in between. */
    @Test
    void reuseChangesNoToken() {
        SamplingParams params = sampled().build();
        List<String> prompts = new ArrayList<>(TinyModel.prompts());
        for (String prompt : TinyModel.prompts()) {
            prompts.add(prompt.substring(0, prompt.length() / 2) + " and so on");
        }
        for (String dtype : new String[] {"auto", "fp8"}) {
            List<int[]> expected = new ArrayList<>();
            try (LLM plain = builder()
                    .kvCacheDType(dtype)
                    .prefixCaching(false)
                    .kvCacheMemory(ByteSize.mib(16))
                    .build()) {
                for (String prompt : prompts) {
                    expected.add(plain.generate(prompt, params).get(0).tokenIds());
                }
                assertThat(plain.cache().stats().prefixQueryTokens()).isZero();
            }
            for (int blocks : new int[] {23, 26, 60, 400}) {
                long blockBytes = dtype.equals("fp8") ? BLOCK_BYTES / 2 : BLOCK_BYTES;
                try (LLM reusing = builder()
                        .kvCacheDType(dtype)
                        .maxBatchTokens(40)
                        .kvCacheMemory(ByteSize.of(blocks * blockBytes))
                        .build()) {
                    for (int round = 0; round < 2; round++) {
                        assertThat(tokens(reusing.generate(prompts, params)))
                                .as("%s, %d blocks, round %d", dtype, blocks, round)
                                .containsExactlyElementsOf(expected);
                    }
                    assertThat(reusing.cache().stats().prefixHitTokens())
                            .as("%s, %d blocks", dtype, blocks)
                            .isPositive();
                    if (blocks > 23) { // with 23 no prompt stays until another that begins as it does
                        assertThat(reusing.cache().stats().prefixPartialTokens())
                                .as("%s, %d blocks, in parts of blocks", dtype, blocks)
                                .isPositive();
                    }
                    assertThat(reusing.cache().stats().usedBlocks()).isZero();
                }
            }
        }
    }

    /** FP8 with scales by token, whose scales lie in the block and are copied with it. */
    @Test
    void aPromptThatLeavesAnotherInTheMiddleOfABlockReusesItsBeginning() {
        SamplingParams params = sampled().build();
        int[] whole = llm.tokenizer().encode(TinyModel.prompts().get(9));
        for (String dtype : new String[] {"auto", "fp8", "fp8_e5m2"}) {
            try (LLM reusing = builder()
                            .kvCacheDType(dtype)
                            .dynamicKvScales(!dtype.equals("auto"))
                            .kvCacheMemory(ByteSize.mib(4))
                            .build();
                    LLM plain = builder()
                            .kvCacheDType(dtype)
                            .dynamicKvScales(!dtype.equals("auto"))
                            .prefixCaching(false)
                            .kvCacheMemory(ByteSize.mib(4))
                            .build()) {
                reusing.generate(TinyModel.prompts().get(9), params);
                for (int same : new int[] {28, 107, 190, 255}) {
                    String prompt = llm.tokenizer().decode(Arrays.copyOf(whole, same)) + " But nevertheless";
                    Completion completion = reusing.generate(prompt, params).get(0);
                    assertThat(completion.tokenIds())
                            .as("%s, %d tokens in common", dtype, same)
                            .isEqualTo(plain.generate(prompt, params).get(0).tokenIds());
                    assertThat(completion.cachedTokens() % 16)
                            .as("%s, %d tokens in common", dtype, same)
                            .isNotZero();
                }
            }
        }
    }

    @Test
    void requestsWithOneNewPromptComputeItOnce() {
        SamplingParams params = sampled().maxTokens(12).build();
        String prompt = TinyModel.prompts().get(9);
        List<String> prompts = List.of(prompt, prompt, prompt + " And", prompt);
        List<int[]> expected = new ArrayList<>();
        prompts.forEach(one -> expected.add(llm.generate(one, params).get(0).tokenIds()));
        for (int chunk : new int[] {2048, 50}) {
            try (LLM fresh = builder()
                    .maxBatchTokens(chunk)
                    .kvCacheMemory(ByteSize.mib(4))
                    .build()) {
                List<Completion> completions = fresh.generate(prompts, params);
                assertThat(tokens(completions)).as("chunks of %d", chunk).containsExactlyElementsOf(expected);
                assertThat(completions)
                        .as("chunks of %d", chunk)
                        .extracting(Completion::cachedTokens)
                        .containsExactly(0, 304, 304, 304);
                assertThat(fresh.cache().stats().prefixHitTokens()).isEqualTo(3 * 304);
                assertThat(fresh.cache().stats().usedBlocks()).isZero();
            }
        }
    }

    /** Nobody runs that sequence, so the request does not wait for it. */
    @Test
    void aSequenceThatWasOpenedOutsideIsNotWaitedFor() {
        SamplingParams params = sampled().maxTokens(5).build();
        String prompt = TinyModel.prompts().get(9);
        try (LLM fresh = builder().kvCacheMemory(ByteSize.mib(4)).build();
                Sequence outside = fresh.cache().open(fresh.tokenizer().encode(prompt))) {
            assertThat(tokens(fresh.generate(List.of(prompt, prompt), params)))
                    .containsOnly(llm.generate(prompt, params).get(0).tokenIds());
            assertThat(outside.computedTokens()).isZero();
        }
    }

    /** Twenty blocks each, all but one in common, in a cache of twenty-six. */
    @Test
    void aPromptThatSharesWithARunningOneIsLetInBesideIt() {
        String prompt = TinyModel.prompts().get(9);
        List<String> prompts = List.of(prompt, prompt + " Amen.", prompt + " Selah.");
        SamplingParams params = sampled().maxTokens(24).ignoreEos(true).build();
        List<int[]> expected = new ArrayList<>();
        prompts.forEach(one -> expected.add(llm.generate(one, params).get(0).tokenIds()));
        try (LLM small = builder().kvCacheMemory(ByteSize.of(26 * BLOCK_BYTES)).build()) {
            assertThat(tokens(small.generate(prompts, params))).containsExactlyElementsOf(expected);
            assertThat(small.lastStats().steps()).as("one after the other: 72").isLessThan(40);
            assertThat(small.lastStats().preemptions()).isZero();
        }
    }

    @Test
    void whatTheScalesWereCalculatedOnIsComputedAgainAndLaterPromptsAreReused() {
        String prompt = TinyModel.prompts().get(9);
        SamplingParams params = sampled().build();
        try (LLM calculating = builder()
                .kvCacheDType("fp8")
                .calculateKvScales(true)
                .kvCacheMemory(ByteSize.mib(4))
                .build()) {
            calculating.generate(prompt, params);
            Completion second = calculating.generate(prompt, params).get(0);
            Completion third = calculating.generate(prompt, params).get(0);
            assertThat(second.cachedTokens()).isZero();
            assertThat(third.cachedTokens()).isEqualTo(304);
            assertThat(third.tokenIds()).isEqualTo(second.tokenIds());
        }
    }

    @Test
    void theSeedDecidesTheText() {
        String first = llm.generate(PROMPT, sampled().build()).get(0).text();
        assertThat(llm.generate(PROMPT, sampled().build()).get(0).text()).isEqualTo(first);
        assertThat(llm.generate(PROMPT, sampled().seed(12).build()).get(0).text())
                .isNotEqualTo(first);
        SamplingParams free = SamplingParams.builder().maxTokens(40).build();
        assertThat(llm.generate(PROMPT, free).get(0).text())
                .isNotEqualTo(llm.generate(PROMPT, free).get(0).text());
    }

    @Test
    void topKOfOneIsGreedy() {
        SamplingParams one = SamplingParams.builder().topK(1).maxTokens(20).build();
        assertThat(llm.generate(PROMPT, one).get(0).text())
                .isEqualTo(
                        llm.generate(PROMPT, SamplingParams.greedy(20)).get(0).text());
    }

    @Test
    void aStopStringEndsTheTextBeforeIt() {
        Completion whole = llm.generate("The LORD is my shepherd;", SamplingParams.greedy(64))
                .get(0);
        // Begins inside one token and ends inside another.
        String stop = "oken it.\nAn";
        assertThat(whole.text()).contains(stop);
        Completion stopped = llm.generate(
                        "The LORD is my shepherd;",
                        SamplingParams.builder()
                                .temperature(0)
                                .maxTokens(64)
                                .stop("nowhere", stop)
                                .build())
                .get(0);
        assertThat(stopped.text())
                .isEqualTo(whole.text().substring(0, whole.text().indexOf(stop)));
        assertThat(stopped.finishReason()).isEqualTo(FinishReason.STOP);
        assertThat(stopped.tokenIds()).hasSizeLessThan(64);
        assertThat(whole.finishReason()).isEqualTo(FinishReason.LENGTH);
        assertThat(whole.tokenIds()).hasSize(64);
    }

    @Test
    void aStopTokenEndsTheTextAfterIt() {
        SamplingParams params = SamplingParams.builder()
                .temperature(0)
                .maxTokens(64)
                .stopTokenIds(15)
                .build();
        Completion stopped = llm.generate("The LORD is my shepherd;", params).get(0);
        assertThat(stopped.text()).isEqualTo(" and the LORD hath spoken it.");
        assertThat(stopped.tokenIds()).containsExactly(269, 260, 342, 457, 1186, 355, 15);
        assertThat(stopped.finishReason()).isEqualTo(FinishReason.STOP);
    }

    @Test
    void theModelsEndTokenEndsTheTextUnlessIgnored(@TempDir Path folder) throws IOException {
        TinyModel.copyTo(folder);
        Path config = folder.resolve("config.json");
        Files.writeString(config, Files.readString(config).replace("\"eos_token_id\": 1", "\"eos_token_id\": [1, 15]"));
        try (LLM model = LLM.builder()
                .model(folder)
                .backend(backend)
                .kvCacheMemory(ByteSize.mib(4))
                .build()) {
            String prompt = "The LORD is my shepherd;";
            assertThat(model.generate(prompt, SamplingParams.greedy(30)).get(0).tokenIds())
                    .endsWith(15)
                    .hasSize(7);
            SamplingParams on = SamplingParams.builder()
                    .temperature(0)
                    .maxTokens(30)
                    .ignoreEos(true)
                    .build();
            assertThat(model.generate(prompt, on).get(0).tokenIds()).hasSize(30);
        }
    }

    @Test
    void aTextEndsWhereTheWholeCacheIsFull() {
        try (LLM small = builder().kvCacheMemory(ByteSize.of(2 * BLOCK_BYTES)).build()) {
            Completion full = small.generate(PROMPT, SamplingParams.greedy(64)).get(0);
            assertThat(full.promptTokenIds().length + full.tokenIds().length).isEqualTo(32);
            assertThat(full.finishReason()).isEqualTo(FinishReason.LENGTH);
        }
    }

    @Test
    void refusesAPromptThatTheCacheCanNeverHold() {
        try (LLM small = builder().kvCacheMemory(ByteSize.of(8 * BLOCK_BYTES)).build()) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> small.generate(TinyModel.prompts(), SamplingParams.greedy(4)))
                    .withMessageContaining("Now there was in the city of Shushan")
                    .withMessageContaining("has 307 tokens, but the whole KV cache holds 128 (384 KiB)")
                    .withMessageContaining("kvCacheMemory");
            assertThat(small.generate(PROMPT, SamplingParams.greedy(4))).hasSize(1);
        }
    }

    @Test
    void refusesAPromptThatTheModelWasNotMadeFor() {
        String text = TinyModel.evaluationText().substring(0, 10000);
        try (LLM large = builder().kvCacheMemory(ByteSize.mib(64)).build()) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> large.generate(text, SamplingParams.greedy(4)))
                    .withMessageContaining("the model was made for at most 2048 (max_position_embeddings)");
        }
    }

    @Test
    void refusesUseAfterClose() {
        LLM closed = builder().kvCacheMemory(ByteSize.mib(4)).build();
        closed.close();
        closed.close();
        assertThatIllegalStateException()
                .isThrownBy(() -> closed.generate(PROMPT))
                .withMessageContaining("This LLM has been closed");
    }

    @Test
    void refusesSettingsByName() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> builder().kvCacheDType("fp7"))
                .withMessageContaining("auto, fp8, fp8_e4m3, fp8_e5m2, bfloat16, float16, float32");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> LLM.builder().build())
                .withMessageContaining("No model was given");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> builder().maxBatchTokens(0))
                .withMessageContaining("maxBatchTokens is 0");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> builder()
                        .calculateKvScales(true)
                        .kvScales(KvScales.none(6))
                        .build())
                .withMessageContaining("either known or calculated or dynamic");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> builder().model(TinyModel.MODELS).build())
                .withMessageContaining("config.json is missing");
    }

    @Test
    void aFailureToLoadFreesWhatWasLoaded(@TempDir Path folder) throws IOException {
        TinyModel.copyTo(folder);
        long before = backend.info().allocatedBytes();
        assertThatIllegalArgumentException()
                .isThrownBy(() -> LLM.builder()
                        .model(folder)
                        .backend(backend)
                        .kvCacheMemory(ByteSize.of(100))
                        .build())
                .withMessageContaining("memory is 100 B");
        assertThat(backend.info().allocatedBytes()).isEqualTo(before);
        try (LLM loaded = builder().kvCacheMemory(ByteSize.mib(4)).build()) {
            loaded.generate(PROMPT, SamplingParams.greedy(2));
            assertThat(backend.info().allocatedBytes()).isGreaterThan(before + (4 << 20));
        }
        assertThat(backend.info().allocatedBytes()).isEqualTo(before);
    }

    @Test
    void warnsOnceWhenAnFp8CacheHasNoScales() {
        try (LoggedByLlm log = new LoggedByLlm();
                LLM plain = builder()
                        .kvCacheDType(KvCacheDType.FP8)
                        .kvCacheMemory(ByteSize.mib(4))
                        .build()) {
            plain.generate(PROMPT, SamplingParams.greedy(4));
            assertThat(plain.cache().scales().layer(0)).isEqualTo(KvScales.LayerScales.NONE);
            assertThat(log.messages).hasSize(1);
            assertThat(log.messages.get(0)).contains("has no KV scales");
        }
    }

    @Test
    void aCacheWithoutFp8HasNoScalesToCalculate() {
        try (LLM plain =
                builder().calculateKvScales(true).kvCacheMemory(ByteSize.mib(4)).build()) {
            plain.generate(PROMPT, SamplingParams.greedy(4));
            assertThat(plain.cache().scales().layer(0)).isEqualTo(KvScales.LayerScales.NONE);
        }
    }

    @Test
    void kAndVCanDifferAndLayersCanStayInTheModelsType() {
        try (LLM mixed = builder()
                .kvCacheDType(KvCacheDType.FP8_E5M2, KvCacheDType.AUTO)
                .skipLayers(1, 4)
                .dynamicKvScales(true)
                .kvCacheMemory(ByteSize.mib(4))
                .build()) {
            assertThat(mixed.cache().config().kDtype(0)).isEqualTo(DType.E5M2);
            assertThat(mixed.cache().config().vDtype(0)).isEqualTo(DType.BFLOAT16);
            assertThat(mixed.cache().config().kDtype(4)).isEqualTo(DType.BFLOAT16);
            assertThat(mixed.cache().scales().layer(0).k()).isEqualTo(KvScales.Side.DYNAMIC);
            assertThat(mixed.generate(PROMPT, SamplingParams.greedy(8)).get(0).tokenIds())
                    .hasSize(8);
        }
    }

    @Test
    void dynamicScalesCanBeGiven() {
        try (LLM dynamic = builder()
                .kvCacheDType("fp8_e5m2")
                .kvScales(KvScales.dynamic(6))
                .kvCacheMemory(ByteSize.mib(4))
                .build()) {
            assertThat(dynamic.generate(PROMPT, SamplingParams.greedy(8)).get(0).tokenIds())
                    .hasSize(8);
        }
    }
}
