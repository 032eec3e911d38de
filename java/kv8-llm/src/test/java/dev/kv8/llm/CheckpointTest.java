package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.kv8.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointTest {
    @TempDir
    Path folder;

    private void index(String weightMap) throws IOException {
        Files.writeString(folder.resolve("model.safetensors.index.json"), "{\"weight_map\":" + weightMap + "}");
    }

    private void shard(String file, String tensor, float value) {
        new SafetensorsWriter()
                .tensor(tensor, DType.FLOAT32, new float[] {value}, 1)
                .write(folder.resolve(file));
    }

    @Test
    void findsTensorsInTheirShards() throws IOException {
        shard("one.safetensors", "a", 1);
        shard("two.safetensors", "b", 2);
        index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}");
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            assertThat(checkpoint.names()).containsExactly("a", "b");
            assertThat(checkpoint.get("b").toFloats()).containsExactly(2);
            assertThat(checkpoint.find("c")).isEmpty();
        }
    }

    @Test
    void namesAMissingShard() throws IOException {
        shard("one.safetensors", "a", 1);
        index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Checkpoint.open(folder))
                .withMessageContaining("two.safetensors is missing");
    }

    @Test
    void namesATensorThatTheIndexPromises() throws IOException {
        shard("one.safetensors", "a", 1);
        index("{\"b\":\"one.safetensors\"}");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Checkpoint.open(folder))
                .withMessageContaining("one.safetensors holds the tensor b, but it does not");
    }

    @ParameterizedTest
    @ValueSource(strings = {"../one.safetensors", "/etc/passwd", "a/b", "..", "", "a\\\\b"})
    void readsNothingOutsideTheFolder(String shard) throws IOException {
        index("{\"a\":\"" + shard + "\"}");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Checkpoint.open(folder))
                .withMessageContaining("a shard is a file of this folder");
    }

    @Test
    void refusesABrokenIndex() throws IOException {
        Path index = folder.resolve("model.safetensors.index.json");
        Files.writeString(index, "{\"weight_map\":");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Checkpoint.open(folder))
                .withMessageContaining("is not valid JSON");
        Files.writeString(index, "{}");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Checkpoint.open(folder))
                .withMessageContaining("has no \"weight_map\"");
        index("{\"a\":5}");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Checkpoint.open(folder))
                .withMessageContaining("\"a\" is 5; it must be a string");
    }

    @Test
    void saysWhatAFolderLacks() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Checkpoint.open(folder))
                .withMessageContaining("has neither model.safetensors nor model.safetensors.index.json");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Checkpoint.open(folder.resolve("none")))
                .withMessageContaining("is not a folder");
    }
}
