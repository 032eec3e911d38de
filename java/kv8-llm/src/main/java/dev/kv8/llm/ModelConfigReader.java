package dev.kv8.llm;

import dev.kv8.DType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/** Turns config.json into a {@link ModelConfig}, refusing by name what the engine would compute wrongly. */
final class ModelConfigReader {
    /** They differ in biases and sliding windows only. */
    private enum Family {
        LLAMA("LlamaForCausalLM"),
        MISTRAL("MistralForCausalLM"),
        QWEN2("Qwen2ForCausalLM");

        final String architecture;

        Family(String architecture) {
            this.architecture = architecture;
        }
    }

    private final Path file;
    private final JsonObject json;

    private ModelConfigReader(Path file) {
        this.file = file;
        this.json = JsonObject.read(file);
    }

    static ModelConfig read(Path folder) {
        return new ModelConfigReader(folder.resolve("config.json"))
                .config(folder.resolve("generation_config.json"), QuantizationConfig.read(folder));
    }

    private ModelConfig config(Path generationConfig, Optional<QuantizationConfig> quantization) {
        Family family = family();
        refuseWhatDiffers(family);
        quantization.ifPresent(this::refuseQuantizedWeights);
        int hidden = json.requireSize("hidden_size");
        int heads = json.requireSize("num_attention_heads");
        int kvHeads = json.has("num_key_value_heads") ? json.requireSize("num_key_value_heads") : heads;
        if (heads % kvHeads != 0) {
            throw json.wrong("num_key_value_heads", kvHeads, "a divisor of num_attention_heads, " + heads);
        }
        boolean attentionBias =
                family == Family.LLAMA && json.flag("attention_bias").orElse(false);
        return new ModelConfig(
                family.architecture,
                json.requireSize("num_hidden_layers"),
                hidden,
                json.requireSize("intermediate_size"),
                heads,
                kvHeads,
                headSize(hidden, heads),
                json.requireSize("vocab_size"),
                json.has("max_position_embeddings") ? json.requireSize("max_position_embeddings") : 2048,
                (float) positive(json, "rms_norm_eps", 1e-6),
                ropeTheta(),
                ropeScaling(),
                family == Family.MISTRAL && json.has("sliding_window") ? json.requireSize("sliding_window") : 0,
                family == Family.QWEN2 || attentionBias,
                attentionBias,
                family == Family.LLAMA && json.flag("mlp_bias").orElse(false),
                json.flag("tie_word_embeddings").orElse(false),
                eosTokenIds(generationConfig),
                dtype());
    }

    private Family family() {
        List<String> names = json.texts("architectures");
        for (Family family : Family.values()) {
            if (names.contains(family.architecture)) {
                return family;
            }
        }
        throw new CheckpointException(file + " names the architecture "
                + (names.isEmpty() ? "(none)" : String.join(", ", names)) + "; supported are "
                + Arrays.stream(Family.values())
                        .map(family -> family.architecture)
                        .collect(Collectors.joining(", ")) + ".");
    }

    private void refuseWhatDiffers(Family family) {
        String activation = json.text("hidden_act").orElse("silu");
        if (!activation.equals("silu")) {
            throw json.wrong("hidden_act", activation, "silu");
        }
        double rotated = json.number("partial_rotary_factor").orElse(1);
        if (rotated != 1) {
            throw json.wrong("partial_rotary_factor", rotated, "1: heads are rotated whole");
        }
        if (family == Family.QWEN2 && json.flag("use_sliding_window").orElse(false)) {
            throw json.wrong("use_sliding_window", true, "false: layers with different windows are not supported");
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
            return json.requireSize("head_dim");
        }
        if (hidden % heads != 0) {
            throw json.wrong("hidden_size", hidden, "a multiple of num_attention_heads, " + heads);
        }
        return hidden / heads;
    }

    /** Newer configurations keep theta and scaling together in {@code rope_parameters}. */
    private Optional<JsonObject> ropeObject() {
        return json.object("rope_parameters").or(() -> json.object("rope_scaling"));
    }

    private double ropeTheta() {
        Optional<JsonObject> object = ropeObject();
        if (object.isPresent() && object.get().has("rope_theta")) {
            return positive(object.get(), "rope_theta", 10000);
        }
        return positive(json, "rope_theta", 10000);
    }

    private RopeScaling ropeScaling() {
        Optional<JsonObject> object = ropeObject();
        if (object.isEmpty()) {
            return new RopeScaling.None();
        }
        JsonObject scaling = object.get();
        String type = scaling.text("rope_type").or(() -> scaling.text("type")).orElse("default");
        return switch (type) {
            case "default" -> new RopeScaling.None();
            case "linear" -> new RopeScaling.Linear(positive(scaling, "factor", Double.NaN));
            case "llama3" -> llama3(scaling);
            default -> throw scaling.wrong("rope_type", type, "default, linear or llama3");
        };
    }

    private static RopeScaling llama3(JsonObject scaling) {
        double low = positive(scaling, "low_freq_factor", Double.NaN);
        double high = positive(scaling, "high_freq_factor", Double.NaN);
        if (high <= low) {
            throw scaling.wrong("high_freq_factor", high, "more than low_freq_factor, " + low);
        }
        return new RopeScaling.Llama3(
                positive(scaling, "factor", Double.NaN),
                low,
                high,
                scaling.requireSize("original_max_position_embeddings"));
    }

    private static double positive(JsonObject object, String key, double absent) {
        double value = Double.isNaN(absent)
                ? object.requireNumber(key)
                : object.number(key).orElse(absent);
        if (!(value > 0)) {
            throw object.wrong(key, value, "more than 0");
        }
        return value;
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
}
