package dev.kv8.llm;

import dev.kv8.KvScales;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;

/**
 * What a quantized checkpoint says about itself: {@code quantization_config} of config.json, or ModelOpt's {@code
 * hf_quant_config.json}. What it says about the cache is looked at only when asked for, since a 16-bit cache needs none of it.
 */
final class QuantizationConfig {
    private static final String MODEL_OPT_FILE = "hf_quant_config.json";

    /** Who made the checkpoint. */
    private enum Maker {
        COMPRESSED_TENSORS,
        QUARK,
        MODEL_OPT,
        OTHER
    }

    private final String method;
    private final Maker maker;
    private final JsonObject json;

    private QuantizationConfig(String method, JsonObject json) {
        this.method = method;
        this.json = json;
        maker = switch (method.toLowerCase(Locale.ROOT)) {
            case "compressed-tensors" -> Maker.COMPRESSED_TENSORS;
            case "quark" -> Maker.QUARK;
            case "modelopt" -> Maker.MODEL_OPT;
            default -> Maker.OTHER;
        };
    }

    /** Empty for a checkpoint that is not quantized. */
    static Optional<QuantizationConfig> read(Path folder) {
        Optional<JsonObject> inConfig =
                JsonObject.read(folder.resolve("config.json")).object("quantization_config");
        if (inConfig.isPresent()) {
            JsonObject found = inConfig.get();
            return Optional.of(new QuantizationConfig(found.text("quant_method").orElse("(none)"), found));
        }
        Path modelOpt = folder.resolve(MODEL_OPT_FILE);
        return Files.exists(modelOpt)
                ? Optional.of(new QuantizationConfig("modelopt", JsonObject.read(modelOpt)))
                : Optional.empty();
    }

    String method() {
        return method;
    }

    /** Whether more than the cache is quantized. */
    boolean quantizesWeights() {
        return switch (maker) {
            case COMPRESSED_TENSORS ->
                json.object("config_groups")
                        .map(groups -> groups.keys().iterator().hasNext())
                        .orElse(false);
            case QUARK ->
                json.object("global_quant_config")
                                .map(QuantizationConfig::quantizesLinear)
                                .orElse(false)
                        || quarkLayers("layer_quant_config").stream().anyMatch(layer -> quantizesLinear(layer.config()))
                        || json.object("layer_type_quant_config")
                                .map(types -> types.keys().iterator().hasNext())
                                .orElse(false);
            case MODEL_OPT -> modelOpt().has("quant_algo");
            case OTHER -> true;
        };
    }

    private static boolean quantizesLinear(JsonObject quark) {
        return quark.has("weight") || quark.has("input_tensors") || quark.has("bias");
    }

    /**
     * The granularity of the scales that the cache was quantized with; empty when it was not.
     *
     * @throws CheckpointException naming the key of a scheme that kv8's cache can't use
     */
    Optional<KvScales.Granularity> cacheGranularity() {
        return switch (maker) {
            case COMPRESSED_TENSORS -> json.object("kv_cache_scheme").map(KvCacheScheme::granularityOf);
            case QUARK -> quarkGranularity();
            case MODEL_OPT -> modelOptGranularity();
            case OTHER -> Optional.empty();
        };
    }

    /** The layers whose keys and values were left in 16 bits, ascending. */
    Set<Integer> skippedLayers(int layers) {
        try {
            return ignoredLayers(layers);
        } catch (CheckpointException e) { // a pattern, which does not know whose it is
            throw new CheckpointException(json.where() + ": " + e.getMessage(), e);
        }
    }

    private Set<Integer> ignoredLayers(int layers) {
        return switch (maker) {
            case COMPRESSED_TENSORS -> ModulePattern.ignoredAttention(json.texts("ignore"), layers);
            case QUARK -> quarkExcluded(layers);
            // ModelOpt's excluded modules are linear layers; it quantizes the whole cache or none of it.
            case MODEL_OPT, OTHER -> Set.of();
        };
    }

    private record QuarkLayer(String pattern, JsonObject config) {}

    private List<QuarkLayer> quarkLayers(String key) {
        List<QuarkLayer> result = new ArrayList<>();
        json.object(key).ifPresent(layers -> {
            for (String pattern : layers.keys()) {
                result.add(new QuarkLayer(pattern, layers.requireObject(pattern)));
            }
        });
        return result;
    }

    /** Quark quantizes the outputs of the K and V projections: as kv_cache_quant_config says, or else as kv_cache_group's layers. */
    private Optional<KvScales.Granularity> quarkGranularity() {
        List<QuarkLayer> cached = quarkLayers("kv_cache_quant_config");
        List<String> group = json.object("export")
                .map(export -> export.texts("kv_cache_group"))
                .orElse(List.of());
        if (cached.isEmpty() && !group.isEmpty()) {
            List<ModulePattern> patterns =
                    group.stream().map(ModulePattern::glob).toList();
            cached = quarkLayers("layer_quant_config").stream()
                    .filter(layer -> patterns.stream().anyMatch(pattern -> pattern.matches(layer.pattern())))
                    .toList();
            if (cached.isEmpty()) {
                throw json.refused(
                        "layer_quant_config",
                        "has nothing for export's kv_cache_group " + group + ", so it is not known how the cache was"
                                + " quantized");
            }
        }
        for (QuarkLayer layer : cached) {
            checkQuark(layer.config().requireObject("output_tensors"));
        }
        return cached.isEmpty() ? Optional.empty() : Optional.of(KvScales.Granularity.TENSOR);
    }

    private static void checkQuark(JsonObject outputs) {
        String dtype = outputs.text("dtype").orElse("(none)");
        if (!dtype.equals("fp8_e4m3")) {
            throw outputs.wrong("dtype", dtype, "fp8_e4m3");
        }
        String granularity = outputs.text("qscheme").orElse("(none)");
        if (!granularity.equals("per_tensor")) {
            throw outputs.wrong("qscheme", granularity, "per_tensor");
        }
        if (outputs.flag("is_dynamic").orElse(false)) {
            throw outputs.wrong("is_dynamic", true, "false: such scales are not in the checkpoint");
        }
    }

    private Set<Integer> quarkExcluded(int layers) {
        List<ModulePattern> patterns =
                json.texts("exclude").stream().map(ModulePattern::quark).toList();
        Set<Integer> result = new LinkedHashSet<>();
        for (int layer = 0; layer < layers; layer++) {
            LayerNames names = new LayerNames(layer);
            boolean k = patterns.stream().anyMatch(pattern -> pattern.matches(names.attention("k")));
            boolean v = patterns.stream().anyMatch(pattern -> pattern.matches(names.attention("v")));
            if (k && v) {
                result.add(layer);
            }
        }
        return result;
    }

    private JsonObject modelOpt() {
        return json.object("quantization").orElse(json);
    }

    private Optional<KvScales.Granularity> modelOptGranularity() {
        JsonObject found = modelOpt();
        Optional<String> algorithm = found.text("kv_cache_quant_algo");
        if (algorithm.isPresent()) {
            if (!algorithm.get().equalsIgnoreCase("FP8")) {
                throw found.wrong("kv_cache_quant_algo", algorithm.get(), "FP8");
            }
            return Optional.of(KvScales.Granularity.TENSOR);
        }
        return found.object("kv_cache_scheme").map(KvCacheScheme::granularityOf);
    }
}
