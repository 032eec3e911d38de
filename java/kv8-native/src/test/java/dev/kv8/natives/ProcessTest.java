package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.io.TempDir;

/** Options and failures that a process decides on once, each in a JVM of its own. */
class ProcessTest {
    @TempDir
    Path directory;

    @Test
    void forcesTheInstructionSetAndThreads() throws Exception {
        assertThat(java("-Dkv.cpu.isa=scalar", "-Dkv.cpu.threads=3").open("cpu"))
                .endsWith("scalar 3\n");
        assertThat(ChildJvm.java(Map.of("KV8_ISA", "scalar"))
                        .with("-Dkv.cpu.threads=1")
                        .withUsualCache()
                        .open("cpu"))
                .endsWith("scalar 1\n");
    }

    @Test
    void refusesUnknownOptions() throws Exception {
        assertThat(java("-Dkv.cpu.isa=mmx").open("cpu"))
                .contains("Exception: ")
                .contains("mmx")
                .contains("scalar");
        assertThat(java("-Dkv.cpu.threads=many").open("cpu"))
                .contains("IllegalArgumentException: -Dkv.cpu.threads=many is not a number of threads");
        assertThat(java("-Dkv.cpu.threads=-1").open("auto")).contains("IllegalArgumentException");
    }

    @Test
    void namesTheMissingClassifierJar() throws Exception {
        String trimmed = classPathWithout(entry -> entry.startsWith(System.getProperty("kv8.jni.directory")));
        assertThat(java().openWith(trimmed, "auto"))
                .contains("BackendUnavailableException: kv8's native library for linux-x86_64 is not on the class path")
                .contains("<classifier>linux-x86_64</classifier>")
                .contains("kv8-platform");
    }

    @Test
    void namesJavaCppWhenItIsMissing() throws Exception {
        assertThat(java().openWith(classPathWithout(entry -> entry.contains("javacpp-1")), "cpu"))
                .contains("BackendUnavailableException: kv8 finds no JavaCPP on the class path")
                .contains("org.bytedeco:javacpp");
    }

    private static String classPathWithout(Predicate<String> entries) {
        return Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(entries.negate())
                .collect(Collectors.joining(File.pathSeparator));
    }

    @Test
    void namesADamagedLibrary() throws Exception {
        Path library = directory.resolve("dev/kv8/natives/abi/linux-x86_64/libjnikv8.so");
        Files.createDirectories(library.getParent());
        Files.writeString(library, "damaged");
        assertThat(java().openWith(directory + File.pathSeparator + System.getProperty("java.class.path"), "cpu"))
                .contains("BackendUnavailableException: kv8's native library cannot be loaded")
                .contains("libjnikv8.so");
    }

    @Test
    void namesTheCacheWhenThereIsNone() throws Exception {
        // Nothing can be made in /proc, not even by root.
        assertThat(ChildJvm.java()
                        .with(
                                "-Dorg.bytedeco.javacpp.cachedir=/proc/none",
                                "-Duser.home=/proc",
                                "-Djava.io.tmpdir=/proc")
                        .openWith(withLibraryInAJar(), "cpu"))
                .contains("BackendUnavailableException: JavaCPP finds no directory")
                .contains("-Dorg.bytedeco.javacpp.cachedir=DIR");
    }

    @Test
    void namesTheMountThatForbidsExecution() throws Exception {
        Path mount = Files.createDirectory(directory.resolve("noexec"));
        String[] inNamespace = {
            "unshare",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o noexec kv8-test \"$0\" && exec \"$@\"",
            mount.toString()
        };
        assumeTrue(succeeds(inNamespace, "true"), "no permission to mount in a namespace");
        assertThat(ChildJvm.javaAfter(inNamespace)
                        .with("-Dorg.bytedeco.javacpp.cachedir=" + mount)
                        .openWith(withLibraryInAJar(), "cpu"))
                .contains("BackendUnavailableException: The cache directory " + mount)
                .contains("(tmpfs) is mounted")
                .contains("noexec")
                .contains("-Dorg.bytedeco.javacpp.cachedir=DIR");
    }

    @Test
    @EnabledForJreRange(minVersion = 24)
    void namesTheFlagWhenNativeAccessIsDenied() throws Exception {
        assertThat(java("--illegal-native-access=deny").open("cpu"))
                .contains("BackendUnavailableException: This JVM denies native access")
                .contains("--enable-native-access=ALL-UNNAMED");
        assertThat(java("--illegal-native-access=deny", "--enable-native-access=ALL-UNNAMED")
                        .open("cpu"))
                .doesNotContain("Exception")
                .doesNotContain("WARNING");
    }

    private static ChildJvm java(String... arguments) {
        return ChildJvm.java().withUsualCache().with(arguments);
    }

    /** The class path with the JNI library in a jar, so that it has to be extracted. */
    private String withLibraryInAJar() throws IOException {
        String jni = System.getProperty("kv8.jni.directory");
        Path library = Path.of(jni, "dev/kv8/natives/abi/linux-x86_64/libjnikv8.so");
        Path jar = directory.resolve("kv8-native-linux-x86_64.jar");
        try (var out = new java.util.jar.JarOutputStream(Files.newOutputStream(jar))) {
            out.putNextEntry(new java.util.jar.JarEntry("dev/kv8/natives/abi/linux-x86_64/libjnikv8.so"));
            Files.copy(library, out);
        }
        return System.getProperty("java.class.path").replace(jni, jar.toString());
    }

    private static boolean succeeds(String[] prefix, String command) throws IOException, InterruptedException {
        String[] all = Arrays.copyOf(prefix, prefix.length + 1);
        all[prefix.length] = command;
        try {
            return new ProcessBuilder(all).redirectErrorStream(true).start().waitFor() == 0;
        } catch (IOException e) {
            return false; // there is no unshare
        }
    }
}
