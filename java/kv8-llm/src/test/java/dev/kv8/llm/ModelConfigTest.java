package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.kv8.Activation;
import dev.kv8.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
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

    private static ModelConfig.Rope rope(ModelConfig config) {
        return config.layerConfigs().get(0).rope();
    }

    private static List<Integer> windows(ModelConfig config) {
        return config.layerConfigs().stream()
                .map(ModelConfig.Layer::slidingWindow)
                .toList();
    }

    @Test
    void readsTheTinyModel() {
        ModelConfig config = ModelConfig.read(TinyModel.FOLDER);
        var layer = new ModelConfig.Layer(0, new ModelConfig.Rope(10000, new RopeScaling.None()));
        assertThat(config)
                .isEqualTo(new ModelConfig(
                        "LlamaForCausalLM",
                        Collections.nCopies(6, layer),
                        256,
                        4,
                        2,
                        64,
                        2048,
                        2048,
                        new ModelConfig.Norm(1e-5f, false, false),
                        new ModelConfig.Attention(0.125f, 0, false, false, false),
                        new ModelConfig.Mlp(704, Activation.SILU, false),
                        1,
                        0,
                        true,
                        List.of(1),
                        DType.BFLOAT16));
    }

    @Test
    void fillsInWhatHuggingFaceLeavesOut() throws IOException {
        ModelConfig config = read(LLAMA);
        assertThat(config.kvHeads()).isEqualTo(4);
        assertThat(config.headSize()).isEqualTo(64);
        assertThat(config.tiedEmbeddings()).isFalse();
        assertThat(rope(config)).isEqualTo(new ModelConfig.Rope(10000, new RopeScaling.None()));
        assertThat(config.norm().eps()).isEqualTo(1e-6f);
        assertThat(config.eosTokenIds()).isEmpty();
        assertThat(config.dtype()).isEqualTo(DType.FLOAT32);
    }

    @Test
    void collectsEndTokensFromBothFiles() throws IOException {
        Files.writeString(folder.resolve("generation_config.json"), "{\"eos_token_id\":[7,9]}");
        assertThat(read(LLAMA + ",'eos_token_id':7").eosTokenIds()).containsExactly(7, 9);
    }

    @Test
    void knowsWhichProjectionsHaveBiases() throws IOException {
        ModelConfig qwen2 = read(LLAMA.replace("Llama", "Qwen2"));
        assertThat(qwen2.attention().qkvBias()).isTrue();
        assertThat(qwen2.attention().outputBias()).isFalse();
        for (String family : List.of("Llama", "Qwen3", "Gemma", "Gemma2", "Gemma3")) {
            ModelConfig biased = read(LLAMA.replace("Llama", family) + ",'attention_bias':true,'mlp_bias':true");
            assertThat(biased.attention().qkvBias() && biased.attention().outputBias())
                    .as(family)
                    .isTrue();
            assertThat(biased.mlp().bias()).as(family).isEqualTo(family.equals("Llama"));
            assertThat(read(LLAMA.replace("Llama", family)).attention().qkvBias())
                    .as(family)
                    .isFalse();
        }
    }

    @Test
    void knowsWhichLayersSlide() throws IOException {
        String mistral = LLAMA.replace("Llama", "Mistral") + ",'sliding_window':4095";
        assertThat(windows(read(mistral))).isEqualTo(Collections.nCopies(6, 4095));
        assertThat(read(mistral).slidingWindow()).isEqualTo(4095);
        assertThat(windows(read(mistral.replace("4095", "null")))).isEqualTo(Collections.nCopies(6, 0));
        assertThat(read(LLAMA.replace("Llama", "Mistral")).slidingWindow())
                .as("Hugging Face's default")
                .isEqualTo(4096);
        assertThat(read(LLAMA + ",'sliding_window':9").slidingWindow()).isZero();

        String qwen = LLAMA.replace("Llama", "Qwen2") + ",'sliding_window':9,'max_window_layers':4";
        assertThat(windows(read(qwen))).isEqualTo(Collections.nCopies(6, 0));
        ModelConfig sliding = read(qwen + ",'use_sliding_window':true");
        assertThat(windows(sliding)).containsExactly(0, 0, 0, 0, 9, 9);
        assertThat(sliding.slidingWindow()).as("a block has all layers").isZero();
        assertThat(windows(read(qwen.replace("layers':4", "layers':0") + ",'use_sliding_window':true")))
                .isEqualTo(Collections.nCopies(6, 9));

        String gemma2 = LLAMA.replace("Llama", "Gemma2");
        assertThat(windows(read(gemma2))).containsExactly(4096, 0, 4096, 0, 4096, 0);
        assertThat(windows(read(gemma2 + ",'sliding_window':null"))).isEqualTo(Collections.nCopies(6, 0));
        String listed = ",'layer_types':['full_attention','sliding_attention','full_attention','full_attention',"
                + "'full_attention','full_attention'],'sliding_window':9";
        assertThat(windows(read(gemma2 + listed))).containsExactly(0, 9, 0, 0, 0, 0);
        String gemma3 = LLAMA.replace("Llama", "Gemma3") + ",'sliding_window':512";
        assertThat(windows(read(gemma3))).containsExactly(512, 512, 512, 512, 512, 0);
        assertThat(windows(read(gemma3 + ",'sliding_window_pattern':2"))).containsExactly(512, 0, 512, 0, 512, 0);
    }

    @Test
    void knowsWhatMakesAGemma() throws IOException {
        ModelConfig gemma = read(LLAMA.replace("Llama", "Gemma") + ",'hidden_act':'gelu'");
        assertThat(gemma.norm()).isEqualTo(new ModelConfig.Norm(1e-6f, true, false));
        assertThat(gemma.mlp().activation()).isEqualTo(Activation.GELU_TANH);
        assertThat(gemma.embeddingScale()).isEqualTo(16);
        assertThat(gemma.headSize()).isEqualTo(256);
        assertThat(gemma.tiedEmbeddings()).isTrue();
        assertThat(gemma.attention()).isEqualTo(new ModelConfig.Attention(1 / 16f, 0, false, false, false));

        ModelConfig gemma2 = read(LLAMA.replace("Llama", "Gemma2") + ",'query_pre_attn_scalar':144");
        assertThat(gemma2.norm()).isEqualTo(new ModelConfig.Norm(1e-6f, true, true));
        assertThat(gemma2.attention()).isEqualTo(new ModelConfig.Attention(1 / 12f, 50, false, false, false));
        assertThat(gemma2.logitSoftcap()).isEqualTo(30);
        ModelConfig uncapped = read(LLAMA.replace("Llama", "Gemma2")
                + ",'attn_logit_softcapping':null,'final_logit_softcapping':null,'tie_word_embeddings':false");
        assertThat(uncapped.attention().softcap()).isZero();
        assertThat(uncapped.logitSoftcap()).isZero();
        assertThat(uncapped.tiedEmbeddings()).isFalse();

        ModelConfig gemma3 = read(LLAMA.replace("Llama", "Gemma3"));
        assertThat(gemma3.norm()).isEqualTo(new ModelConfig.Norm(1e-6f, true, true));
        assertThat(gemma3.attention()).isEqualTo(new ModelConfig.Attention(1 / 16f, 0, true, false, false));
        assertThat(gemma3.logitSoftcap()).isZero();
    }

    /** sqrt(3072) is 55.4256; of bfloat16's neighbours 55.25 and 55.5 the second is nearer, of float16's 55.40625 and 55.4375 too. */
    @Test
    void roundsGemmasEmbeddingScaleToTheWeightsType() throws IOException {
        String gemma = LLAMA.replace("Llama", "Gemma2").replace("256", "3072");
        assertThat(read(gemma + ",'torch_dtype':'bfloat16'").embeddingScale()).isEqualTo(55.5f);
        assertThat(read(gemma + ",'torch_dtype':'float16'").embeddingScale()).isEqualTo(55.4375f);
        assertThat(read(gemma).embeddingScale()).isEqualTo((float) Math.sqrt(3072));
    }

    @Test
    void readsRopeScalingInOldAndNewPlaces() throws IOException {
        String llama3 = "'factor':8.0,'low_freq_factor':1.0,'high_freq_factor':4.0,"
                + "'original_max_position_embeddings':8192,'rope_type':'llama3'";
        RopeScaling expected = new RopeScaling.Llama3(8, 1, 4, 8192);
        assertThat(rope(read(LLAMA + ",'rope_scaling':{" + llama3 + "}")).scaling())
                .isEqualTo(expected);
        assertThat(rope(read(LLAMA + ",'rope_parameters':{'rope_theta':500000.0," + llama3 + "}")))
                .isEqualTo(new ModelConfig.Rope(500000, expected));
        assertThat(rope(read(LLAMA + ",'rope_scaling':{'type':'linear','factor':2}"))
                        .scaling())
                .isEqualTo(new RopeScaling.Linear(2));
        assertThat(rope(read(LLAMA + ",'rope_scaling':null")).scaling()).isEqualTo(new RopeScaling.None());
    }

    @Test
    void readsYarn() throws IOException {
        double usual = 0.1 * Math.log(4) + 1;
        ModelConfig qwen = read(LLAMA.replace("Llama", "Qwen2")
                + ",'rope_theta':1000000.0,'max_position_embeddings':32768,"
                + "'rope_scaling':{'factor':4.0,'original_max_position_embeddings':32768,'type':'yarn'}");
        assertThat(rope(qwen)).isEqualTo(new ModelConfig.Rope(1e6, new RopeScaling.Yarn(4, 32, 1, 32768, usual, true)));
        assertThat(qwen.maxPositions()).as("what the context is stretched to").isEqualTo(131072);
        ModelConfig other =
                read(LLAMA + ",'max_position_embeddings':1000,'rope_scaling':{'rope_type':'yarn','factor':4,"
                        + "'beta_fast':16,'beta_slow':2,'truncate':false,'attention_factor':1.5}");
        assertThat(rope(other).scaling()).isEqualTo(new RopeScaling.Yarn(4, 16, 2, 1000, 1.5, false));
        ModelConfig deepSeek = read(LLAMA + ",'rope_scaling':{'rope_type':'yarn','factor':4,'mscale':2.0,"
                + "'mscale_all_dim':1.0,'original_max_position_embeddings':16}");
        assertThat(rope(deepSeek).scaling().magnitude()).isEqualTo((0.2 * Math.log(4) + 1) / usual);
        assertThat(deepSeek.maxPositions()).isEqualTo(2048);
    }

    @Test
    void tellsTheRopeOfGemma3sLayersApart() throws IOException {
        var linear = new ModelConfig.Rope(1e6, new RopeScaling.Linear(8));
        var local = new ModelConfig.Rope(1e4, new RopeScaling.None());
        String gemma3 = LLAMA.replace("Llama", "Gemma3");
        ModelConfig older = read(gemma3 + ",'rope_scaling':{'rope_type':'linear','factor':8.0}");
        ModelConfig newer = read(gemma3 + ",'rope_parameters':{"
                + "'full_attention':{'rope_type':'linear','factor':8.0,'rope_theta':1000000},"
                + "'sliding_attention':{'rope_type':'default','rope_theta':10000.0}}");
        for (ModelConfig config : List.of(older, newer)) {
            assertThat(config.layerConfigs().stream().map(ModelConfig.Layer::rope))
                    .containsExactly(local, local, local, local, local, linear);
        }
        ModelConfig given = read(gemma3 + ",'rope_theta':5000.0,'rope_local_base_freq':100.0");
        assertThat(rope(given).theta()).isEqualTo(100);
        assertThat(given.layerConfigs().get(5).rope().theta()).isEqualTo(5000);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
                    'architectures':['GPT2LMHeadModel']      | names the architecture GPT2LMHeadModel; supported are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, GemmaForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM
                    'architectures':['Gemma3ForConditionalGeneration'] | names the architecture Gemma3ForConditionalGeneration; supported are
                    'architectures':['Qwen3MoeForCausalLM']  | names the architecture Qwen3MoeForCausalLM; supported are
                    'architectures':[]                       | names the architecture (none)
                    'hidden_act':'gelu'                      | "hidden_act" is gelu; it must be silu
                    'hidden_size':null                       | has no "hidden_size"
                    'hidden_size':0                          | "hidden_size" is 0; it must be a number of at least 1
                    'hidden_size':'big'                      | "hidden_size" is big; it must be a whole number
                    'hidden_size':255                        | a multiple of num_attention_heads, 4
                    'num_key_value_heads':3                  | a divisor of num_attention_heads, 4
                    'partial_rotary_factor':0.5              | heads are rotated whole
                    'rope_theta':-1                          | "rope_theta" is -1.0; it must be more than 0
                    'rope_scaling':{'rope_type':'dynamic','factor':2} | "rope_type" is dynamic; it must be default, linear, llama3 or yarn: dynamic angles change with a text's length
                    'rope_scaling':{'type':'longrope'}       | "rope_type" is longrope; it must be default, linear, llama3 or yarn.
                    'rope_scaling':{'rope_type':'yarn'}      | has no "factor"
                    'rope_scaling':{'rope_type':'yarn','factor':2,'beta_fast':1} | more than beta_slow, 1.0
                    'rope_scaling':{'rope_type':'default','partial_rotary_factor':0.5} | heads are rotated whole
                    'rope_scaling':{'rope_type':'linear'}    | has no "factor"
                    'rope_scaling':{'type':'llama3','factor':8,'low_freq_factor':4,'high_freq_factor':4} | more than low_freq_factor, 4.0
                    'torch_dtype':'int8'                     | "torch_dtype" is int8; it must be bfloat16, float16 or float32
                    'eos_token_id':[1,'x']                   | "eos_token_id" is [1, x]; it must be a whole number or a list
                    'tie_word_embeddings':1                  | "tie_word_embeddings" is 1; it must be true or false
                    'num_hidden_layers':2000000000 | "num_hidden_layers" is 2000000000; it must be at most 4096
                    'num_attention_heads':2147483647         | "num_attention_heads" is 2147483647; it must be at most 16384
                    'hidden_size':2147483647                 | "hidden_size" is 2147483647; it must be at most 16777216
                    'rms_norm_eps':1e-300                    | "rms_norm_eps" is 1.0E-300; it must be more than 0, and neither too small nor too large for float32
                    'rope_theta':1e39                        | "rope_theta" is 1.0E39; it must be more than 0
                    'rope_theta':1,'rope_scaling':{'rope_type':'yarn','factor':2} | "rope_theta" is 1.0; it must be more than 1
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
    void showsTheBeginningOfALongValueOnly() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> read(LLAMA + ",'torch_dtype':'" + "x".repeat(100_000) + "'"))
                .withMessageContaining("\"torch_dtype\" is xxx")
                .satisfies(e -> assertThat(e.getMessage()).hasSizeLessThan(1000));
    }

    @Test
    void acceptsAKvScheme() throws IOException {
        String scheme = ",'quantization_config':{'quant_method':'compressed-tensors','config_groups':{},"
                + "'kv_cache_scheme':{'num_bits':8}}";
        assertThat(read(LLAMA + scheme).layers()).isEqualTo(6);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
                    Gemma2 | 'hidden_activation':'gelu'               | "hidden_activation" is gelu; it must be gelu_pytorch_tanh
                    Gemma2 | 'layer_types':['full_attention']         | "layer_types" is a list of 1; it must be one for each of num_hidden_layers, 6
                    Gemma2 | 'attn_logit_softcapping':-1              | "attn_logit_softcapping" is -1.0; it must be more than 0
                    Gemma2 | 'query_pre_attn_scalar':0                | "query_pre_attn_scalar" is 0.0; it must be more than 0
                    Gemma3 | 'sliding_window_pattern':0               | "sliding_window_pattern" is 0; it must be a number of at least 1
                    Gemma3 | 'use_bidirectional_attention':true       | a token sees only those before it
                    Gemma3 | 'rope_parameters':{'full_attention':{}}  | has no "sliding_attention"
                    Qwen3  | 'use_sliding_window':true,'max_window_layers':-1 | "max_window_layers" is -1; it must be 0 or more
                    Qwen3  | 'use_sliding_window':true,'layer_types':['a','a','a','a','a','a'] | "layer_types" is a; it must be a list of sliding_attention and full_attention
                    Mistral | 'sliding_window':0                      | "sliding_window" is 0; it must be a number of at least 1
                    """)
    void refusesByNameWhatOnlySomeFamiliesHave(String family, String field, String message) {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> read(LLAMA.replace("Llama", family) + "," + field))
                .withMessageContaining(message);
    }

    @Test
    void refusesFilesThatAreNoConfiguration() throws IOException {
        Path file = folder.resolve("config.json");
        for (String text : new String[] {"", "[]", "{", "{\"a\":1,\"a\":2}", "{} x"}) {
            Files.writeString(file, text);
            assertThatExceptionOfType(CheckpointException.class)
                    .as(text)
                    .isThrownBy(() -> ModelConfig.read(folder))
                    .withMessageContaining(file.toString())
                    .satisfies(e -> assertThat(e.getMessage()).doesNotContain("Source:"));
        }
        Files.delete(file);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> ModelConfig.read(folder))
                .withMessageContaining("config.json is missing");
    }
}
