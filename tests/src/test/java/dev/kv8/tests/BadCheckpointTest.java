package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A damaged or foreign model folder is one line that names the file and the fault, whatever is wrong in it. */
class BadCheckpointTest {
    private static final Path MODEL = Path.of("models", "tiny-llama");

    @TempDir
    Path folder;

    @BeforeEach
    void copyModel() throws IOException {
        for (String file :
                List.of("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")) {
            Files.copy(MODEL.resolve(file), folder.resolve(file));
        }
    }

    @Test
    void missing_folders_and_files() throws IOException {
        generate(folder.resolve("none")).fails("none");
        generate(folder).fails("safetensors");
        copyWeights();
        Files.delete(folder.resolve("tokenizer.json"));
        generate(folder).fails("tokenizer.json");
        Files.delete(folder.resolve("config.json"));
        generate(folder).fails("config.json");
    }

    @Test
    void unknown_architectures() throws IOException {
        copyWeights();
        edit("config.json", "LlamaForCausalLM", "MambaForCausalLM");
        generate(folder).fails("MambaForCausalLM", "LlamaForCausalLM");
    }

    @Test
    void truncated_weights() throws IOException {
        byte[] whole = Files.readAllBytes(MODEL.resolve("model.safetensors"));
        for (int length : List.of(0, 5, 8, 1000, whole.length - 1)) {
            Files.write(folder.resolve("model.safetensors"), Arrays.copyOf(whole, length));
            generate(folder).fails("model.safetensors");
        }
    }

    @Test
    void hostile_headers() throws IOException {
        writeWeights(Long.MAX_VALUE, "{}");
        generate(folder).fails("model.safetensors");
        writeWeights(-1, "{}");
        generate(folder).fails("model.safetensors");
        writeWeights("{\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,80]}}");
        generate(folder).fails("model.safetensors");
        writeWeights("{\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[8,0]}}");
        generate(folder).fails("model.safetensors");
        writeWeights("{\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]},"
                + "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[4,12]}}");
        generate(folder).fails("model.safetensors");
        writeWeights("{\"a\":");
        generate(folder).fails("model.safetensors");
    }

    @Test
    void missing_tensors() throws IOException {
        copyWeights();
        edit("config.json", "\"num_hidden_layers\": 6", "\"num_hidden_layers\": 7");
        generate(folder).fails("model.layers.6");
    }

    private static Command generate(Path model) {
        return kv8("generate", "--model", model, "--prompt", "And", "--max-tokens", 1);
    }

    private void copyWeights() throws IOException {
        Files.copy(MODEL.resolve("model.safetensors"), folder.resolve("model.safetensors"));
    }

    private void edit(String file, String from, String to) throws IOException {
        String text = Files.readString(folder.resolve(file), UTF_8);
        Files.writeString(folder.resolve(file), text.replace(from, to), UTF_8);
    }

    private void writeWeights(String header) throws IOException {
        writeWeights(header.length(), header);
    }

    private void writeWeights(long headerLength, String header) throws IOException {
        byte[] text = header.getBytes(UTF_8);
        ByteBuffer file = ByteBuffer.allocate(8 + text.length + 16).order(ByteOrder.LITTLE_ENDIAN);
        file.putLong(headerLength).put(text);
        Files.write(folder.resolve("model.safetensors"), file.array());
    }
}
