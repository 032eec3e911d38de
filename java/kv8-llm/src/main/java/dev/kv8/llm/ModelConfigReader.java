package dev.kv8.llm;

import dev.kv8.Activation;
import dev.kv8.DType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** Turns config.json into a {@link ModelConfig}, refusing by name what the engine would compute wrongly. */
final class ModelConfigReader {
    /** Far more than any model has; lists of so many can be made. */
    private static final int MAX_LAYERS = 4096;

    /** Of heads and of elements in one, of the width of layers and of tokens in a vocabulary: their products fit where they are computed. */
    private static final int MAX_HEADS = 1 << 14;

    private static final int MAX_WIDTH = 1 << 24;

    private final Path file;
    private final JsonObject json;
    private final ModelFamily family;

    private ModelConfigReader(Path file) {
        this.file = file;
        this.json = JsonObject.read(file);
        this.family = family();
    }

    static ModelConfig read(Path folder) {
        return new ModelConfigReader(folder.resolve("config.json"))
                .config(folder.resolve("generation_config.json"), QuantizationConfig.read(folder));
    }

    private ModelConfig config(Path generationConfig, Optional<QuantizationConfig> quantization) {
        refuseWhatDiffers();
        quantization.ifPresent(this::refuseQuantizedWeights);
        int hidden = json.requireSize("hidden_size", MAX_WIDTH);
        int heads = json.requireSize("num_attention_heads", MAX_HEADS);
        int kvHeads = json.has("num_key_value_heads") ? json.requireSize("num_key_value_heads", MAX_HEADS) : heads;
        if (heads % kvHeads != 0) {
            throw json.wrong("num_key_value_heads", kvHeads, "a divisor of num_attention_heads, " + heads);
        }
        int headSize = headSize(hidden, heads);
        DType dtype = dtype();
        RopeReader rope = new RopeReader(json, family);
        return new ModelConfig(
                family.architecture,
                layers(rope),
                hidden,
                heads,
                kvHeads,
                headSize,
                json.requireSize("vocab_size", MAX_WIDTH),
                rope.maxPositions(),
                new ModelConfig.Norm(
                        (float) json.positive("rms_norm_eps", 1e-6), family.isGemma(), family.hasNormsAfterBlocks()),
                attention(headSize),
                mlp(),
                family.isGemma() ? rounded((float) Math.sqrt(hidden), dtype) : 1,
                softcap("final_logit_softcapping", 30),
                json.flag("tie_word_embeddings").orElse(family.isGemma()),
                eosTokenIds(generationConfig),
                dtype);
    }

    private ModelFamily family() {
        List<String> names = json.texts("architectures");
        return ModelFamily.of(names)
                .orElseThrow(() -> new CheckpointException(file + " names the architecture "
                        + (names.isEmpty() ? "(none)" : String.join(", ", names)) + "; supported are "
                        + ModelFamily.names() + "."));
    }

    private void refuseWhatDiffers() {
        double rotated = json.number("partial_rotary_factor").orElse(1);
        if (rotated != 1) {
            throw json.wrong("partial_rotary_factor", rotated, "1: heads are rotated whole");
        }
        if (family.isGemma() && json.flag("use_bidirectional_attention").orElse(false)) {
            throw json.wrong("use_bidirectional_attention", true, "false: a token sees only those before it");
        }
    }

    /** A checkpoint may carry KV scales, but its weights must not be quantized. */
    private void refuseQuantizedWeights(QuantizationConfig quantization) {
        if (quantization.quantizesWeights()) {
            throw new CheckpointException(file + ", quantization_config: weights quantized by " + quantization.method()
                    + " are not read; only a checkpoint with plain weights and, if you like, KV scales (of"
                    + " compressed-tensors, Quark or ModelOpt). Use the unquantized checkpoint.");
        }
    }

    private int headSize(int hidden, int heads) {
        if (json.has("head_dim")) {
            return json.requireSize("head_dim", MAX_HEADS);
        }
        if (family.defaultHeadSize() > 0) {
            return family.defaultHeadSize();
        }
        if (hidden % heads != 0) {
            throw json.wrong("hidden_size", hidden, "a multiple of num_attention_heads, " + heads);
        }
        return hidden / heads;
    }

    private List<ModelConfig.Layer> layers(RopeReader rope) {
        int count = json.requireSize("num_hidden_layers", MAX_LAYERS);
        LayerWindows windows = LayerWindows.read(json, family, count);
        List<ModelConfig.Layer> layers = new ArrayList<>();
        for (int layer = 0; layer < windows.layers(); layer++) {
            layers.add(new ModelConfig.Layer(windows.window(layer), rope.rope(windows.slides(layer))));
        }
        return layers;
    }

    private ModelConfig.Attention attention(int headSize) {
        double scaledBy =
                family.hasNormsAfterBlocks() ? json.positive("query_pre_attn_scalar", 256) : (double) headSize;
        boolean bias =
                family.readsAttentionBias() && json.flag("attention_bias").orElse(false);
        return new ModelConfig.Attention(
                (float) (1 / Math.sqrt(scaledBy)),
                softcap("attn_logit_softcapping", 50),
                family.normalizesHeads(),
                bias || family.hasQkvBias(),
                bias);
    }

    /** Gemma 2 has softcaps unless a null says that it has none, Gemma 3 only where they are given. */
    private float softcap(String key, double ofGemma2) {
        boolean usual = family == ModelFamily.GEMMA2 && !json.isNull(key);
        boolean given = family == ModelFamily.GEMMA3 && json.has(key);
        return usual || given ? (float) json.positive(key, ofGemma2) : 0;
    }

    private ModelConfig.Mlp mlp() {
        return new ModelConfig.Mlp(
                json.requireSize("intermediate_size", MAX_WIDTH),
                activation(),
                family.readsMlpBias() && json.flag("mlp_bias").orElse(false));
    }

    /** Gemma's first configurations name a plain GELU as {@code hidden_act}, which no model was computed with; what counts is newer. */
    private Activation activation() {
        if (family.isGemma()) {
            require("hidden_activation", "gelu_pytorch_tanh");
            return Activation.GELU_TANH;
        }
        require("hidden_act", "silu");
        return Activation.SILU;
    }

    private void require(String key, String only) {
        String given = json.text(key).orElse(only);
        if (!given.equals(only)) {
            throw json.wrong(key, given, only);
        }
    }

    private List<Integer> eosTokenIds(Path generationConfig) {
        Set<Integer> ids = new LinkedHashSet<>(json.integers("eos_token_id"));
        if (Files.exists(generationConfig)) {
            ids.addAll(JsonObject.read(generationConfig).integers("eos_token_id"));
        }
        return List.copyOf(ids);
    }

    private DType dtype() {
        String name = json.text("torch_dtype").or(() -> json.text("dtype")).orElse("float32");
        return switch (name) {
            case "bfloat16" -> DType.BFLOAT16;
            case "float16" -> DType.FLOAT16;
            case "float32" -> DType.FLOAT32;
            default -> throw json.wrong("torch_dtype", name, "bfloat16, float16 or float32");
        };
    }

    /** Gemma was trained with its embeddings' factor in the weights' type: 55.5 for a hidden size of 3072 in bfloat16. */
    private static float rounded(float value, DType dtype) {
        int dropped = switch (dtype) {
            case BFLOAT16 -> 16;
            case FLOAT16 -> 13;
            default -> 0;
        };
        int bits = Float.floatToRawIntBits(value);
        int mask = (1 << dropped) - 1;
        int rest = bits & mask;
        int down = bits & ~mask;
        int half = (mask + 1) >> 1;
        boolean up = rest > half || (rest == half && rest != 0 && (down >> dropped & 1) == 1);
        return Float.intBitsToFloat(up ? down + mask + 1 : down);
    }
}
