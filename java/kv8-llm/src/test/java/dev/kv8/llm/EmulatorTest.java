package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.kv8.ByteSize;
import dev.kv8.DType;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import dev.kv8.PreemptionPolicy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The engine over a GPU's kernels, host code and matrix products, run by the emulator, in memory that the processor can't reach: the
 * trained tiny model writes what it writes on the CPU.
 */
class EmulatorTest {
    private static final String ARCH = "sm_90";
    private static final int TOKENS = 8;

    @TempDir
    static Path wide;

    private static KvBackend cpu;

    @BeforeAll
    static void open() throws IOException {
        cpu = KvBackend.open("cpu");
        widen(wide);
    }

    @AfterAll
    static void close() {
        cpu.close();
    }

    /** The tiny model with its weights as float32. */
    private static void widen(Path folder) throws IOException {
        SafetensorsWriter writer = new SafetensorsWriter();
        StoredModel.read(TinyModel.FOLDER.resolve("model.safetensors"))
                .tensors()
                .forEach((name, tensor) -> {
                    double[] values = tensor.doubles();
                    float[] floats = new float[values.length];
                    for (int i = 0; i < floats.length; i++) {
                        floats[i] = (float) values[i];
                    }
                    long[] shape = Arrays.stream(
                                    tensor.shape().replaceAll("[\\[\\]]", "").split(","))
                            .mapToLong(Long::parseLong)
                            .toArray();
                    writer.tensor(name, DType.FLOAT32, floats, shape);
                });
        writer.write(folder.resolve("model.safetensors"));
        JsonObject config = JsonParser.parseString(Files.readString(TinyModel.FOLDER.resolve("config.json")))
                .getAsJsonObject();
        config.addProperty("torch_dtype", "float32");
        Files.writeString(folder.resolve("config.json"), config.toString());
        for (String name : new String[] {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
            Files.copy(TinyModel.FOLDER.resolve(name), folder.resolve(name));
        }
    }

    private static LLM.Builder builder(Path model, KvBackend backend, String dtype) {
        return LLM.builder()
                .model(model)
                .backend(backend)
                .kvCacheDType(KvCacheDType.parse(dtype))
                .kvCacheMemory(ByteSize.mib(1));
    }

    private static SamplingParams greedy(int tokens) {
        return SamplingParams.builder()
                .temperature(0)
                .maxTokens(tokens)
                .ignoreEos(true)
                .build();
    }

    private static List<String> prompts() {
        return List.of(
                TinyModel.referencePrompts().get(0).text(),
                TinyModel.referencePrompts().get(1).text());
    }

    @ParameterizedTest
    @CsvSource({"sm_90, auto, none", "sm_90, fp8, static", "sm_90, fp8, dynamic", "gfx942, fp8, static"})
    void float32WeightsWriteTheCpusTokens(String arch, String dtype, String scales) {
        SamplingParams params = greedy(TOKENS);
        try (KvBackend emulator = EmulatedDevice.open(arch);
                LLM device = scaled(builder(wide, new DistantBackend(emulator).backend(), dtype), scales);
                LLM host = scaled(builder(wide, cpu, dtype), scales)) {
            assertThat(device.model().products()).isInstanceOf(DeviceProducts.class);
            assertThat(host.model().products()).isInstanceOf(OneDnn.class);
            List<Completion> expected = host.generate(prompts(), params);
            List<Completion> written = device.generate(prompts(), params);
            for (int i = 0; i < expected.size(); i++) {
                assertThat(expected.get(i).tokenIds()).hasSize(TOKENS);
                assertThat(written.get(i).tokenIds())
                        .as("prompt %d", i)
                        .isEqualTo(expected.get(i).tokenIds());
            }
        }
    }

    private static LLM scaled(LLM.Builder builder, String scales) {
        return switch (scales) {
            case "static" -> builder.calculateKvScales(true).build();
            case "dynamic" -> builder.dynamicKvScales(true).build();
            default -> builder.build();
        };
    }

    /** bfloat16 weights: products, queries, keys and values are bfloat16 on the device, float32 on the CPU. */
    @ParameterizedTest
    @ValueSource(strings = {"auto", "fp8"})
    void bfloat16WeightsWriteTheReferencesTokens(String dtype) {
        TinyModel.Prompt prompt = TinyModel.referencePrompts().get(0);
        try (KvBackend emulator = EmulatedDevice.open(ARCH);
                LLM llm = builder(TinyModel.FOLDER, new DistantBackend(emulator).backend(), dtype)
                        .calculateKvScales(true)
                        .build()) {
            assertThat(llm.generate(prompt.text(), greedy(TOKENS)).get(0).tokenIds())
                    .isEqualTo(Arrays.copyOf(prompt.greedyIds(), TOKENS));
        }
    }

    /** What the pass that sets the scales has stored is what any later pass stores: K is rounded once, not twice. */
    @Test
    void aPromptComputedAgainIsTheFirstPasssBitForBit() {
        SamplingParams params = SamplingParams.builder()
                .temperature(0)
                .maxTokens(4)
                .ignoreEos(true)
                .logprobs(1)
                .build();
        try (KvBackend emulator = EmulatedDevice.open(ARCH);
                LLM llm = builder(TinyModel.FOLDER, new DistantBackend(emulator).backend(), "fp8")
                        .calculateKvScales(true)
                        .prefixCaching(false)
                        .build()) {
            Completion first = llm.generate(prompts().get(0), params).get(0);
            Completion again = llm.generate(prompts().get(0), params).get(0);
            assertThat(again.logprobs()).isEqualTo(first.logprobs()).hasSize(4);
        }
    }

    /** Together, streamed, after having given its blocks back, and with a prefix of its own in the cache: always the same tokens. */
    @Test
    void aTextDoesNotDependOnWhatElseRuns() {
        SamplingParams params = SamplingParams.builder()
                .temperature(0.9)
                .topP(0.95)
                .seed(11)
                .maxTokens(24)
                .ignoreEos(true)
                .build();
        List<String> prompts = prompts();
        try (KvBackend emulator = EmulatedDevice.open(ARCH)) {
            KvBackend backend = new DistantBackend(emulator).backend();
            int[][] alone = new int[prompts.size()][];
            try (LLM llm = builder(TinyModel.FOLDER, backend, "fp8").build()) {
                for (int i = 0; i < alone.length; i++) {
                    alone[i] = llm.generate(prompts.get(i), params).get(0).tokenIds();
                }
                Completion again = llm.generate(prompts.get(1), params).get(0);
                assertThat(again.cachedTokens()).as("of the prompt").isPositive();
                assertThat(again.tokenIds()).isEqualTo(alone[1]);
                Recorder streamed = new Recorder(1);
                Generation generation = llm.submit(GenerationRequest.of(prompts.get(0), params));
                generation.chunks().subscribe(streamed);
                assertThat(generation.completions().join().get(0).tokenIds()).isEqualTo(alone[0]);
                assertThat(Recorder.text(streamed.all(), 0))
                        .isEqualTo(generation.completions().join().get(0).text());
            }
            for (PreemptionPolicy.Action action : PreemptionPolicy.Action.values()) {
                try (LLM llm = builder(TinyModel.FOLDER, backend, "fp8")
                        .preemption(PreemptionPolicy.always(action))
                        .kvCacheMemory(ByteSize.of(3 * 16 * 1536))
                        .build()) {
                    List<Completion> together = llm.generate(prompts, params);
                    for (int i = 0; i < alone.length; i++) {
                        assertThat(together.get(i).tokenIds())
                                .as("%s, %d", action, i)
                                .isEqualTo(alone[i]);
                    }
                    assertThat(llm.stats().preemptions()).as("%s", action).isPositive();
                }
            }
        }
    }

    /**
     * Logits, ids and tables go to and fro between kernels without anything waiting but for the ids that are drawn. With graphs the
     * layers' kernels are one call; the others are copies of tables and what draws.
     */
    @ParameterizedTest
    @ValueSource(strings = {"true", "false"})
    void aStepWaitsOnce(String graphs) {
        System.setProperty(DecodeGraphs.PROPERTY, graphs);
        try (KvBackend emulator = EmulatedDevice.open(ARCH)) {
            DistantBackend distant = new DistantBackend(emulator);
            try (LLM llm = builder(TinyModel.FOLDER, distant.backend(), "fp8")
                    .withoutThread()
                    .build()) {
                for (String prompt : prompts()) {
                    llm.submit(GenerationRequest.of(prompt, greedy(20)));
                }
                llm.engine().step();
                llm.engine().step();
                for (int step = 0; step < 5; step++) {
                    int waits = distant.waits();
                    int calls = distant.calls();
                    int launches = distant.launches();
                    long tokens = llm.stats().generatedTokens();
                    llm.engine().step();
                    assertThat(llm.stats().generatedTokens() - tokens).isEqualTo(2);
                    assertThat(distant.waits() - waits).as("waits").isEqualTo(1);
                    int made = distant.calls() - calls;
                    if (graphs.equals("true")) {
                        assertThat(distant.launches() - launches).as("graphs").isEqualTo(1);
                        assertThat(made).as("calls").isLessThan(15);
                    } else {
                        assertThat(distant.launches()).as("graphs").isZero();
                        assertThat(made).as("kernels and copies").isGreaterThan(6 * 10);
                    }
                }
            }
        } finally {
            System.clearProperty(DecodeGraphs.PROPERTY);
        }
    }
}
