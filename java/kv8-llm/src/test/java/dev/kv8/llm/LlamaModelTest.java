package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.kv8.DType;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Checkpoints whose tensors do not fit their config.json. */
class LlamaModelTest extends CpuTest {
    private static final String SIZES = "'hidden_size':128,'intermediate_size':80,'num_hidden_layers':2,"
            + "'vocab_size':50,'num_attention_heads':2";
    private static final String LLAMA =
            "{'architectures':['LlamaForCausalLM']," + SIZES + ",'tie_word_embeddings':true}";

    @TempDir
    Path folder;

    private void refuses(String... messages) {
        long before = backend.info().allocatedBytes();
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            var thrown = assertThatExceptionOfType(CheckpointException.class)
                    .isThrownBy(() -> LlamaModel.load(backend, ModelConfig.read(folder), checkpoint));
            for (String message : messages) {
                thrown.withMessageContaining(message);
            }
        }
        assertThat(backend.info().allocatedBytes())
                .as("what was loaded is freed")
                .isEqualTo(before);
    }

    @Test
    void namesAllTensorsThatDoNotFit() {
        var checkpoint = new RandomCheckpoint(folder, "{'architectures':['Qwen2ForCausalLM']," + SIZES + "}");
        checkpoint.shapesByName().remove("model.layers.1.self_attn.k_proj.bias");
        checkpoint.shapesByName().remove("lm_head.weight");
        checkpoint.shapesByName().put("model.norm.weight", new long[] {64, 2});
        checkpoint.write(DType.FLOAT32, false, 8);
        refuses(
                "does not fit its config.json",
                "model.layers.1.self_attn.k_proj.bias [128] is missing",
                "lm_head.weight [50, 128] is missing",
                "model.norm.weight has shape [64, 2] instead of [128]");
    }

    @Test
    void namesTheNormsThatAnArchitectureAdds() {
        String gemma3 = "{'architectures':['Gemma3ForCausalLM'],'head_dim':64," + SIZES + "}";
        var checkpoint = new RandomCheckpoint(folder, gemma3);
        checkpoint.shapesByName().remove("model.layers.0.self_attn.q_norm.weight");
        checkpoint.shapesByName().remove("model.layers.1.self_attn.k_norm.weight");
        checkpoint.shapesByName().remove("model.layers.0.pre_feedforward_layernorm.weight");
        checkpoint.shapesByName().remove("model.layers.1.post_feedforward_layernorm.weight");
        checkpoint.write(DType.BFLOAT16, false, 8);
        refuses(
                "layers.0.self_attn.q_norm.weight [64] is missing",
                "layers.1.self_attn.k_norm.weight [64] is missing",
                "layers.0.pre_feedforward_layernorm.weight [128] is missing",
                "layers.1.post_feedforward_layernorm.weight [128] is missing");
    }

    /** All tensors in float32, but for one. */
    private void writeWithOdd(String name, String type, int bytes) {
        SafetensorsWriter file = new SafetensorsWriter();
        new RandomCheckpoint(folder, LLAMA).shapesByName().forEach((tensor, shape) -> {
            long elements = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
            boolean odd = tensor.equals(name);
            file.raw(tensor, odd ? type : "F32", new byte[(int) elements * (odd ? bytes : 4)], shape);
        });
        file.write(folder.resolve("model.safetensors"));
    }

    @Test
    void namesATensorOfATypeThatIsNotRead() {
        writeWithOdd("model.norm.weight", "F64", 8);
        refuses("model.norm.weight is F64; only F32, F16 and BF16 weights are read");
    }

    @Test
    void namesQuantizedWeightsThatTheConfigurationIsSilentAbout() {
        writeWithOdd("model.layers.1.mlp.down_proj.weight", "F8_E4M3", 1);
        refuses("layers.1.mlp.down_proj.weight is F8_E4M3; only F32, F16 and BF16 weights are read");
    }

    @Test
    void namesFusedTensorsOfDifferentTypes() {
        writeWithOdd("model.layers.1.mlp.up_proj.weight", "BF16", 2);
        refuses("layers.1.mlp.up_proj.weight is BF16 but model.layers.1.mlp.gate_proj.weight is F32");
    }
}
