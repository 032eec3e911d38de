package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;

/** Which layers see a sliding window of keys only. */
final class LayerWindows {
    private static final String SLIDING = "sliding_attention";
    private static final String FULL = "full_attention";

    private final List<Boolean> slides;
    private final int window;

    private LayerWindows(List<Boolean> slides, int window) {
        this.slides = slides;
        this.window = window;
    }

    static LayerWindows read(JsonObject json, ModelFamily family, int layers) {
        return switch (family) {
            case LLAMA, GEMMA -> none(layers);
            case MISTRAL -> new LayerWindows(everyAfter(layers, 0), window(json));
            case QWEN2, QWEN3 -> qwen(json, layers);
            case GEMMA2 -> gemma(json, layers, 2);
            case GEMMA3 -> gemma(json, layers, pattern(json));
        };
    }

    private static LayerWindows none(int layers) {
        return new LayerWindows(everyAfter(layers, layers), 0);
    }

    /** Only where {@code use_sliding_window} says so, and behind the first {@code max_window_layers} layers. */
    private static LayerWindows qwen(JsonObject json, int layers) {
        if (!json.flag("use_sliding_window").orElse(false)) {
            return none(layers);
        }
        int full = json.integer("max_window_layers").orElse(28);
        if (full < 0) {
            throw json.wrong("max_window_layers", full, "0 or more");
        }
        return new LayerWindows(layerTypes(json, layers, everyAfter(layers, full)), window(json));
    }

    private static int pattern(JsonObject json) {
        for (String key : List.of("sliding_window_pattern", "_sliding_window_pattern")) {
            if (json.has(key)) {
                return json.requireSize(key);
            }
        }
        return 6;
    }

    /** All but every {@code pattern}th layer. */
    private static LayerWindows gemma(JsonObject json, int layers, int pattern) {
        List<Boolean> usual = new ArrayList<>();
        for (int layer = 0; layer < layers; layer++) {
            usual.add((layer + 1) % pattern != 0);
        }
        return new LayerWindows(layerTypes(json, layers, usual), window(json));
    }

    private static List<Boolean> everyAfter(int layers, int first) {
        List<Boolean> slides = new ArrayList<>();
        for (int layer = 0; layer < layers; layer++) {
            slides.add(layer >= first);
        }
        return slides;
    }

    /** Where layers are listed one by one, the list counts. */
    private static List<Boolean> layerTypes(JsonObject json, int layers, List<Boolean> usual) {
        if (!json.has("layer_types")) {
            return usual;
        }
        List<String> types = json.texts("layer_types");
        if (types.size() != layers) {
            throw json.wrong(
                    "layer_types", "a list of " + types.size(), "one for each of num_hidden_layers, " + layers);
        }
        List<Boolean> slides = new ArrayList<>();
        for (String type : types) {
            if (!type.equals(SLIDING) && !type.equals(FULL)) {
                throw json.wrong("layer_types", type, "a list of " + SLIDING + " and " + FULL);
            }
            slides.add(type.equals(SLIDING));
        }
        return slides;
    }

    /** A null says that there is none after all. */
    private static int window(JsonObject json) {
        if (json.isNull("sliding_window")) {
            return 0;
        }
        return json.has("sliding_window") ? json.requireSize("sliding_window") : 4096;
    }

    int layers() {
        return slides.size();
    }

    boolean slides(int layer) {
        return slides.get(layer);
    }

    /** Keys that a query of the layer sees, its own included; 0 = all. */
    int window(int layer) {
        return slides(layer) ? window : 0;
    }
}
