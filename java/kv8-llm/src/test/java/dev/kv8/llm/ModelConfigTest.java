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
import org.junit.jupiter.params.provider.CsvSource;

class ModelConfigTest {
    private static final String LLAMA =
            "'architectures':['LlamaForCausalLM'],'hidden_size':256,'intermediate_size':704,'num_hidden_layers':6,"
                    + "'num_attention_heads':4,'vocab_size':2048";

    @TempDir
    Path folder;

    private ModelConfig read(String fields) throws IOException {
        Files.writeString(folder.resolve("config.json"), ("{" + fields + "}").replace('\'', '"'));
        return ModelConfig.read(folder);
    }

    @Test
    void readsTheTinyModel() {
        ModelConfig config = ModelConfig.read(TinyModel.FOLDER);
        assertThat(config)
                .isEqualTo(new ModelConfig(
                        "LlamaForCausalLM",
                        6,
                        256,
                        704,
                        4,
                        2,
                        64,
                        2048,
                        2048,
                        1e-5f,
                        10000,
                        new RopeScaling.None(),
                        0,
                        false,
                        false,
                        false,
                        true,
                        java.util.List.of(1),
                        DType.BFLOAT16));
    }

    @Test
    void fillsInWhatHuggingFaceLeavesOut() throws IOException {
        ModelConfig config = read(LLAMA);
        assertThat(config.kvHeads()).isEqualTo(4);
        assertThat(config.headSize()).isEqualTo(64);
        assertThat(config.tiedEmbeddings()).isFalse();
        assertThat(config.ropeTheta()).isEqualTo(10000);
        assertThat(config.rmsNormEps()).isEqualTo(1e-6f);
        assertThat(config.eosTokenIds()).isEmpty();
        assertThat(config.dtype()).isEqualTo(DType.FLOAT32);
    }

    @Test
    void collectsEndTokensFromBothFiles() throws IOException {
        Files.writeString(folder.resolve("generation_config.json"), "{\"eos_token_id\":[7,9]}");
        assertThat(read(LLAMA + ",'eos_token_id':7").eosTokenIds()).containsExactly(7, 9);
    }

    @Test
    void knowsWhereFamiliesDiffer() throws IOException {
        String qwen = LLAMA.replace("Llama", "Qwen2") + ",'sliding_window':4096,'use_sliding_window':false";
        assertThat(read(qwen).qkvBias()).isTrue();
        assertThat(read(qwen).outputBias()).isFalse();
        assertThat(read(qwen).slidingWindow()).isZero();
        String mistral = LLAMA.replace("Llama", "Mistral") + ",'sliding_window':4096";
        assertThat(read(mistral).slidingWindow()).isEqualTo(4096);
        assertThat(read(mistral.replace("4096", "null")).slidingWindow()).isZero();
        ModelConfig biased = read(LLAMA + ",'attention_bias':true,'mlp_bias':true");
        assertThat(biased.qkvBias() && biased.outputBias() && biased.mlpBias()).isTrue();
    }

    @Test
    void readsRopeScalingInOldAndNewPlaces() throws IOException {
        String llama3 = "'factor':8.0,'low_freq_factor':1.0,'high_freq_factor':4.0,"
                + "'original_max_position_embeddings':8192,'rope_type':'llama3'";
        RopeScaling expected = new RopeScaling.Llama3(8, 1, 4, 8192);
        assertThat(read(LLAMA + ",'rope_scaling':{" + llama3 + "}").ropeScaling())
                .isEqualTo(expected);
        ModelConfig newer = read(LLAMA + ",'rope_parameters':{'rope_theta':500000.0," + llama3 + "}");
        assertThat(newer.ropeScaling()).isEqualTo(expected);
        assertThat(newer.ropeTheta()).isEqualTo(500000);
        assertThat(read(LLAMA + ",'rope_scaling':{'type':'linear','factor':2}").ropeScaling())
                .isEqualTo(new RopeScaling.Linear(2));
        assertThat(read(LLAMA + ",'rope_scaling':null").ropeScaling()).isEqualTo(new RopeScaling.None());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
                    'architectures':['GPT2LMHeadModel']      | names the architecture GPT2LMHeadModel; supported are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM
                    'architectures':[]                       | names the architecture (none)
                    'hidden_act':'gelu'                      | "hidden_act" is gelu; it must be silu
                    'hidden_size':null                       | has no "hidden_size"
                    'hidden_size':0                          | "hidden_size" is 0; it must be a number of at least 1
                    'hidden_size':'big'                      | "hidden_size" is big; it must be a whole number
                    'hidden_size':255                        | a multiple of num_attention_heads, 4
                    'num_key_value_heads':3                  | a divisor of num_attention_heads, 4
                    'partial_rotary_factor':0.5              | heads are rotated whole
                    'rope_theta':-1                          | "rope_theta" is -1.0; it must be more than 0
                    'rope_scaling':{'rope_type':'yarn'}      | "rope_type" is yarn; it must be default, linear or llama3
                    'rope_scaling':{'rope_type':'linear'}    | has no "factor"
                    'rope_scaling':{'type':'llama3','factor':8,'low_freq_factor':4,'high_freq_factor':4} | more than low_freq_factor, 4.0
                    'torch_dtype':'int8'                     | "torch_dtype" is int8; it must be bfloat16, float16 or float32
                    'eos_token_id':[1,'x']                   | "eos_token_id" is [1, x]; it must be a whole number or a list
                    'tie_word_embeddings':1                  | "tie_word_embeddings" is 1; it must be true or false
                    'quantization_config':{'quant_method':'gptq'} | weights quantized by gptq are not read
                    'quantization_config':{'quant_method':'compressed-tensors','config_groups':{'group_0':{}}} | weights quantized by compressed-tensors are not read
                    """)
    void refusesByName(String field, String message) {
        String key = field.substring(0, field.indexOf(':'));
        String others = LLAMA.replaceFirst(key + ":(\\[[^]]*\\]|[^,]*)", "'x':0");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> read(others + "," + field))
                .withMessageContaining("config.json")
                .withMessageContaining(message);
    }

    @Test
    void acceptsAKvScheme() throws IOException {
        String scheme = ",'quantization_config':{'quant_method':'compressed-tensors','config_groups':{},"
                + "'kv_cache_scheme':{'num_bits':8}}";
        assertThat(read(LLAMA + scheme).layers()).isEqualTo(6);
    }

    @Test
    void refusesAQwenWithWindowsInSomeLayers() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> read(LLAMA.replace("Llama", "Qwen2") + ",'use_sliding_window':true"))
                .withMessageContaining("layers with different windows are not supported");
    }

    @Test
    void refusesFilesThatAreNoConfiguration() throws IOException {
        Path file = folder.resolve("config.json");
        for (String text : new String[] {"", "[]", "{", "{\"a\":1,\"a\":2}", "{} x"}) {
            Files.writeString(file, text);
            assertThatExceptionOfType(CheckpointException.class)
                    .as(text)
                    .isThrownBy(() -> ModelConfig.read(folder))
                    .withMessageContaining(file.toString());
        }
        Files.delete(file);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> ModelConfig.read(folder))
                .withMessageContaining("config.json is missing");
    }
}
