package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.MethodSource;

/** What the libraries in the jars ask of the machine they run on, and give away of the one they were built on. */
@ParameterizedClass
@MethodSource("libraries")
class NativeLibraryTest {
    private static final Pattern VERSIONED = Pattern.compile("\\x00GLIBC_2\\.(\\d+)");

    private final String library;

    NativeLibraryTest(Path file) throws IOException {
        library = new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1);
    }

    /** The JNI library, and the GPU plug-ins that were built. */
    static Stream<Path> libraries() {
        Path plugins = Path.of(System.getProperty("kv8.native.dist"), "plugins");
        return Stream.concat(
                Stream.of(Path.of(
                        System.getProperty("kv8.jni.directory"), "dev/kv8/natives/abi/linux-x86_64/libjnikv8.so")),
                Stream.of("cuda", "rocm")
                        .map(name -> plugins.resolve("libkv8_" + name + ".so"))
                        .filter(Files::exists));
    }

    @Test
    void needsNoGlibcNewerThanThatOfRhel9() {
        int newest = 0;
        for (Matcher version = VERSIONED.matcher(library); version.find(); ) {
            newest = Math.max(newest, Integer.parseInt(version.group(1)));
        }
        assertThat(newest).as("minor version of glibc").isBetween(2, 34);
    }

    @Test
    void bringsItsOwnCppLibraryAndNeedsNoVendorsToBeLoaded() {
        assertThat(library)
                .doesNotContain("\0libstdc++.so")
                .doesNotContain("\0libcudart")
                .doesNotContain("\0libhsa");
    }

    @Test
    void namesNoFolderOfTheBuildingMachine() {
        assertThat(library).doesNotContain(System.getProperty("kv8.native.dist"));
    }
}
