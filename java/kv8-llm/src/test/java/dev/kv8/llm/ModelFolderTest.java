package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.kv8.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ModelFolderTest {
    private static final String LLAMA =
            "{'architectures':['LlamaForCausalLM'],'hidden_size':128,'intermediate_size':80,"
                    + "'num_hidden_layers':1,'vocab_size':50,'num_attention_heads':2}";

    @TempDir
    Path folder;

    private void refuses(String... messages) {
        var thrown = assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> LLM.builder().model(folder).build())
                .withMessageContaining(folder + " is not a complete model")
                .withMessageContaining("Fetch all files of the model again");
        for (String message : messages) {
            thrown.withMessageContaining(message);
        }
    }

    @Test
    void acceptsOneFileOfWeightsAndShards() {
        new RandomCheckpoint(folder.resolve("one"), LLAMA).write(DType.FLOAT32, false, 8);
        new RandomCheckpoint(folder.resolve("two"), LLAMA).write(DType.FLOAT32, true, 8);
        assertThatCode(() -> ModelFolder.requireComplete(folder.resolve("one"))).doesNotThrowAnyException();
        assertThatCode(() -> ModelFolder.requireComplete(folder.resolve("two"))).doesNotThrowAnyException();
    }

    @Test
    void namesEachMissingFile() throws IOException {
        for (String name : new String[] {"config.json", "tokenizer.json"}) {
            new RandomCheckpoint(folder, LLAMA).write(DType.FLOAT32, false, 8);
            Files.delete(folder.resolve(name));
            refuses("\n  " + name + " is missing\n");
            Files.deleteIfExists(folder.resolve("tokenizer.json"));
        }
    }

    @Test
    void namesMissingShardsOnceEach() throws IOException {
        new RandomCheckpoint(folder, LLAMA).write(DType.FLOAT32, true, 8);
        Files.delete(folder.resolve("model-00002-of-00002.safetensors"));
        refuses("is not a complete model:\n  model-00002-of-00002.safetensors is missing; model.safetensors.index.json"
                + " names it\nFetch");
    }

    @Test
    void namesAllThatAnEmptyFolderLacksAndTheWeightsThatAreNotRead() throws IOException {
        refuses("config.json is missing", "tokenizer.json is missing", "or shards and model.safetensors.index.json\n");
        Files.writeString(folder.resolve("pytorch_model.bin"), "");
        Files.writeString(folder.resolve("model.Q4_K_M.gguf"), "");
        refuses("weights are missing: model.safetensors", "; model.Q4_K_M.gguf, pytorch_model.bin can't be read\n");
    }

    @Test
    void refusesWhatIsNoFolder() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> LLM.builder().model(folder.resolve("none")).build())
                .withMessageContaining("none is not a folder; give a folder with config.json");
    }
}
