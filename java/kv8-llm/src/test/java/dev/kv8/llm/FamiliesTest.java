package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.RopeTable;
import dev.kv8.Sequence;
import java.io.IOException;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Small random models of each family, shape and weight type against {@link NaiveLlama}. */
class FamiliesTest {
    private static final long SEED = 8;
    private static final int TOKENS = 37;

    private static KvBackend backend;

    @TempDir
    Path folder;

    @BeforeAll
    static void open() {
        backend = KvBackend.open("cpu");
    }

    @AfterAll
    static void close() {
        backend.close();
    }

    private static Map<String, long[]> shapes(ModelConfig config) {
        Map<String, long[]> shapes = new LinkedHashMap<>();
        long hidden = config.hiddenSize();
        long q = (long) config.heads() * config.headSize();
        long kv = (long) config.kvHeads() * config.headSize();
        long inner = config.intermediateSize();
        shapes.put("model.embed_tokens.weight", new long[] {config.vocabularySize(), hidden});
        for (int layer = 0; layer < config.layers(); layer++) {
            String prefix = "model.layers." + layer + ".";
            shapes.put(prefix + "input_layernorm.weight", new long[] {hidden});
            projection(shapes, prefix + "self_attn.q_proj", q, hidden, config.qkvBias());
            projection(shapes, prefix + "self_attn.k_proj", kv, hidden, config.qkvBias());
            projection(shapes, prefix + "self_attn.v_proj", kv, hidden, config.qkvBias());
            projection(shapes, prefix + "self_attn.o_proj", hidden, q, config.outputBias());
            shapes.put(prefix + "post_attention_layernorm.weight", new long[] {hidden});
            projection(shapes, prefix + "mlp.gate_proj", inner, hidden, config.mlpBias());
            projection(shapes, prefix + "mlp.up_proj", inner, hidden, config.mlpBias());
            projection(shapes, prefix + "mlp.down_proj", hidden, inner, config.mlpBias());
        }
        shapes.put("model.norm.weight", new long[] {hidden});
        if (!config.tiedEmbeddings()) {
            shapes.put("lm_head.weight", new long[] {config.vocabularySize(), hidden});
        }
        return shapes;
    }

    private static void projection(Map<String, long[]> shapes, String name, long outputs, long inputs, boolean bias) {
        shapes.put(name + ".weight", new long[] {outputs, inputs});
        if (bias) {
            shapes.put(name + ".bias", new long[] {outputs});
        }
    }

    /** Multiples of 2^-6, exact in every type. */
    private static Map<String, float[]> randomWeights(Map<String, long[]> shapes) {
        SplittableRandom random = new SplittableRandom(SEED);
        Map<String, float[]> weights = new LinkedHashMap<>();
        shapes.forEach((name, shape) -> {
            long count = 1;
            for (long dimension : shape) {
                count *= dimension;
            }
            float[] values = new float[(int) count];
            boolean norm = name.endsWith("norm.weight");
            for (int i = 0; i < values.length; i++) {
                values[i] = norm ? 0.5f + random.nextInt(64) / 64f : (random.nextInt(33) - 16) / 64f;
            }
            weights.put(name, values);
        });
        return weights;
    }

    private static float[] named(Map<String, float[]> weights, String name) {
        return Objects.requireNonNull(weights.get(name), name);
    }

    private void write(Map<String, long[]> shapes, Map<String, float[]> weights, DType dtype, boolean sharded)
            throws IOException {
        SafetensorsWriter[] files = {new SafetensorsWriter(), new SafetensorsWriter()};
        StringBuilder index = new StringBuilder();
        int count = 0;
        for (Map.Entry<String, long[]> entry : shapes.entrySet()) {
            int file = sharded ? count++ % 2 : 0;
            files[file].tensor(entry.getKey(), dtype, named(weights, entry.getKey()), entry.getValue());
            index.append(index.isEmpty() ? "" : ",")
                    .append('"')
                    .append(entry.getKey())
                    .append("\":\"shard-")
                    .append(file)
                    .append(".safetensors\"");
        }
        if (sharded) {
            files[0].write(folder.resolve("shard-0.safetensors"));
            files[1].write(folder.resolve("shard-1.safetensors"));
            Files.writeString(folder.resolve("model.safetensors.index.json"), "{\"weight_map\":{" + index + "}}");
        } else {
            files[0].write(folder.resolve("model.safetensors"));
        }
    }

    private ModelConfig config(String architecture, String fields) throws IOException {
        String json = "{'architectures':['" + architecture + "'],'hidden_size':128,'intermediate_size':80,"
                + "'num_hidden_layers':2,'vocab_size':50,'max_position_embeddings':64," + fields + "}";
        Files.writeString(folder.resolve("config.json"), json.replace('\'', '"'));
        return ModelConfig.read(folder);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
                    LlamaForCausalLM   | 'num_attention_heads':2,'tie_word_embeddings':true                        | FLOAT32  | false
                    LlamaForCausalLM   | 'num_attention_heads':4,'head_dim':64,'num_key_value_heads':1             | BFLOAT16 | true
                    LlamaForCausalLM   | 'num_attention_heads':2,'attention_bias':true,'mlp_bias':true             | FLOAT16  | false
                    LlamaForCausalLM   | 'num_attention_heads':2,'rope_scaling':{'rope_type':'llama3','factor':8.0,'low_freq_factor':1.0,'high_freq_factor':4.0,'original_max_position_embeddings':32} | FLOAT32 | false
                    LlamaForCausalLM   | 'num_attention_heads':2,'rope_theta':500.0,'rope_scaling':{'type':'linear','factor':2.5} | BFLOAT16 | false
                    MistralForCausalLM | 'num_attention_heads':2,'num_key_value_heads':1,'head_dim':80,'sliding_window':9 | BFLOAT16 | true
                    Qwen2ForCausalLM   | 'num_attention_heads':2,'num_key_value_heads':2,'tie_word_embeddings':true | BFLOAT16 | false
                    """)
    void computesTheLogitsOfThePlainFormulas(String architecture, String fields, DType dtype, boolean sharded)
            throws IOException {
        ModelConfig config = config(architecture, fields);
        Map<String, long[]> shapes = shapes(config);
        Map<String, float[]> weights = randomWeights(shapes);
        write(shapes, weights, dtype, sharded);
        int[] tokens = new SplittableRandom(SEED).ints(TOKENS, 0, 50).toArray();
        double[][] expected = new NaiveLlama(config, weights).logits(tokens);
        try (Checkpoint checkpoint = Checkpoint.open(folder);
                LlamaModel model = LlamaModel.load(backend, config, checkpoint);
                KvCache cache = KvCache.create(
                        backend,
                        KvCacheConfig.builder()
                                .layers(2)
                                .kvHeads(config.kvHeads())
                                .headSize(config.headSize())
                                .dtype(KvCacheDType.FLOAT32)
                                .blocks(8)
                                .build())) {
            RopeTable rope = RopeAngles.table(backend, config, 64);
            try (Sequence sequence = cache.open(tokens);
                    Batch batch = cache.batch()) {
                for (int chunk : new int[] {20, 1, TOKENS - 21}) {
                    int first = sequence.computedTokens();
                    assertThat(batch.add(sequence, chunk)).isTrue();
                    model.forward(cache, batch, rope, LlamaModel.writer(cache, rope));
                    int[] rows = new SplittableRandom(SEED).ints(3, 0, chunk).toArray();
                    HeadRows logits = model.logits(rows, rows.length);
                    FloatBuffer values = backend.hostView(logits.memory(), 0, rows.length * 50 * Float.BYTES)
                            .order(ByteOrder.nativeOrder())
                            .asFloatBuffer();
                    for (int i = 0; i < rows.length; i++) {
                        double[] row = expected[first + rows[i]];
                        for (int id = 0; id < 50; id++) {
                            assertThat(Math.abs(values.get(i * 50 + id) - row[id]))
                                    .as("seed %d, token %d, logit %d", SEED, first + rows[i], id)
                                    .isLessThan(1e-4);
                        }
                    }
                    batch.commit();
                }
            } finally {
                rope.values().close();
            }
        }
    }

    @Test
    void namesAllTensorsThatDoNotFit() throws IOException {
        ModelConfig config = config("Qwen2ForCausalLM", "'num_attention_heads':2");
        Map<String, long[]> shapes = shapes(config);
        Map<String, float[]> weights = randomWeights(shapes);
        shapes.remove("model.layers.1.self_attn.k_proj.bias");
        shapes.remove("lm_head.weight");
        shapes.put("model.norm.weight", new long[] {64, 2});
        write(shapes, weights, DType.FLOAT32, false);
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            assertThatExceptionOfType(CheckpointException.class)
                    .isThrownBy(() -> LlamaModel.load(backend, config, checkpoint))
                    .withMessageContaining("does not fit its config.json")
                    .withMessageContaining("model.layers.1.self_attn.k_proj.bias [128] is missing")
                    .withMessageContaining("lm_head.weight [50, 128] is missing")
                    .withMessageContaining("model.norm.weight has shape [64, 2] instead of [128]");
        }
    }

    private void writeMixed(ModelConfig config, String oddName, boolean odd64) {
        Map<String, long[]> shapes = shapes(config);
        Map<String, float[]> weights = randomWeights(shapes);
        SafetensorsWriter file = new SafetensorsWriter();
        shapes.forEach((name, shape) -> {
            boolean odd = name.endsWith(oddName);
            if (odd && odd64) {
                file.raw(name, "F64", new byte[8 * named(weights, name).length], shape);
            } else {
                file.tensor(name, odd ? DType.BFLOAT16 : DType.FLOAT32, named(weights, name), shape);
            }
        });
        file.write(folder.resolve("model.safetensors"));
    }

    @Test
    void namesATensorOfATypeThatIsNotRead() throws IOException {
        ModelConfig config = config("LlamaForCausalLM", "'num_attention_heads':2,'tie_word_embeddings':true");
        writeMixed(config, "model.norm.weight", true);
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            assertThatExceptionOfType(CheckpointException.class)
                    .isThrownBy(() -> LlamaModel.load(backend, config, checkpoint))
                    .withMessageContaining("model.norm.weight is F64; only F32, F16 and BF16 weights are read");
        }
    }

    @Test
    void namesFusedTensorsOfDifferentTypesAndFreesWhatWasLoaded() throws IOException {
        ModelConfig config = config("LlamaForCausalLM", "'num_attention_heads':2,'tie_word_embeddings':true");
        writeMixed(config, "1.mlp.up_proj.weight", false);
        long before = backend.info().allocatedBytes();
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            assertThatExceptionOfType(CheckpointException.class)
                    .isThrownBy(() -> LlamaModel.load(backend, config, checkpoint))
                    .withMessageContaining(
                            "layers.1.mlp.up_proj.weight is BF16 but model.layers.1.mlp.gate_proj.weight is F32");
        }
        assertThat(backend.info().allocatedBytes()).isEqualTo(before);
    }
}
