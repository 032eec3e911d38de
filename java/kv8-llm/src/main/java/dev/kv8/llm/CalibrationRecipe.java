package dev.kv8.llm;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * What an LLM Compressor recipe asks for, as far as it is about the KV cache:
 *
 * <pre>{@code
 * quant_stage:
 *   quant_modifiers:
 *     QuantizationModifier:
 *       kv_cache_scheme: {num_bits: 8, type: float, strategy: tensor, dynamic: false, symmetric: true}
 *       ignore: ["model.layers.0.self_attn"]
 * }</pre>
 *
 * <p>The stage, and the modifiers inside it, may be left out. A recipe that asks for anything else, such as quantized
 * weights, is refused by name rather than followed in part.
 *
 * @param scheme how the cache is quantized
 * @param ignore modules left alone: names, or {@code re:} and an expression that a name's beginning matches
 */
public record CalibrationRecipe(KvCacheScheme scheme, List<String> ignore) {
    private static final String MODIFIER = "QuantizationModifier";

    private static final String STAGE = "_stage";
    private static final String MODIFIERS = "_modifiers";

    /** They quantize weights or activations. */
    private static final List<String> REFUSED =
            List.of("config_groups", "scheme", "weight_observer", "input_observer", "output_observer", "observer");

    /** Without a scheme, targets quantize nothing; LLM Compressor writes the other two into the recipes that it saves. */
    private static final Set<String> HARMLESS =
            Set.of("targets", "bypass_divisibility_checks", "requires_calibration_data");

    public CalibrationRecipe {
        ignore = List.copyOf(ignore);
    }

    /**
     * Reads a YAML recipe.
     *
     * @throws CheckpointException naming the file and the key that is missing, malformed or not supported
     */
    public static CalibrationRecipe read(Path file) {
        List<JsonObject> modifiers = new ArrayList<>();
        collect(JsonObject.readYaml(file), modifiers);
        if (modifiers.size() != 1) {
            throw new CheckpointException(file + " has " + modifiers.size() + " modifiers; it must have one, a "
                    + MODIFIER + " with a kv_cache_scheme.");
        }
        return of(modifiers.get(0));
    }

    private static void collect(JsonObject object, List<JsonObject> modifiers) {
        for (String key : object.keys()) {
            if (key.equals(MODIFIER)) {
                modifiers.add(object.requireObject(key));
            } else if (key.endsWith(STAGE) || key.endsWith(MODIFIERS)) {
                collect(object.requireObject(key), modifiers);
            } else if (!key.equals("run_type")) {
                throw object.refused(
                        key,
                        "is not followed; the only modifier that kv8 follows is a " + MODIFIER
                                + " with a kv_cache_scheme, in a *_stage and *_modifiers or alone");
            }
        }
    }

    private static CalibrationRecipe of(JsonObject modifier) {
        for (String key : modifier.keys()) {
            if (REFUSED.contains(key)) {
                throw modifier.refused(
                        key,
                        "quantizes weights or activations, which kv8 does not do; leave only kv_cache_scheme and ignore,"
                                + " or use LLM Compressor");
            }
            if (!key.equals("kv_cache_scheme") && !key.equals("ignore") && !HARMLESS.contains(key)) {
                throw modifier.refused(key, "is not known; known are kv_cache_scheme and ignore");
            }
        }
        List<String> ignore = modifier.texts("ignore");
        ignore.forEach(ModulePattern::compressedTensors);
        return new CalibrationRecipe(KvCacheScheme.ofRecipe(modifier.requireObject("kv_cache_scheme")), ignore);
    }

    /** The layers of a model whose keys and values stay in 16 bits because {@link #ignore} names their attention. */
    public Set<Integer> skippedLayers(int layers) {
        return ModulePattern.ignoredAttention(ignore, layers);
    }
}
