package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.ByteSize;
import dev.kv8.DeviceException;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import dev.kv8.PreemptionPolicy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Decode steps as graphs, on the emulator: they write what steps without write, and are really launched. */
class EmulatedGraphsTest {
    private static final String ARCH = "sm_90";
    private static final int BLOCK_BYTES = 16 * 1536;

    @AfterEach
    void forgetProperties() {
        System.clearProperty(DecodeGraphs.PROPERTY);
    }

    private static LLM.Builder builder(KvBackend backend, String dtype) {
        return LLM.builder()
                .model(TinyModel.FOLDER)
                .backend(backend)
                .kvCacheDType(KvCacheDType.parse(dtype))
                .kvCacheMemory(ByteSize.mib(1))
                .withoutThread();
    }

    private static GenerationRequest request(int prompt, int tokens) {
        return GenerationRequest.of(
                TinyModel.referencePrompts().get(prompt).text(),
                SamplingParams.builder()
                        .temperature(0.9)
                        .topP(0.95)
                        .seed(prompt + 40L)
                        .maxTokens(tokens)
                        .ignoreEos(true)
                        .build());
    }

    /** What a run came to. */
    private record Texts(List<List<Integer>> tokens, long launches, long preemptions) {}

    private static void finish(LLM llm) {
        int steps = 0;
        while (llm.engine().step() != Engine.Progress.IDLE) {
            assertThat(++steps).as("steps").isLessThan(2000);
        }
    }

    /** Steps that were launched as a graph, or -1 where there are none. */
    private static long launches(LLM llm) {
        DecodeGraphs graphs = llm.model().graphs();
        assertThat(llm.stats().graphLaunches()).isEqualTo(graphs == null ? 0 : graphs.launches());
        assertThat(llm.stats().graphCaptures()).isEqualTo(graphs == null ? 0 : graphs.captures());
        return graphs == null ? -1 : graphs.launches();
    }

    /** Texts come while others are written, and go one after another; the later ones find prefixes of the earlier. */
    private static Texts write(KvBackend backend, String dtype, UnaryOperator<LLM.Builder> settings) {
        try (LLM llm = settings.apply(builder(backend, dtype)).build()) {
            List<Generation> texts = new ArrayList<>();
            int[] lengths = {23, 9, 14, 30, 6, 18, 11};
            for (int i = 0; i < lengths.length; i++) {
                texts.add(llm.submit(request(i % 2, lengths[i])));
                for (int step = 0; step < 3; step++) {
                    llm.engine().step();
                }
            }
            finish(llm);
            texts.add(llm.submit(request(0, 7)));
            finish(llm);
            List<List<Integer>> tokens =
                    texts.stream().map(EmulatedGraphsTest::tokens).toList();
            return new Texts(tokens, launches(llm), llm.stats().preemptions());
        }
    }

    private static Texts writeWithout(KvBackend backend, String dtype, UnaryOperator<LLM.Builder> settings) {
        System.setProperty(DecodeGraphs.PROPERTY, "false");
        try {
            return write(backend, dtype, settings);
        } finally {
            System.clearProperty(DecodeGraphs.PROPERTY);
        }
    }

    @ParameterizedTest
    @CsvSource({"sm_90, auto, none", "sm_90, fp8, static", "sm_90, fp8, dynamic", "gfx942, fp8, static"})
    void textsAreThoseWithoutGraphs(String arch, String dtype, String scales) {
        UnaryOperator<LLM.Builder> settings = builder -> switch (scales) {
            case "static" -> builder.calculateKvScales(true);
            case "dynamic" -> builder.dynamicKvScales(true);
            default -> builder;
        };
        try (KvBackend emulator = EmulatedDevice.open(arch)) {
            KvBackend backend = new DistantBackend(emulator).backend();
            Texts expected = writeWithout(backend, dtype, settings);
            assertThat(expected.launches()).as("launches without graphs").isEqualTo(-1);
            Texts written = write(backend, dtype, settings);
            assertThat(written.tokens()).isEqualTo(expected.tokens());
            assertThat(written.launches()).as("launches").isGreaterThan(20);
        }
    }

    /** Memory moves, sequences leave the batch and come back to other blocks. */
    @ParameterizedTest
    @EnumSource(PreemptionPolicy.Action.class)
    void textsThatGaveTheirBlocksBackAreThoseWithoutGraphs(PreemptionPolicy.Action action) {
        UnaryOperator<LLM.Builder> settings = builder ->
                builder.preemption(PreemptionPolicy.always(action)).kvCacheMemory(ByteSize.of(3 * BLOCK_BYTES));
        try (KvBackend emulator = EmulatedDevice.open(ARCH)) {
            KvBackend backend = new DistantBackend(emulator).backend();
            Texts roomy = writeWithout(backend, "fp8", builder -> builder);
            Texts written = write(backend, "fp8", settings);
            assertThat(written.tokens()).isEqualTo(roomy.tokens());
            assertThat(written.preemptions()).as("preemptions").isPositive();
            assertThat(written.launches()).as("launches").isPositive();
        }
    }

    /** More numbers of texts than graphs are kept. */
    @Test
    void graphsAreLetGoWhenThereAreMany() {
        try (KvBackend emulator = EmulatedDevice.open(ARCH);
                LLM llm =
                        builder(emulator, "fp8").kvCacheMemory(ByteSize.mib(4)).build()) {
            int texts = DecodeGraphs.MOST + 3;
            for (int i = 0; i < texts; i++) {
                llm.submit(request(0, 2 * (texts - i) + 1));
            }
            finish(llm);
            assertThat(launches(llm)).isGreaterThan(DecodeGraphs.MOST);
            assertThat(llm.stats().finishedRequests()).isEqualTo(texts);
        }
    }

    @Test
    void aLaunchThatFailsEndsTheTextsOfItsStepOnly() {
        try (KvBackend emulator = EmulatedDevice.open(ARCH)) {
            List<Integer> expected;
            try (LLM llm = builder(emulator, "fp8").build()) {
                Generation alone = llm.submit(request(1, 12));
                finish(llm);
                expected = tokens(alone);
            }
            FailingBackend failing = new FailingBackend(emulator);
            try (LLM llm = builder(failing.backend(), "fp8").build()) {
                Generation first = llm.submit(request(0, 12));
                failing.failOnce("launch", 3);
                finish(llm);
                assertThatThrownBy(() -> first.completions().join()).hasRootCauseInstanceOf(DeviceException.class);
                long launches = launches(llm);
                assertThat(launches).isEqualTo(3);
                Generation second = llm.submit(request(1, 12));
                finish(llm);
                assertThat(tokens(second)).isEqualTo(expected);
                assertThat(launches(llm)).isGreaterThan(launches);
                assertThat(llm.cache().stats().usedBlocks()).isZero();
            }
        }
    }

    private static List<Integer> tokens(Generation text) {
        return Arrays.stream(text.completions().join().get(0).tokenIds())
                .boxed()
                .toList();
    }

    @Test
    void aCaptureThatFailsEndsNoTextButTheGraphs() {
        try (KvBackend emulator = EmulatedDevice.open(ARCH);
                LoggedByLlm log = new LoggedByLlm()) {
            Texts expected = writeWithout(emulator, "fp8", builder -> builder);
            FailingBackend failing = new FailingBackend(emulator);
            failing.failOnce("capture", 1);
            Texts written = write(failing.backend(), "fp8", builder -> builder);
            assertThat(written.tokens()).isEqualTo(expected.tokens());
            assertThat(written.launches())
                    .as("with the one graph that was captured")
                    .isPositive();
            assertThat(log.messages).anyMatch(message -> message.contains("can't be captured into a graph"));
        }
    }

    @Test
    void thePropertyIsTrueOrFalse() {
        System.setProperty(DecodeGraphs.PROPERTY, "on");
        try (KvBackend emulator = EmulatedDevice.open(ARCH)) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> builder(emulator, "fp8").build())
                    .withMessageContaining("-Dkv.graphs=on")
                    .withMessageContaining("give true or false");
        }
    }

    @Test
    void theCpuHasNone() {
        try (KvBackend cpu = KvBackend.open("cpu");
                LLM llm = builder(cpu, "fp8").build()) {
            assertThat(llm.model().graphs()).isNull();
        }
    }
}
