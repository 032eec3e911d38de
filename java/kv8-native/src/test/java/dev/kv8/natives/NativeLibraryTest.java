package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What the JNI library asks of the machine it runs on, and gives away of the one it was built on. */
class NativeLibraryTest {
    private static final Pattern VERSIONED = Pattern.compile("\\x00GLIBC_2\\.(\\d+)");
    private static String library = "";

    @BeforeAll
    static void read() throws IOException {
        Path file = Path.of(System.getProperty("kv8.jni.directory"), "dev/kv8/natives/abi/linux-x86_64/libjnikv8.so");
        library = new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1);
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
    void bringsItsOwnCppLibrary() {
        assertThat(library).doesNotContain("\0libstdc++.so");
    }

    @Test
    void namesNoFolderOfTheBuildingMachine() {
        assertThat(library).doesNotContain(System.getProperty("kv8.native.dist"));
    }

    @Test
    void staysSmall() {
        assertThat(library.length()).as("bytes of libjnikv8.so").isLessThan(4 << 20);
    }
}
