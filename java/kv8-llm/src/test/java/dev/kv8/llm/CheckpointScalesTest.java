package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.kv8.DType;
import dev.kv8.KvScales;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckpointScalesTest {
    private static final String K0 = "model.layers.0.self_attn.k_scale";
    private static final String V0 = "model.layers.0.self_attn.v_scale";
    private static final String K1 = "model.layers.1.self_attn.attn.k_scale";
    private static final String V1 = "model.layers.1.self_attn.attn.v_scale";

    @TempDir
    Path folder;

    @BeforeEach
    void writeConfig() throws IOException {
        Files.writeString(folder.resolve("config.json"), """
                {"architectures":["LlamaForCausalLM"],"hidden_size":128,"intermediate_size":64,"num_hidden_layers":2,
                 "num_attention_heads":2,"num_key_value_heads":2,"vocab_size":8}""");
    }

    private Optional<KvScales> read(SafetensorsWriter tensors) {
        tensors.write(folder.resolve("model.safetensors"));
        return CheckpointScales.read(folder);
    }

    private static SafetensorsWriter scales(DType dtype) {
        return new SafetensorsWriter()
                .tensor(K0, dtype, new float[] {0.5f})
                .tensor(V0, dtype, new float[] {0.25f}, 1)
                .tensor(K1, dtype, new float[] {0.5f, 2}, 2, 1, 1)
                .tensor(V1, dtype, new float[] {4, 8}, 2);
    }

    @Test
    void readsEveryShapeNameAndType() {
        for (DType dtype : new DType[] {DType.FLOAT32, DType.BFLOAT16, DType.FLOAT16}) {
            KvScales scales = read(scales(dtype)).orElseThrow();
            assertThat(scales.layer(0).k()).isEqualTo(KvScales.Side.tensor(0.5f));
            assertThat(scales.layer(0).v()).isEqualTo(KvScales.Side.tensor(0.25f));
            assertThat(scales.layer(1).k()).isEqualTo(KvScales.Side.head(0.5f, 2));
            assertThat(scales.layer(1).v()).isEqualTo(KvScales.Side.head(4, 8));
        }
    }

    @Test
    void readsScalesByChannel() {
        float[] channels = new float[128];
        for (int i = 0; i < 128; i++) {
            channels[i] = 1 + i;
        }
        SafetensorsWriter tensors = new SafetensorsWriter()
                .tensor(K0, DType.FLOAT32, channels, 2, 1, 64)
                .tensor(V0, DType.FLOAT32, new float[] {1}, 1)
                .tensor(K1, DType.FLOAT32, new float[] {1}, 1)
                .tensor(V1, DType.FLOAT32, new float[] {1}, 1);
        KvScales scales = read(tensors).orElseThrow();
        assertThat(scales.layer(0).k().granularity()).isEqualTo(KvScales.Granularity.CHANNEL);
        assertThat(scales.layer(0).k().at(1, 3, 64)).isEqualTo(1 + 64 + 3);
    }

    @Test
    void findsNoneInAPlainCheckpoint() {
        assertThat(read(new SafetensorsWriter().tensor("x", DType.FLOAT32, new float[] {1}, 1)))
                .isEmpty();
        assertThat(CheckpointScales.read(TinyModel.FOLDER)).isEmpty();
    }

    @Test
    void namesEveryFault() {
        SafetensorsWriter tensors = new SafetensorsWriter()
                .tensor(K0, DType.FLOAT32, new float[] {Float.NaN}, 1)
                .tensor(V0, DType.FLOAT32, new float[] {1, 0}, 2)
                .tensor(K1, DType.FLOAT32, new float[] {1, 2, 3}, 3);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> read(tensors))
                .withMessageContaining("k_scale of layer 0 is NaN")
                .withMessageContaining("v_scale of layer 0, value 1 is 0.0")
                .withMessageContaining(
                        "k_scale of layer 1 has shape [3]; allowed are [], [1], [2], [2, 1, 1] and [2, 1, 64]")
                .withMessageContaining("v_scale of layer 1 is missing");
        SafetensorsWriter more = new SafetensorsWriter()
                .tensor(K0, DType.FLOAT32, new float[] {-1}, 1)
                .tensor(V0, DType.FLOAT32, new float[] {Float.MIN_VALUE}, 1)
                .raw(K1, "F8_E4M3", new byte[1], 1)
                .tensor(V1, DType.FLOAT32, new float[] {Float.POSITIVE_INFINITY}, 1);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> read(more))
                .withMessageContaining("k_scale of layer 0 is -1.0, which is negative")
                .withMessageContaining("v_scale of layer 0 is 1.4E-45, which is subnormal")
                .withMessageContaining("k_scale of layer 1 is F8_E4M3; allowed are F32, BF16 and F16")
                .withMessageContaining("v_scale of layer 1 is Infinity, which is infinite");
    }
}
