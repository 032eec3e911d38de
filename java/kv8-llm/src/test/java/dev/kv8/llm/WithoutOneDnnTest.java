package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.ByteSize;
import dev.kv8.KvBackend;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** On a device nothing of oneDNN is touched: text is written in a JVM that has not got its jars. */
class WithoutOneDnnTest {
    /** Writes in the other JVM. */
    public static final class Main {
        private Main() {}

        public static void main(String[] arguments) {
            try (KvBackend backend = KvBackend.open("emulator");
                    LLM llm = LLM.builder()
                            .model(TinyModel.FOLDER)
                            .backend(backend)
                            .kvCacheMemory(ByteSize.mib(1))
                            .build()) {
                int[] ids = llm.generate("And God said,", SamplingParams.greedy(3))
                        .get(0)
                        .tokenIds();
                System.out.println("tokens: " + ids.length);
            }
        }
    }

    @Test
    void anEmulatedDeviceWrites() throws IOException, InterruptedException {
        EmulatedDevice.open("sm_90").close();
        String path = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(entry -> !entry.contains(File.separator + "dnnl" + File.separator))
                .collect(Collectors.joining(File.pathSeparator));
        assertThat(path).as("jars that were left out").isNotEqualTo(System.getProperty("java.class.path"));
        Process other = new ProcessBuilder(List.of(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        path,
                        "-Dkv8.models=" + System.getProperty("kv8.models"),
                        "-Dkv8.emulator.directory=" + System.getProperty("kv8.emulator.directory"),
                        Main.class.getName()))
                .redirectErrorStream(true)
                .start();
        String output = new String(other.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(other.waitFor()).as(output).isZero();
        assertThat(output).contains("tokens: 3");
    }
}
