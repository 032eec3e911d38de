package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.kv8.ByteSize;
import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.KvBackend;
import dev.kv8.KvCacheDType;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The engine over the GPU's kernels and host code, run by the emulator: greedy tokens are the reference's. One architecture of
 * each vendor; matrix products are oneDNN's, which the emulator's memory allows.
 */
class EmulatorTest {
    private static final int TOKENS = 12;

    @ParameterizedTest
    @CsvSource({"sm_90, fp8", "sm_90, auto", "gfx942, fp8"})
    void writesTheReferencesTokens(String arch, String dtype) {
        TinyModel.Prompt prompt = TinyModel.referencePrompts().get(0);
        try (KvBackend backend = emulator(arch);
                LLM llm = LLM.builder()
                        .model(TinyModel.FOLDER)
                        .backend(backend)
                        .kvCacheDType(KvCacheDType.parse(dtype))
                        .calculateKvScales(true)
                        .kvCacheMemory(ByteSize.mib(1))
                        .build()) {
            // Together with a second prompt, so that steps are mixed.
            List<Completion> completions =
                    llm.generate(List.of(prompt.text(), prompt.text()), SamplingParams.greedy(TOKENS));
            for (Completion completion : completions) {
                assertThat(completion.tokenIds()).startsWith(Arrays.copyOf(prompt.greedyIds(), TOKENS));
            }
        }
    }

    @Test
    void refusesADeviceWhoseMemoryOneDnnCannotReach() {
        try (KvBackend cpu = KvBackend.open("cpu")) {
            KvBackend device = (KvBackend) Proxy.newProxyInstance(
                    KvBackend.class.getClassLoader(),
                    new Class<?>[] {KvBackend.class},
                    (proxy, method, arguments) ->
                            method.getName().equals("info") ? unreachable(cpu.info()) : method.invoke(cpu, arguments));
            assertThatThrownBy(() -> LLM.builder()
                            .model(TinyModel.FOLDER)
                            .backend(device)
                            .build())
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("oneDNN on the CPU, which can't reach the memory of the cuda backend")
                    .hasMessageContaining("-Dkv.backend=cpu");
        }
    }

    private static DeviceInfo unreachable(DeviceInfo info) {
        Set<DType> none = Set.of();
        return new DeviceInfo("cuda", 0, "a GPU", "sm_90", 1, 1, 0, info.storable(), none, 0, false, "CUDA 13.0");
    }

    private static KvBackend emulator(String arch) {
        assumeTrue(
                Files.exists(Path.of(System.getProperty("kv8.emulator.directory"), "libkv8_emulator_" + arch + ".so")),
                "no emulator was built (-Dkv8.native.emulator=OFF)");
        System.setProperty("kv8.emulator", arch);
        try {
            return KvBackend.open("emulator");
        } finally {
            System.clearProperty("kv8.emulator");
        }
    }
}
