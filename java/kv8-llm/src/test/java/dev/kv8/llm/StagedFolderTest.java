package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIOException;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class StagedFolderTest {
    @TempDir
    Path folder;

    private List<String> names() throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.map(file -> file.getFileName().toString()).toList();
        }
    }

    @Test
    void appearsWhole() throws IOException {
        Path source = Files.writeString(folder.resolve("source"), "copied");
        try (StagedFolder staged = StagedFolder.beside(folder.resolve("target"))) {
            staged.createFolder(Path.of("inside"));
            staged.copy(source, Path.of("inside/a"));
            staged.write(Path.of("b"), new byte[] {1, 2});
            assertThat(folder.resolve("target")).doesNotExist();
            staged.publish();
        }
        assertThat(names()).containsExactlyInAnyOrder("source", "target");
        assertThat(folder.resolve("target/inside/a")).hasContent("copied");
        assertThat(folder.resolve("target/b")).hasBinaryContent(new byte[] {1, 2});
    }

    @Test
    void leavesNothingWhenItIsNotPublished() throws IOException {
        try (StagedFolder staged = StagedFolder.beside(folder.resolve("target"))) {
            staged.createFolder(Path.of("inside/deeper"));
            staged.write(Path.of("inside/deeper/a"), new byte[9]);
            assertThatIOException().isThrownBy(() -> staged.write(Path.of("none/a"), new byte[1]));
        }
        assertThat(names()).isEmpty();
    }

    /** A child JVM that never comes to an end by itself. */
    public static final class Main {
        private Main() {}

        public static void main(String[] target) throws IOException {
            try (StagedFolder staged = StagedFolder.beside(Path.of(target[0]));
                    FileChannel out = staged.create(Path.of("endless"))) {
                staged.write(Path.of("done"), new byte[1000]);
                System.out.println("writing");
                while (true) {
                    out.position(0);
                    StagedFolder.append(ByteBuffer.allocate(1 << 16), out);
                }
            }
        }
    }

    private Process writingChild() throws IOException {
        Process child = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Main.class.getName(),
                        folder.resolve("target").toString())
                .redirectErrorStream(true)
                .start();
        BufferedReader output =
                new BufferedReader(new InputStreamReader(child.getInputStream(), StandardCharsets.UTF_8));
        assertThat(output.readLine()).isEqualTo("writing");
        return child;
    }

    @Test
    void leavesNothingWhenTheJvmIsAskedToEnd() throws Exception {
        Process child = writingChild();
        child.destroy();
        child.waitFor();
        assertThat(names()).isEmpty();
    }

    @Test
    void leavesNoHalfTargetWhenTheJvmIsKilled() throws Exception {
        Process child = writingChild();
        child.destroyForcibly();
        child.waitFor();
        assertThat(names()).singleElement().asString().startsWith(".target.partial-");
    }
}
