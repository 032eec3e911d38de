package dev.kv8.llm;

import java.util.Optional;

/**
 * The rotary angles that config.json describes: {@code rope_theta} and {@code rope_scaling}, or newer {@code rope_parameters} with both
 * in it, for Gemma 3 one such object for each kind of layer.
 */
final class RopeReader {
    private static final String PARAMETERS = "rope_parameters";

    private final JsonObject json;
    private final int givenPositions;
    private final ModelConfig.Rope full;
    private final ModelConfig.Rope sliding;

    RopeReader(JsonObject json, ModelFamily family) {
        this.json = json;
        givenPositions =
                json.has("max_position_embeddings") ? json.requireSize("max_position_embeddings") : family.maxPositions;
        if (family == ModelFamily.GEMMA3) {
            full = rope(layerParameters("full_attention"), "rope_theta", 1e6);
            // Where the layers' parameters are not told apart, the scaling is that of the layers that see everything.
            sliding = isByLayerType()
                    ? rope(layerParameters("sliding_attention"), "rope_theta", 1e4)
                    : rope(Optional.empty(), "rope_local_base_freq", 1e4);
        } else {
            full = rope(parameters(), "rope_theta", 1e4);
            sliding = full;
        }
    }

    /** The angles of layers with a sliding window, or of the others. */
    ModelConfig.Rope rope(boolean slides) {
        return slides ? sliding : full;
    }

    /** The longest sequence that the model was made for: with YaRN what the original context is stretched to. */
    int maxPositions() {
        if (full.scaling() instanceof RopeScaling.Yarn yarn) {
            double stretched = Math.min(Integer.MAX_VALUE, yarn.factor() * yarn.originalPositions());
            return Math.max(givenPositions, (int) stretched);
        }
        return givenPositions;
    }

    private Optional<JsonObject> parameters() {
        return json.object(PARAMETERS).or(() -> json.object("rope_scaling"));
    }

    private boolean isByLayerType() {
        return json.object(PARAMETERS)
                .map(object -> object.has("full_attention"))
                .orElse(false);
    }

    private Optional<JsonObject> layerParameters(String type) {
        return isByLayerType() ? parameters().map(object -> object.requireObject(type)) : parameters();
    }

    private ModelConfig.Rope rope(Optional<JsonObject> parameters, String thetaKey, double usualTheta) {
        Optional<JsonObject> inside = parameters.filter(object -> object.has("rope_theta"));
        double theta = inside.isPresent() ? inside.get().positive("rope_theta") : json.positive(thetaKey, usualTheta);
        RopeScaling scaling = parameters.map(this::scaling).orElse(new RopeScaling.None());
        if (scaling instanceof RopeScaling.Yarn && theta <= 1) {
            throw json.wrong(thetaKey, theta, "more than 1: YaRN asks which pairs turn how often");
        }
        return new ModelConfig.Rope(theta, scaling);
    }

    private RopeScaling scaling(JsonObject scaling) {
        double rotated = scaling.number("partial_rotary_factor").orElse(1);
        if (rotated != 1) {
            throw scaling.wrong("partial_rotary_factor", rotated, "1: heads are rotated whole");
        }
        String type = scaling.text("rope_type").or(() -> scaling.text("type")).orElse("default");
        return switch (type) {
            case "default" -> new RopeScaling.None();
            case "linear" -> new RopeScaling.Linear(scaling.positive("factor"));
            case "llama3" -> llama3(scaling);
            case "yarn" -> yarn(scaling);
            case "dynamic" ->
                throw scaling.wrong(
                        "rope_type",
                        type,
                        "default, linear, llama3 or yarn: dynamic angles change with a text's length, and so would all keys"
                                + " that are already cached");
            default -> throw scaling.wrong("rope_type", type, "default, linear, llama3 or yarn");
        };
    }

    private static RopeScaling llama3(JsonObject scaling) {
        double low = scaling.positive("low_freq_factor");
        double high = scaling.positive("high_freq_factor");
        if (high <= low) {
            throw scaling.wrong("high_freq_factor", high, "more than low_freq_factor, " + low);
        }
        return new RopeScaling.Llama3(
                scaling.positive("factor"), low, high, scaling.requireSize("original_max_position_embeddings"));
    }

    private RopeScaling yarn(JsonObject scaling) {
        double factor = scaling.positive("factor");
        double fast = scaling.positive("beta_fast", 32);
        double slow = scaling.positive("beta_slow", 1);
        if (fast <= slow) {
            throw scaling.wrong("beta_fast", fast, "more than beta_slow, " + slow);
        }
        return new RopeScaling.Yarn(
                factor,
                fast,
                slow,
                scaling.has("original_max_position_embeddings")
                        ? scaling.requireSize("original_max_position_embeddings")
                        : givenPositions,
                yarnMagnitude(scaling, factor),
                scaling.flag("truncate").orElse(true));
    }

    /** Given, or DeepSeek's ratio of two, or the paper's. */
    private static double yarnMagnitude(JsonObject scaling, double factor) {
        if (scaling.has("attention_factor")) {
            return scaling.positive("attention_factor");
        }
        if (scaling.has("mscale") && scaling.has("mscale_all_dim")) {
            return RopeScaling.Yarn.magnitude(factor, scaling.positive("mscale"))
                    / RopeScaling.Yarn.magnitude(factor, scaling.positive("mscale_all_dim"));
        }
        return RopeScaling.Yarn.usualMagnitude(factor);
    }
}
