package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.HeadRows;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.Sequence;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The logits of every architecture, RoPE scaling and weight type, in prefill, chunked prefill and decode, against {@link ReferenceModel}
 * on tiny random checkpoints.
 *
 * <p>The tolerance: a float32 sum of n terms is off by about {@code sqrt(n) 2^-24} of its terms' magnitude, and a layer has five
 * products in a row (QKV, scores, values, and the two of the MLP, the output projection among them), whose errors add up in
 * the hidden state over layers. So {@code 5 (layers + 1) sqrt(hidden) 2^-24} of the largest logit is what to expect; eight times that
 * is allowed, because attention's exponentials amplify the scores' errors, most of all where large norm weights make scores large.
 */
class ArchitecturesTest extends CpuTest {
    private static final long SEED = Long.getLong("kv8.seed", 8);
    private static final int TOKENS = 37;
    private static final int VOCABULARY = 50;

    private static final String SIZES =
            "'vocab_size':50,'intermediate_size':48,'max_position_embeddings':64,'rms_norm_eps':1e-5,";

    private static final Map<String, String> MODELS = new TreeMap<>(
            Map.ofEntries(
                    model(
                            "llama, tied",
                            "Llama",
                            "'hidden_size':128,'num_attention_heads':2,'tie_word_embeddings':true"),
                    model(
                            "llama, one KV head",
                            "Llama",
                            "'hidden_size':96,'num_attention_heads':4,'head_dim':64,'num_key_value_heads':1"),
                    model(
                            "llama, biases",
                            "Llama",
                            "'hidden_size':128,'num_attention_heads':2,'attention_bias':true,'mlp_bias':true"),
                    model(
                            "mistral",
                            "Mistral",
                            "'hidden_size':128,'num_attention_heads':2,'num_key_value_heads':1,'head_dim':80,'sliding_window':9"),
                    model(
                            "mistral, no window",
                            "Mistral",
                            "'hidden_size':128,'num_attention_heads':2,'sliding_window':null"),
                    model(
                            "qwen2",
                            "Qwen2",
                            "'hidden_size':128,'num_attention_heads':2,'sliding_window':5,'use_sliding_window':false"),
                    model(
                            "qwen2, windows",
                            "Qwen2",
                            "'hidden_size':128,'num_attention_heads':2,'sliding_window':5,'use_sliding_window':true,'max_window_layers':1"),
                    model(
                            "qwen3",
                            "Qwen3",
                            "'hidden_size':96,'num_attention_heads':4,'num_key_value_heads':2,'head_dim':64,'tie_word_embeddings':true"),
                    model(
                            "qwen3, windows, biases",
                            "Qwen3",
                            "'hidden_size':96,'num_attention_heads':2,'head_dim':64,'attention_bias':true,'use_sliding_window':true,'sliding_window':4,'layer_types':['sliding_attention','full_attention','sliding_attention']"),
                    model(
                            "gemma",
                            "Gemma",
                            "'hidden_size':96,'num_attention_heads':2,'num_key_value_heads':1,'head_dim':64"),
                    model(
                            "gemma2",
                            "Gemma2",
                            "'hidden_size':96,'num_attention_heads':2,'num_key_value_heads':1,'head_dim':64,'query_pre_attn_scalar':48,'sliding_window':6,'attn_logit_softcapping':2.5,'final_logit_softcapping':4.0"),
                    model(
                            "gemma3",
                            "Gemma3",
                            "'hidden_size':96,'num_attention_heads':4,'num_key_value_heads':2,'head_dim':64,'query_pre_attn_scalar':48,'sliding_window':7,'sliding_window_pattern':3,'rope_local_base_freq':100.0")));

    private static final Map<String, String> ROPES = new TreeMap<>(Map.of(
            "default",
            "'rope_theta':500.0",
            "linear",
            "'rope_theta':500.0,'rope_scaling':{'type':'linear','factor':2.5}",
            "llama3",
            "'rope_parameters':{'rope_type':'llama3','rope_theta':500.0,'factor':8.0,'low_freq_factor':1.0,"
                    + "'high_freq_factor':4.0,'original_max_position_embeddings':32}",
            "yarn",
            "'rope_theta':500.0,'rope_scaling':{'rope_type':'yarn','factor':4.0,'beta_fast':2.0,'beta_slow':0.25,"
                    + "'original_max_position_embeddings':16}"));

    @TempDir
    Path folder;

    private static Map.Entry<String, String> model(String name, String architecture, String fields) {
        return Map.entry(
                name, "'architectures':['" + architecture + "ForCausalLM'],'num_hidden_layers':3," + SIZES + fields);
    }

    private static String json(String model, String rope, DType dtype) {
        return "{" + MODELS.get(model) + "," + ROPES.get(rope) + ",'torch_dtype':'"
                + dtype.name().toLowerCase(Locale.ROOT) + "'}";
    }

    private static int[] tokens() {
        return new SplittableRandom(SEED).ints(TOKENS, 0, VOCABULARY).toArray();
    }

    private static double tolerance(String json, double[] row) {
        int hidden = json.contains("'hidden_size':128") ? 128 : 96;
        double largest = Arrays.stream(row).map(Math::abs).max().orElseThrow();
        return 8 * 5 * (3 + 1) * Math.sqrt(hidden) * 0x1p-24 * largest;
    }

    /** The largest error of any logit, of what is allowed. */
    private static double worst(String json, double[][] computed, double[][] expected) {
        double worst = 0;
        for (int t = 0; t < expected.length; t++) {
            double allowed = tolerance(json, expected[t]);
            for (int id = 0; id < VOCABULARY; id++) {
                double error = Math.abs(computed[t][id] - expected[t][id]);
                worst = Math.max(worst, Double.isNaN(error) ? Double.POSITIVE_INFINITY : error / allowed);
            }
        }
        return worst;
    }

    static Stream<Arguments> cases() {
        return MODELS.keySet().stream()
                .flatMap(model -> ROPES.keySet().stream()
                        .flatMap(rope -> Stream.of(DType.FLOAT32, DType.BFLOAT16, DType.FLOAT16)
                                .map(dtype -> Arguments.of(model, rope, dtype))));
    }

    @ParameterizedTest(name = "{0}, rope {1}, {2}")
    @MethodSource("cases")
    void theLogitsAreTheReferences(String name, String rope, DType dtype) {
        String json = json(name, rope, dtype);
        new RandomCheckpoint(folder, json).write(dtype, dtype == DType.BFLOAT16, SEED);
        int[] tokens = tokens();
        double[][] expected = new ReferenceModel(folder, json).logits(tokens);
        ModelConfig config = ModelConfig.read(folder);
        assertThat(config.dtype()).isEqualTo(dtype);
        try (Checkpoint checkpoint = Checkpoint.open(folder);
                LlamaModel model = LlamaModel.load(backend, config, checkpoint);
                RopeTables tables = RopeTables.create(backend, config, config.maxPositions());
                KvCache cache = KvCache.create(
                        backend,
                        config.cacheConfig()
                                .dtype(KvCacheDType.FLOAT32)
                                .blocks(8)
                                .prefixCaching(false) // each way computes every token
                                .build())) {
            int[] ones = IntStream.generate(() -> 1).limit(TOKENS).toArray();
            for (int[] chunks : new int[][] {{TOKENS}, {20, 1, TOKENS - 21}, ones}) {
                double[][] computed = logits(model, cache, tables, tokens, chunks);
                assertThat(worst(json, computed, expected))
                        .as(
                                "the largest error, of what is allowed; seed %d, steps of %s",
                                SEED, Arrays.toString(chunks))
                        .isLessThan(1);
            }
        }
    }

    private static double[][] logits(LlamaModel model, KvCache cache, RopeTables tables, int[] tokens, int[] chunks) {
        double[][] result = new double[tokens.length][VOCABULARY];
        try (Sequence sequence = cache.open(tokens);
                Batch batch = cache.batch()) {
            for (int chunk : chunks) {
                int first = sequence.computedTokens();
                assertThat(batch.add(sequence, chunk)).isTrue();
                model.forward(cache, batch, tables, LlamaModel.writer(cache, tables));
                HeadRows logits = model.logits(IntStream.range(0, chunk).toArray(), chunk);
                FloatBuffer values = backend.hostView(logits.memory(), 0, chunk * VOCABULARY * Float.BYTES)
                        .order(ByteOrder.nativeOrder())
                        .asFloatBuffer();
                for (int i = 0; i < chunk * VOCABULARY; i++) {
                    result[first + i / VOCABULARY][i % VOCABULARY] = values.get(i);
                }
                batch.commit();
            }
        }
        return result;
    }

    /** 37 tokens would need three blocks of 16; nine keys never touch more than two. */
    @Test
    void aModelWhoseLayersAllSlideNeedsBlocksForItsWindowOnly() {
        String json = json("mistral", "default", DType.FLOAT32);
        ModelConfig config = written(json);
        expectReferenceTokenByToken(
                json,
                config,
                config.cacheConfig()
                        .dtype(KvCacheDType.FLOAT32)
                        .blockSize(16)
                        .blocks(2)
                        .prefixCaching(false)
                        .build());
    }

    /**
     * One layer sees all and two have a window of at most 7 keys: 37 tokens take five blocks of 8 in one group of layers and never more
     * than two in each of the others, instead of five in all.
     */
    @ParameterizedTest
    @ValueSource(strings = {"gemma2", "gemma3", "qwen2, windows", "qwen3, windows, biases"})
    void aModelThatMixesWindowsNeedsBlocksForThoseOnly(String name) {
        String json = json(name, "default", DType.FLOAT32);
        ModelConfig config = written(json);
        KvCacheConfig cacheConfig = config.groupedCacheConfig()
                .dtype(KvCacheDType.FLOAT32)
                .blockSize(8)
                .blocks(5 + 2 + 2)
                .prefixCaching(false)
                .build();
        assertThat(cacheConfig.layerGroups()).isEqualTo(3);
        expectReferenceTokenByToken(json, config, cacheConfig);
    }

    private ModelConfig written(String json) {
        new RandomCheckpoint(folder, json).write(DType.FLOAT32, false, SEED);
        return ModelConfig.read(folder);
    }

    private void expectReferenceTokenByToken(String json, ModelConfig config, KvCacheConfig cacheConfig) {
        double[][] expected = new ReferenceModel(folder, json).logits(tokens());
        try (Checkpoint checkpoint = Checkpoint.open(folder);
                LlamaModel model = LlamaModel.load(backend, config, checkpoint);
                RopeTables tables = RopeTables.create(backend, config, config.maxPositions());
                KvCache cache = KvCache.create(backend, cacheConfig)) {
            int[] ones = IntStream.generate(() -> 1).limit(TOKENS).toArray();
            assertThat(worst(json, logits(model, cache, tables, tokens(), ones), expected))
                    .isLessThan(1);
        }
    }

    /** Else the test above would not notice when the engine ignored one of them. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
                    llama, tied        | default | 'rope_theta':500.0              | 'rope_theta':510.0
                    llama, tied        | default | 'rms_norm_eps':1e-5             | 'rms_norm_eps':1e-2
                    llama, tied        | linear  | 'factor':2.5                    | 'factor':2.6
                    llama, tied        | llama3  | 'factor':8.0                    | 'factor':8.5
                    llama, tied        | llama3  | 'low_freq_factor':1.0           | 'low_freq_factor':1.1
                    llama, tied        | llama3  | 'high_freq_factor':4.0          | 'high_freq_factor':4.2
                    llama, tied        | llama3  | embeddings':32                  | embeddings':33
                    llama, tied        | llama3  | 'rope_theta':500.0              | 'rope_theta':510.0
                    llama, tied        | yarn    | 'factor':4.0                    | 'factor':4.2
                    llama, tied        | yarn    | 'beta_fast':2.0                 | 'beta_fast':1.0
                    llama, tied        | yarn    | 'beta_slow':0.25                | 'beta_slow':0.5
                    llama, tied        | yarn    | embeddings':16                  | embeddings':32
                    llama, tied        | yarn    | 'factor':4.0                    | 'factor':4.0,'attention_factor':1.1
                    llama, tied        | yarn    | 'factor':4.0                    | 'factor':4.0,'mscale':1.0,'mscale_all_dim':0.9
                    llama, tied        | yarn    | 'factor':4.0                    | 'factor':4.0,'truncate':false
                    mistral            | default | 'sliding_window':9              | 'sliding_window':10
                    qwen2, windows     | default | 'sliding_window':5              | 'sliding_window':6
                    qwen2, windows     | default | 'max_window_layers':1           | 'max_window_layers':2
                    qwen2, windows     | default | 'use_sliding_window':true       | 'use_sliding_window':false
                    qwen3, windows, biases | default | ['sliding_attention','full | ['full_attention','full
                    gemma2             | default | 'query_pre_attn_scalar':48      | 'query_pre_attn_scalar':49
                    gemma2             | default | 'sliding_window':6              | 'sliding_window':5
                    gemma2             | default | 'attn_logit_softcapping':2.5    | 'attn_logit_softcapping':2.6
                    gemma2             | default | 'attn_logit_softcapping':2.5    | 'attn_logit_softcapping':null
                    gemma2             | default | 'final_logit_softcapping':4.0   | 'final_logit_softcapping':4.1
                    gemma3             | default | 'query_pre_attn_scalar':48      | 'query_pre_attn_scalar':49
                    gemma3             | default | 'sliding_window':7              | 'sliding_window':8
                    gemma3             | default | 'sliding_window_pattern':3      | 'sliding_window_pattern':2
                    gemma3             | default | 'rope_local_base_freq':100.0    | 'rope_local_base_freq':110.0
                    gemma3             | default | 'rope_theta':500.0              | 'rope_theta':550.0
                    gemma3             | linear  | 'factor':2.5                    | 'factor':2.6
                    """)
    void everyParameterMovesTheLogitsByFarMoreThanIsAllowed(String name, String rope, String field, String other) {
        String json = json(name, rope, DType.FLOAT32);
        assertThat(json).contains(field);
        new RandomCheckpoint(folder, json).write(DType.FLOAT32, false, SEED);
        double[][] expected = new ReferenceModel(folder, json).logits(tokens());
        double[][] moved = new ReferenceModel(folder, json.replace(field, other)).logits(tokens());
        assertThat(worst(json, moved, expected)).isGreaterThan(100);
    }
}
