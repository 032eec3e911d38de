package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheDType;
import dev.kv8.Sequence;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The logits of random checkpoints by a GPU's kernels, run by the emulator, beside those of the CPU, whose own are tested against the
 * formulas in double: biases, norms by head, windows, softcaps and GELU, and weights of each type.
 *
 * <p>The tolerances are parts of the largest logit. With float32 weights both compute in float32, only in another order. 16-bit weights
 * have 16-bit activations on a device: a layer rounds seven times, by up to 2^-9 (bfloat16) or 2^-12 (float16) each, and what is lost
 * adds up over three layers as in a random walk: sqrt(21) 2^-9 = 0.9 % and 0.1 %. Five times that is allowed for the largest of all logits.
 */
class EmulatedArchitecturesTest {
    private static final long SEED = Long.getLong("kv8.seed", 8);
    private static final int TOKENS = 19;
    private static final int VOCABULARY = 50;

    private static KvBackend cpu;

    @TempDir
    Path folder;

    @BeforeAll
    static void open() {
        cpu = KvBackend.open("cpu");
    }

    @AfterAll
    static void close() {
        cpu.close();
    }

    private static String json(String architecture, String dtype) {
        return "{'architectures':['" + architecture + "ForCausalLM'],'hidden_size':96,'intermediate_size':64,"
                + "'num_hidden_layers':3,'num_attention_heads':2,'num_key_value_heads':1,'head_dim':64,'vocab_size':50,"
                + "'max_position_embeddings':64,'sliding_window':6,'use_sliding_window':true,'max_window_layers':2,"
                + "'sliding_window_pattern':2,'query_pre_attn_scalar':32,'torch_dtype':'" + dtype + "'}";
    }

    private float[] logits(KvBackend backend) {
        ModelConfig config = ModelConfig.read(folder);
        int[] tokens = new SplittableRandom(SEED).ints(TOKENS, 0, VOCABULARY).toArray();
        float[] result = new float[TOKENS * VOCABULARY];
        try (Checkpoint checkpoint = Checkpoint.open(folder);
                LlamaModel model = LlamaModel.load(backend, config, checkpoint);
                RopeTables tables = RopeTables.create(backend, config, config.maxPositions());
                KvCache cache = KvCache.create(
                        backend,
                        config.groupedCacheConfig()
                                .dtype(KvCacheDType.AUTO)
                                .blocks(16)
                                .build());
                Sequence sequence = cache.open(tokens);
                Batch batch = cache.batch()) {
            for (int chunk : new int[] {TOKENS - 3, 1, 2}) { // prefill, decode, and a chunk behind
                int first = sequence.computedTokens();
                assertThat(batch.add(sequence, chunk)).isTrue();
                model.forward(cache, batch, tables, LlamaModel.writer(cache, tables));
                HeadRows rows = model.logits(IntStream.range(0, chunk).toArray(), chunk);
                ByteBuffer bytes = ByteBuffer.allocateDirect(chunk * VOCABULARY * Float.BYTES)
                        .order(ByteOrder.nativeOrder());
                backend.download(rows.memory(), 0, bytes);
                bytes.asFloatBuffer().get(result, first * VOCABULARY, chunk * VOCABULARY);
                batch.commit();
            }
        }
        return result;
    }

    /** The largest difference, as a part of the largest logit. */
    private double difference() {
        float[] expected = logits(cpu);
        float[] computed;
        try (KvBackend emulator = EmulatedDevice.open("sm_90")) {
            computed = logits(new DistantBackend(emulator).backend());
        }
        double largest = 0;
        double difference = 0;
        for (int i = 0; i < expected.length; i++) {
            double error = Math.abs(computed[i] - expected[i]);
            difference = Math.max(difference, Double.isNaN(error) ? Double.POSITIVE_INFINITY : error);
            largest = Math.max(largest, Math.abs(expected[i]));
        }
        return difference / largest;
    }

    @ParameterizedTest
    @CsvSource({
        "Llama, FLOAT16, 0.006",
        "Qwen2, FLOAT32, 1e-4",
        "Qwen3, BFLOAT16, 0.045",
        "Gemma, BFLOAT16, 0.045",
        "Gemma2, FLOAT32, 1e-4",
        "Gemma3, FLOAT32, 1e-4"
    })
    void theLogitsAreTheCpus(String architecture, DType dtype, double tolerance) {
        String json = json(architecture, dtype.name().toLowerCase(java.util.Locale.ROOT));
        new RandomCheckpoint(folder, json).write(dtype, false, SEED);
        double difference = difference();
        assertThat(difference).as("seed %d", SEED).isLessThan(tolerance);
    }

    /** Each layer's rows are of its own weights' type; only fused ones must agree. */
    @Test
    void layersMayBeOfDifferentTypes() {
        Function<String, DType> types = name -> name.contains(".1.self_attn")
                ? DType.FLOAT16
                : name.contains("down_proj") || name.contains("norm") ? DType.FLOAT32 : DType.BFLOAT16;
        new RandomCheckpoint(folder, json("Qwen2", "bfloat16")).write(types, false, SEED);
        assertThat(difference()).as("seed %d", SEED).isLessThan(0.045);
    }
}
