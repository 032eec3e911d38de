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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

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
        return CheckpointScales.read(folder).map(CheckpointScales.Found::scales);
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

    private void quantization(String json) throws IOException {
        String config = Files.readString(folder.resolve("config.json"));
        int end = config.lastIndexOf('}');
        Files.writeString(
                folder.resolve("config.json"),
                config.substring(0, end) + ",\"quantization_config\":" + json.replace('\'', '"') + "}");
    }

    private static String compressedTensors(String scheme, String ignore) {
        return "{'quant_method':'compressed-tensors','format':'dense','config_groups':{},'ignore':[" + ignore
                + "],'kv_cache_scheme':{'num_bits':8,'type':'float','symmetric':true,'dynamic':false" + scheme + "}}";
    }

    private static SafetensorsWriter named(String k, String v) {
        SafetensorsWriter tensors = new SafetensorsWriter();
        for (int layer = 0; layer < 2; layer++) {
            String attention = "model.layers." + layer + ".self_attn.";
            tensors.tensor(attention + k, DType.FLOAT32, new float[] {1 + layer}, 1);
            if (!v.equals(k)) {
                tensors.tensor(attention + v, DType.FLOAT32, new float[] {3 + layer}, 1);
            }
        }
        return tensors;
    }

    private void refuses(SafetensorsWriter tensors, String... messages) {
        var thrown = assertThatExceptionOfType(CheckpointException.class).isThrownBy(() -> read(tensors));
        for (String message : messages) {
            thrown.withMessageContaining(message);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "k_scale,v_scale",
        "attn.k_scale,attn.v_scale",
        "k_proj.k_scale,v_proj.v_scale",
        "qkv_proj.k_scale,qkv_proj.v_scale",
        "k_proj.output_scale,v_proj.output_scale",
        "kv_scale,kv_scale",
        "attn.kv_scale,attn.kv_scale"
    })
    void readsEveryNaming(String k, String v) {
        KvScales scales = read(named(k, v)).orElseThrow();
        for (int layer = 0; layer < 2; layer++) {
            assertThat(scales.layer(layer).k()).isEqualTo(KvScales.Side.tensor(1 + layer));
            assertThat(scales.layer(layer).v()).isEqualTo(KvScales.Side.tensor((v.equals(k) ? 1 : 3) + layer));
        }
    }

    @Test
    void takesScalesUnderTwoNamesIfTheyAgree() {
        SafetensorsWriter agreeing = named("k_scale", "v_scale")
                .tensor("model.layers.0.self_attn.k_proj.k_scale", DType.FLOAT16, new float[] {1});
        assertThat(read(agreeing)).isPresent();
        SafetensorsWriter contradicting = named("k_scale", "v_scale")
                .tensor("model.layers.1.self_attn.kv_scale", DType.FLOAT32, new float[] {2}, 1);
        refuses(
                contradicting,
                "v_scale of layer 1 is there under several names with different values",
                "model.layers.1.self_attn.v_scale=TENSOR[4.0], model.layers.1.self_attn.kv_scale=TENSOR[2.0]");
    }

    @Test
    void neverTakesOneSidesScaleForTheOther() {
        refuses(
                named("k_scale", "k_scale"),
                "v_scale of layer 0 is missing; kv8 takes no other in its place",
                "v_scale of layer 1 is missing");
        refuses(named("v_scale", "v_scale"), "k_scale of layer 0 is missing");
    }

    @Test
    void refusesScalesOfLayersThatDoNotExist() {
        refuses(
                named("k_scale", "v_scale")
                        .tensor("model.layers.2.self_attn.k_scale", DType.FLOAT32, new float[] {1}, 1),
                "model.layers.2.self_attn.k_scale is there, but the model has layers 0 to 1");
    }

    @Test
    void refusesZeroPointsUnlessTheyAreZero() {
        String name = "model.layers.0.self_attn.k_zero_point";
        assertThat(read(named("k_scale", "v_scale").raw(name, "F8_E4M3", new byte[1], 1)))
                .isPresent();
        refuses(
                named("k_scale", "v_scale").raw(name, "F8_E4M3", new byte[] {1}, 1),
                "k_scale of layer 0 comes with zero points (" + name + ")");
    }

    @Test
    void holdsTensorsToTheScheme() throws IOException {
        quantization(compressedTensors(",'strategy':'attn_head'", ""));
        refuses(
                scales(DType.FLOAT32),
                "k_scale of layer 0 has shape []; its quantization_config says scales by HEAD, for which allowed are [2],"
                        + " [2, 1, 1]",
                "v_scale of layer 0 has shape [1]");
        SafetensorsWriter byHead = new SafetensorsWriter()
                .tensor(K0, DType.FLOAT32, new float[] {1, 2}, 2, 1, 1)
                .tensor(V0, DType.FLOAT32, new float[] {1, 2}, 2)
                .tensor(K1, DType.FLOAT32, new float[] {1, 2}, 2)
                .tensor(V1, DType.FLOAT32, new float[] {3, 4}, 2, 1, 1);
        assertThat(read(byHead).orElseThrow().layer(1).v()).isEqualTo(KvScales.Side.head(3, 4));
    }

    @Test
    void refusesASchemeWithoutScales() throws IOException {
        quantization(compressedTensors(",'strategy':'tensor'", ""));
        refuses(
                new SafetensorsWriter().tensor("x", DType.FLOAT32, new float[] {1}, 1),
                "all are missing, though its quantization_config asks for static ones");
    }

    @Test
    void keepsIgnoredLayersIn16Bits() throws IOException {
        quantization(compressedTensors("", "'lm_head','re:.*layers\\\\.1\\\\.self_attn$'"));
        SafetensorsWriter first = new SafetensorsWriter()
                .tensor(K0, DType.FLOAT32, new float[] {5}, 1)
                .tensor(V0, DType.FLOAT32, new float[] {6}, 1);
        first.write(folder.resolve("model.safetensors"));
        CheckpointScales.Found found = CheckpointScales.read(folder).orElseThrow();
        assertThat(found.skippedLayers()).containsExactly(1);
        assertThat(found.skipLayers()).containsExactly(1);
        assertThat(found.scales().layer(0).v()).isEqualTo(KvScales.Side.tensor(6));
        assertThat(found.scales().layer(1)).isEqualTo(KvScales.LayerScales.NONE);
        refuses(
                first.tensor(K1, DType.FLOAT32, new float[] {1}, 1),
                K1 + " is there, but its quantization_config leaves layer 1 in 16 bits");
    }

    @Test
    void takesDynamicScalesFromTheSchemeAlone() throws IOException {
        quantization(compressedTensors("", "").replace("'dynamic':false", "'dynamic':true,'strategy':'token'"));
        KvScales scales = read(new SafetensorsWriter().tensor("x", DType.FLOAT32, new float[] {1}, 1))
                .orElseThrow();
        assertThat(scales.layer(1)).isEqualTo(KvScales.LayerScales.DYNAMIC);
        refuses(scales(DType.FLOAT32), K0 + " is there, but its kv_cache_scheme says dynamic true");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {'quant_method':'compressed-tensors','kv_cache_scheme':{'num_bits':4,'type':'float'}} | "num_bits" is 4; it must be 8
            {'quant_method':'compressed-tensors','kv_cache_scheme':{'num_bits':8,'type':'int'}} | "type" is int; it must be float
            {'quant_method':'compressed-tensors','kv_cache_scheme':{'type':'float','symmetric':false}} | "symmetric" is false
            {'quant_method':'compressed-tensors','kv_cache_scheme':{'type':'float','strategy':'tensor_group'}} | "strategy" is tensor_group
            {'quant_method':'modelopt','kv_cache_quant_algo':'NVFP4'} | "kv_cache_quant_algo" is NVFP4; it must be FP8
            {'quant_method':'quark','kv_cache_quant_config':{'*k_proj':{'output_tensors':{'dtype':'int8','qscheme':'per_tensor'}}}} | "dtype" is int8; it must be fp8_e4m3
            {'quant_method':'quark','kv_cache_quant_config':{'*k_proj':{'output_tensors':{'dtype':'fp8_e4m3','qscheme':'per_channel'}}}} | "qscheme" is per_channel; it must be per_tensor
            {'quant_method':'quark','kv_cache_quant_config':{'*k_proj':{'output_tensors':{'dtype':'fp8_e4m3','qscheme':'per_tensor','is_dynamic':true}}}} | "is_dynamic" is true; it must be false
            {'quant_method':'quark','export':{'kv_cache_group':['*k_proj']},'layer_quant_config':{}} | has nothing for export's kv_cache_group [*k_proj]
            {'quant_method':'compressed-tensors','ignore':['re:('],'kv_cache_scheme':{'type':'float'}} | "re:(" is not a valid regular expression
            {'quant_method':'compressed-tensors','ignore':['re:.*.*.*.*.*.*.*.*.*.*.*.*!'],'kv_cache_scheme':{'type':'float'}} | "re:.*.*.*.*.*.*.*.*.*.*.*.*!" takes more than 1048576 steps to match model.layers.0.self_attn
            {'quant_method':'quark','exclude':['********************!'],'kv_cache_quant_config':{'*k_proj':{'output_tensors':{'dtype':'fp8_e4m3','qscheme':'per_tensor'}}}} | takes more than
            """)
    void refusesASchemeByName(String quantization, String message) throws IOException {
        quantization(quantization);
        refuses(scales(DType.FLOAT32), "config.json, quantization_config", message);
    }

    @Test
    void readsQuarksCheckpoints() throws IOException {
        String outputs =
                "{'output_tensors':{'dtype':'fp8_e4m3','qscheme':'per_tensor','is_dynamic':false},'weight':null}";
        quantization(
                "{'quant_method':'quark','global_quant_config':{'weight':null,'input_tensors':null},"
                        + "'layer_quant_config':{'*k_proj':" + outputs + ",'*v_proj':" + outputs + "},"
                        + "'exclude':['lm_head','*layers.1.self_attn.?_proj'],'export':{'kv_cache_group':['*k_proj','*v_proj']}}");
        SafetensorsWriter tensors = new SafetensorsWriter()
                .tensor("model.layers.0.self_attn.k_proj.output_scale", DType.FLOAT32, new float[] {2})
                .tensor("model.layers.0.self_attn.v_proj.output_scale", DType.FLOAT32, new float[] {4});
        tensors.write(folder.resolve("model.safetensors"));
        CheckpointScales.Found found = CheckpointScales.read(folder).orElseThrow();
        assertThat(found.scales().layer(0).v()).isEqualTo(KvScales.Side.tensor(4));
        assertThat(found.skippedLayers()).containsExactly(1);
    }

    @Test
    void refusesQuarksQuantizedWeights() throws IOException {
        quantization("{'quant_method':'quark','global_quant_config':{'weight':{'dtype':'fp8_e4m3'}}}");
        refuses(named("k_scale", "v_scale"), "weights quantized by quark are not read");
    }

    @Test
    void readsModelOptsCheckpoints() throws IOException {
        Files.writeString(folder.resolve("hf_quant_config.json"), """
                {"producer":{"name":"modelopt"},"quantization":{"quant_algo":null,"kv_cache_quant_algo":"FP8",
                 "exclude_modules":["lm_head"]}}""");
        assertThat(read(named("k_proj.k_scale", "v_proj.v_scale"))).isPresent();
        refuses(scales(DType.FLOAT32), "k_scale of layer 1 has shape [2, 1, 1]");
        Files.writeString(
                folder.resolve("hf_quant_config.json"),
                "{\"quantization\":{\"quant_algo\":\"NVFP4\",\"kv_cache_quant_algo\":\"FP8\"}}");
        refuses(named("k_scale", "v_scale"), "weights quantized by modelopt are not read");
    }
}
