package dev.kv8.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OutputFileTest {
    @TempDir
    Path folder;

    @Test
    void a_failure_leaves_what_was_there_before() throws IOException {
        Path file = Files.writeString(folder.resolve("file"), "before");
        assertThatThrownBy(() -> OutputFile.write(file, channel -> {
                    channel.write(ByteBuffer.wrap(new byte[100]));
                    throw new IOException("half way");
                }))
                .hasMessage("half way");
        assertThat(file).hasContent("before");
        assertThat(folder.toFile().list()).containsExactly("file");
    }

    @Test
    void success_replaces_it() throws IOException {
        Path file = Files.writeString(folder.resolve("file"), "before");
        OutputFile.write(file, channel -> channel.write(ByteBuffer.wrap(new byte[] {'a', 'b'})));
        assertThat(file).hasContent("ab");
    }

    @Test
    void a_device_is_written_to_and_stays() throws IOException {
        OutputFile.write(Path.of("/dev/null"), channel -> channel.write(ByteBuffer.wrap(new byte[3])));
        assertThat(Files.isRegularFile(Path.of("/dev/null"))).isFalse();
    }

    @Test
    void a_folder_and_a_missing_folder_are_refused() {
        assertThatThrownBy(() -> OutputFile.write(folder, channel -> {})).hasMessageContaining("is a folder");
        assertThatThrownBy(() -> OutputFile.write(folder.resolve("none/file"), channel -> {}))
                .isInstanceOf(NoSuchFileException.class)
                .hasMessageContaining("none");
    }
}
