package dev.kv8.tests;

import static dev.kv8.tests.ConsumerProject.REPOSITORY;
import static dev.kv8.tests.ConsumerProject.VERSION;
import static dev.kv8.tests.ConsumerProject.dependsOn;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.jar.JarFile;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a project that knows nothing else gets from the jars: which ones, what is in them, and what runs. */
class PackagingIT {
    private static final String PLATFORM = "linux-x86_64";

    @TempDir
    Path folder;

    @Test
    void kv8_platform_brings_the_classes_their_native_code_and_javacpp_only() throws Exception {
        ConsumerProject project = ConsumerProject.resolve(folder, dependsOn("kv8-platform"));
        List<String> names = project.jars();
        assertThat(names).filteredOn(name -> name.startsWith("kv8")).hasSize(3);
        assertThat(names).filteredOn(name -> name.startsWith("javacpp")).hasSize(2);
        assertThat(names).hasSize(5);
        assertThat(names)
                .contains("kv8-" + VERSION + ".jar", "kv8-native-" + VERSION + ".jar")
                .anyMatch(name -> name.startsWith("kv8-native-" + VERSION + "-linux-"));

        Command run = project.run(consumer(), Map.of()).succeeds();
        assertThat(run.out()).isEqualTo("cpu 1.0 -2.0 448.0 0.5");
    }

    @ParameterizedTest
    @CsvSource({"cuda, KV8_CUDA_LIBRARY, libcuda, nvidia-smi", "rocm, KV8_HIP_LIBRARY, libamdhip64, rocminfo"})
    void a_backend_named_at_resolve_time_brings_its_plugin(
            String name, String variable, String driver, String driverTool) throws Exception {
        assumeBuilt(name);
        ConsumerProject project = ConsumerProject.resolve(folder, dependsOn("kv8-platform"), "-Dkv.backend=" + name);
        assertThat(project.jars()).hasSize(6).contains(pluginJar(name));

        // Even on a machine that has one, the driver is not found where there is none.
        Path nowhere = folder.resolve("nowhere").resolve(driver + ".so");
        Command named = project.run(consumer(), Map.of(variable, nowhere.toString()), "-Dkv.backend=" + name);
        assertThat(named.exitCode()).isEqualTo(1);
        assertThat(named.err())
                .contains("The " + name + " backend finds no driver: ")
                .contains(nowhere.toString())
                .contains(driverTool)
                .contains("-Dkv.backend=cpu works now.");

        Command auto =
                project.run(consumer(), Map.of(variable, nowhere.toString())).succeeds();
        assertThat(auto.out()).isEqualTo("cpu 1.0 -2.0 448.0 0.5");
        assertThat(auto.err()).contains("kv8 uses the cpu backend").contains(name + ": The " + name);
    }

    @ParameterizedTest
    @ValueSource(strings = {"cuda", "rocm"})
    void a_platform_of_one_vendor_brings_the_plugin_by_name(String name) throws Exception {
        assumeBuilt(name);
        ConsumerProject project = ConsumerProject.resolve(folder, dependsOn("kv8-platform-" + name));
        assertThat(project.jars()).hasSize(6).contains(pluginJar(name));
    }

    @Test
    void the_bom_gives_every_artifact_its_version() throws Exception {
        ConsumerProject project = ConsumerProject.resolve(folder, """
                <dependencyManagement>
                  <dependencies>
                    <dependency>
                      <groupId>dev.kv8</groupId>
                      <artifactId>kv8-bom</artifactId>
                      <version>%s</version>
                      <type>pom</type>
                      <scope>import</scope>
                    </dependency>
                  </dependencies>
                </dependencyManagement>
                <dependencies>
                  <dependency>
                    <groupId>dev.kv8</groupId>
                    <artifactId>kv8-native</artifactId>
                  </dependency>
                  <dependency>
                    <groupId>dev.kv8</groupId>
                    <artifactId>kv8-native</artifactId>
                    <classifier>linux-x86_64</classifier>
                  </dependency>
                </dependencies>
                """.formatted(VERSION));
        assertThat(project.jars())
                .contains("kv8-" + VERSION + ".jar", "kv8-native-" + VERSION + ".jar", nativeJar(PLATFORM));
    }

    @Test
    void every_native_jar_is_a_module_of_its_own_and_holds_its_library_only() throws IOException {
        Set<String> modules = new HashSet<>();
        for (String classifier : List.of("", PLATFORM, PLATFORM + "-cuda", PLATFORM + "-rocm")) {
            Path file = inRepository("kv8-native", nativeJar(classifier));
            if (!Files.exists(file)) {
                assertThat(builtPlugin(classifier.substring(PLATFORM.length() + 1)))
                        .doesNotExist();
                continue;
            }
            try (JarFile jar = new JarFile(file.toFile())) {
                String module = jar.getManifest().getMainAttributes().getValue("Automatic-Module-Name");
                assertThat(module).startsWith("dev.kv8.natives");
                assertThat(modules.add(module)).as(module).isTrue();
                if (classifier.endsWith("a") || classifier.endsWith("m")) {
                    String name = classifier.substring(PLATFORM.length() + 1);
                    assertThat(files(jar)).containsExactly("dev/kv8/natives/" + classifier + "/libkv8_" + name + ".so");
                    assertThat(module).isEqualTo("dev.kv8.natives.linux_x86_64_" + name);
                }
            }
        }
    }

    @Test
    void every_jar_says_under_which_licence_it_is() throws IOException {
        try (Stream<Path> files = Files.walk(REPOSITORY.resolve("dev/kv8"))) {
            List<Path> jars =
                    files.filter(file -> file.toString().endsWith(".jar")).toList();
            assertThat(jars).hasSizeGreaterThanOrEqualTo(7);
            for (Path file : jars) {
                try (JarFile jar = new JarFile(file.toFile())) {
                    assertThat(jar.getEntry("META-INF/LICENSE"))
                            .as("LICENSE of " + file)
                            .isNotNull();
                    assertThat(jar.getEntry("META-INF/NOTICE"))
                            .as("NOTICE of " + file)
                            .isNotNull();
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"kv8-platform, javacpp", "kv8-llm, tokenizers"})
    void a_bill_of_materials_names_what_an_artifact_brings(String artifact, String brings) throws IOException {
        Path bill = Path.of("..", "java", artifact, "target", artifact + "-" + VERSION + "-bom.json");
        assertThat(Files.readString(bill))
                .contains("CycloneDX", "pkg:maven/dev.kv8/kv8-native@" + VERSION, "/" + brings + "@", "Apache-2.0");
    }

    @Test
    void the_command_s_jar_names_its_main_class_and_asks_for_native_access() throws IOException {
        try (JarFile jar = new JarFile(
                inRepository("kv8-cli", "kv8-cli-" + VERSION + ".jar").toFile())) {
            var manifest = jar.getManifest().getMainAttributes();
            assertThat(manifest.getValue("Main-Class")).isEqualTo("dev.kv8.cli.Kv8");
            assertThat(manifest.getValue("Enable-Native-Access")).isEqualTo("ALL-UNNAMED");
            assertThat(manifest.getValue("Implementation-Version")).isEqualTo(VERSION);
        }
    }

    private static List<String> files(JarFile jar) {
        try (Stream<? extends ZipEntry> entries = jar.stream()) {
            return entries.filter(entry -> !entry.isDirectory())
                    .map(ZipEntry::getName)
                    .filter(name -> !name.startsWith("META-INF/"))
                    .toList();
        }
    }

    private static Path inRepository(String artifact, String file) {
        return REPOSITORY.resolve("dev/kv8").resolve(artifact).resolve(VERSION).resolve(file);
    }

    private static String nativeJar(String classifier) {
        return "kv8-native-" + VERSION + (classifier.isEmpty() ? "" : "-" + classifier) + ".jar";
    }

    private static String pluginJar(String name) {
        return nativeJar(PLATFORM + "-" + name);
    }

    private static Path builtPlugin(String name) {
        return Path.of(System.getProperty("kv8.native.dist"), "plugins", "libkv8_" + name + ".so");
    }

    private static void assumeBuilt(String name) {
        assumeTrue(
                Files.exists(builtPlugin(name)),
                () -> "the " + name + " plug-in was not built: its compiler is absent");
    }

    private Path consumer() throws IOException {
        return Files.writeString(folder.resolve("Consumer.java"), """
                import dev.kv8.*;
                import java.nio.*;

                public class Consumer {
                    public static void main(String[] args) {
                        try (KvBackend backend = KvBackend.open();
                                DeviceMemory floats = backend.allocateHost(16);
                                DeviceMemory codes = backend.allocateHost(4)) {
                            backend.hostView(floats, 0, 16).asFloatBuffer().put(new float[] {1, -2, 1000, 0.5f});
                            backend.cast(floats, DType.FLOAT32, codes, DType.E4M3FN, 4, 1);
                            ByteBuffer view = backend.hostView(codes, 0, 4);
                            System.out.print(backend.info().backend());
                            for (int i = 0; i < 4; i++) {
                                System.out.print(" " + Fp8Format.E4M3FN.decode(view.get(i)));
                            }
                        }
                    }
                }
                """);
    }
}
