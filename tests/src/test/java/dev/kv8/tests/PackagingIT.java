package dev.kv8.tests;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.jar.JarFile;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A project of a stranger, whose one dependency is kv8-platform, resolves it from a file repository that holds this build's
 * artifacts. It has a local repository of its own, so that nothing installed on this machine can stand in; third parties'
 * artifacts come from the machine's Maven cache, read as one more file repository, so that no network is needed.
 */
class PackagingIT {
    private static final Path REPOSITORY = Path.of(System.getProperty("kv8.repository"));
    private static final String VERSION = System.getProperty("kv8.version");

    @TempDir
    static Path project;

    private static List<String> classPath;

    @BeforeAll
    static void resolve() throws IOException, InterruptedException {
        Files.writeString(project.resolve("pom.xml"), """
                <project>
                  <modelVersion>4.0.0</modelVersion>
                  <groupId>example</groupId>
                  <artifactId>consumer</artifactId>
                  <version>1</version>
                  <dependencies>
                    <dependency>
                      <groupId>dev.kv8</groupId>
                      <artifactId>kv8-platform</artifactId>
                      <version>%s</version>
                      <type>pom</type>
                    </dependency>
                  </dependencies>
                  <repositories>
                    <repository><id>kv8</id><url>%s</url></repository>
                    <repository><id>cache</id><url>%s</url></repository>
                  </repositories>
                  <pluginRepositories>
                    <pluginRepository><id>cache</id><url>%3$s</url></pluginRepository>
                  </pluginRepositories>
                </project>
                """.formatted(VERSION, REPOSITORY.toUri(), machineCache()));
        Files.writeString(project.resolve("settings.xml"), "<settings/>");
        Path classPathFile = project.resolve("classpath");
        Command.process(List.of(
                        Path.of(System.getProperty("maven.home"), "bin", "mvn").toString(),
                        "--batch-mode",
                        "--quiet",
                        "--offline",
                        "-Daether.offline.protocols=file",
                        "-Dmaven.repo.local=" + project.resolve("m2"),
                        "--settings=" + project.resolve("settings.xml"),
                        "--file=" + project.resolve("pom.xml"),
                        "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:build-classpath",
                        "-Dmdep.outputFile=" + classPathFile))
                .succeeds();
        classPath = Stream.of(Files.readString(classPathFile).strip().split(File.pathSeparator))
                .filter(file -> !file.endsWith(".pom"))
                .toList();
    }

    private static String machineCache() {
        return Path.of(System.getProperty("maven.local.repository")).toUri().toString();
    }

    @Test
    void kv8_platform_brings_the_classes_their_native_code_and_javacpp_only() {
        List<String> names = classPath.stream()
                .map(jar -> Path.of(jar).getFileName().toString())
                .toList();
        assertThat(names).filteredOn(name -> name.startsWith("kv8")).hasSize(3);
        assertThat(names).filteredOn(name -> name.startsWith("javacpp")).hasSize(2);
        assertThat(names).hasSize(5);
        assertThat(names)
                .contains("kv8-" + VERSION + ".jar", "kv8-native-" + VERSION + ".jar")
                .anyMatch(name -> name.startsWith("kv8-native-" + VERSION + "-linux-"));
    }

    @Test
    void a_stranger_opens_the_cpu_backend_and_casts() throws Exception {
        Path source = project.resolve("Consumer.java");
        Files.writeString(source, """
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
        Command run = Command.process(List.of(
                        Command.java(),
                        "--enable-native-access=ALL-UNNAMED",
                        "-Dorg.bytedeco.javacpp.cachedir=" + project.resolve("cache"),
                        "-cp",
                        String.join(File.pathSeparator, classPath),
                        source.toString()))
                .succeeds();
        assertThat(run.out()).isEqualTo("cpu 1.0 -2.0 448.0 0.5");
    }

    @Test
    void the_command_s_jar_names_its_main_class_and_asks_for_native_access() throws IOException {
        Path folder = REPOSITORY.resolve("dev/kv8/kv8-cli/" + VERSION);
        try (Stream<Path> files = Files.list(folder);
                JarFile jar = new JarFile(files.filter(file -> file.toString().endsWith(".jar"))
                        .findFirst()
                        .orElseThrow()
                        .toFile())) {
            var manifest = jar.getManifest().getMainAttributes();
            assertThat(manifest.getValue("Main-Class")).isEqualTo("dev.kv8.cli.Kv8");
            assertThat(manifest.getValue("Enable-Native-Access")).isEqualTo("ALL-UNNAMED");
            assertThat(manifest.getValue("Implementation-Version")).isEqualTo(VERSION);
        }
    }
}
