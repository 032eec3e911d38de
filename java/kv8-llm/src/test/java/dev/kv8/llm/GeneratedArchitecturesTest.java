package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.ByteSize;
import dev.kv8.DType;
import dev.kv8.HostBlockStore;
import dev.kv8.Tiers;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Text of every architecture through the door, {@link LLM}: what is drawn greedily is what {@link ReferenceModel} finds likeliest. */
class GeneratedArchitecturesTest extends CpuTest {
    private static final long SEED = Long.getLong("kv8.seed", 8);

    private static final List<String> PROMPTS = List.of(
            "In the beginning", "And it came to pass, when men began to multiply on the face of the earth", "Let");

    private static final SamplingParams GREEDY = SamplingParams.builder()
            .temperature(0)
            .maxTokens(12)
            .ignoreEos(true)
            .build();
    /** 90 tokens, and 12 drawn: far more than the windows of 6. */
    private static final GenerationRequest LONG = GenerationRequest.builder()
            .promptTokenIds(new SplittableRandom(SEED).ints(90, 0, 2048).toArray())
            .sampling(GREEDY)
            .build();

    @TempDir
    Path folder;

    private static String json(String architecture) {
        return "{'architectures':['" + architecture + "ForCausalLM'],'hidden_size':96,'intermediate_size':64,"
                + "'num_hidden_layers':3,'num_attention_heads':2,'num_key_value_heads':1,'head_dim':64,'vocab_size':2048,"
                + "'max_position_embeddings':128,'sliding_window':6,'use_sliding_window':true,'max_window_layers':2,"
                + "'sliding_window_pattern':2,'query_pre_attn_scalar':32,'torch_dtype':'float32'}";
    }

    /** Scales are calculated by a first pass that rotates keys itself; with no layer left in FP8 it must change nothing. */
    private LLM llm(boolean calculating) {
        LLM.Builder builder = LLM.builder()
                .model(folder)
                .backend(backend)
                .kvCacheMemory(ByteSize.mib(4))
                .maxBatchTokens(16);
        return calculating
                ? builder.kvCacheDType("fp8")
                        .calculateKvScales(true)
                        .skipLayers(0, 1, 2)
                        .build()
                : builder.kvCacheDType("float32").build();
    }

    private LLM.Builder inBlocksOf8(int kibibytes) {
        return LLM.builder()
                .model(folder)
                .backend(backend)
                .kvCacheDType("float32")
                .kvCacheMemory(ByteSize.of((long) kibibytes << 10))
                .blockSize(8);
    }

    @ParameterizedTest
    @ValueSource(strings = {"Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Gemma3"})
    void theLikeliestTokensAreDrawn(String architecture) {
        String json = json(architecture);
        new RandomCheckpoint(folder, json).write(DType.FLOAT32, false, SEED);
        ReferenceModel reference = new ReferenceModel(folder, json);
        for (boolean calculating : new boolean[] {false, true}) {
            try (LLM llm = llm(calculating)) {
                for (Completion completion : llm.generate(PROMPTS, GREEDY)) {
                    assertThat(completion.tokenIds()).hasSize(12);
                    check(reference, completion);
                }
            }
        }
    }

    /**
     * A memory of 20 blocks of 8 tokens for one layer each, where 102 tokens would take 39 in all: the layer that sees all takes 13 of them. A step
     * of all 64 tokens that a batch may have does not fit at first, so it is made in parts.
     */
    @Test
    void aTextThatFitsOnlyBecauseLayersForget() {
        String json = json("Gemma3");
        new RandomCheckpoint(folder, json).write(DType.FLOAT32, false, SEED);
        try (LLM llm = inBlocksOf8(80).maxBatchTokens(64).build()) {
            assertThat(llm.cache().config().layerGroups()).isEqualTo(3);
            assertThat(llm.cache().config().blocks()).isEqualTo(20);
            List<Completion> first = llm.submit(LONG).completions().join();
            assertThat(first.get(0).tokenIds()).hasSize(12);
            check(new ReferenceModel(folder, json), first.get(0));
            Completion again = llm.submit(LONG).completions().join().get(0);
            assertThat(again.tokenIds()).isEqualTo(first.get(0).tokenIds());
        }
    }

    /** 4 blocks of 8 tokens for all layers together, of which a window of 6 needs two at most and a step the rest. */
    @Test
    void aTextLongerThanTheCacheWhereAllLayersForget() {
        String json = json("Mistral");
        new RandomCheckpoint(folder, json).write(DType.FLOAT32, false, SEED);
        try (LLM llm = inBlocksOf8(48).maxBatchTokens(64).build()) {
            assertThat(llm.cache().config().layerGroups()).isEqualTo(1);
            assertThat(llm.cache().config().blocks()).isEqualTo(4);
            Generation beside = llm.submit(LONG);
            Completion first = llm.submit(LONG).completions().join().get(0);
            assertThat(first.tokenIds()).hasSize(12);
            check(new ReferenceModel(folder, json), first);
            assertThat(beside.completions().join().get(0).tokenIds()).isEqualTo(first.tokenIds());
        }
    }

    /** A tier has the blocks of each group of layers, so another engine goes on behind the prompt of the first one. */
    @Test
    void aPromptComesBackFromATierWhereLayersForget() throws InterruptedException {
        new RandomCheckpoint(folder, json("Gemma3")).write(DType.FLOAT32, false, SEED);
        List<Completion> completions = new ArrayList<>();
        try (HostBlockStore store = HostBlockStore.create(ByteSize.mib(16))) {
            for (int engine = 0; engine < 2; engine++) {
                try (LLM llm = inBlocksOf8(1024)
                        .tiers(Tiers.builder()
                                .add(store)
                                .writtenOnFirstUse(true)
                                .loadDeadline(Duration.ofMinutes(1))
                                .build())
                        .build()) {
                    assertThat(llm.cache().config().layerGroups()).isEqualTo(3);
                    completions.add(llm.submit(LONG).completions().join().get(0));
                    assertThat(llm.drain(Duration.ofMinutes(5))).isTrue();
                }
            }
        }
        assertThat(completions.get(0).cachedTokens()).isZero();
        assertThat(completions.get(1).cachedTokens()).isEqualTo(88);
        assertThat(completions.get(1).tokenIds()).isEqualTo(completions.get(0).tokenIds());
    }

    private static void check(ReferenceModel reference, Completion completion) {
        int prompt = completion.promptTokenIds().length;
        int[] all = IntStream.concat(Arrays.stream(completion.promptTokenIds()), Arrays.stream(completion.tokenIds()))
                .toArray();
        double[][] logits = reference.logits(all);
        for (int t = prompt; t < all.length; t++) {
            double[] row = logits[t - 1];
            double best = Arrays.stream(row).max().orElseThrow();
            assertThat(row[all[t]])
                    .as("seed %d, token %d of %s, beside the best", SEED, t, Arrays.toString(all))
                    .isGreaterThan(best - 1e-3);
        }
    }
}
