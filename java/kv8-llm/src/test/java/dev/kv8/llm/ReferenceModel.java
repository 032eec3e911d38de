package dev.kv8.llm;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The logits of a checkpoint by the architectures' plain formulas, all in double: one token after the other over all earlier keys,
 * without cache, batch or fused matrices. It reads config.json and tensors by itself and has nothing in common with the engine, so
 * that a mistake of the one is not one of the other.
 */
final class ReferenceModel {
    private final JsonObject config;
    private final Map<String, double[]> tensors = new HashMap<>();
    private final String architecture;
    private final int hiddenSize;
    private final int heads;
    private final int kvHeads;
    private final int headDim;

    /**
     * Reads a checkpoint.
     *
     * @param json the configuration to take instead of the folder's, with apostrophes in place of quotation marks
     */
    ReferenceModel(Path folder, String json) {
        config = JsonParser.parseString(json.replace('\'', '"')).getAsJsonObject();
        architecture = config.getAsJsonArray("architectures").get(0).getAsString();
        hiddenSize = (int) number("hidden_size", 0);
        heads = (int) number("num_attention_heads", 0);
        kvHeads = (int) number("num_key_value_heads", heads);
        headDim = (int) number("head_dim", (double) hiddenSize / heads);
        try (var files = Files.newDirectoryStream(folder, "*.safetensors")) {
            for (Path file : files) {
                StoredModel.read(file).tensors().forEach((name, tensor) -> tensors.put(name, tensor.doubles()));
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private boolean isGemma() {
        return architecture.startsWith("Gemma");
    }

    private boolean isGemma2Or3() {
        return architecture.startsWith("Gemma2") || architecture.startsWith("Gemma3");
    }

    private static double number(JsonObject object, String key, double absent) {
        JsonElement value = object.get(key);
        return value == null || value.isJsonNull() ? absent : value.getAsDouble();
    }

    private double number(String key, double absent) {
        return number(config, key, absent);
    }

    private boolean flag(String key, boolean absent) {
        return config.has(key) ? config.get(key).getAsBoolean() : absent;
    }

    /** The logits after each token. */
    double[][] logits(int[] tokens) {
        int layers = (int) number("num_hidden_layers", 0);
        double[][] hidden = new double[tokens.length][];
        for (int t = 0; t < tokens.length; t++) {
            hidden[t] = new double[hiddenSize];
            for (int i = 0; i < hiddenSize; i++) {
                hidden[t][i] = tensor("model.embed_tokens.weight")[tokens[t] * hiddenSize + i]
                        * (isGemma() ? normalizer() : 1);
            }
        }
        for (int layer = 0; layer < layers; layer++) {
            block(layer, hidden);
        }
        double[][] logits = new double[tokens.length][];
        boolean tied = flag("tie_word_embeddings", isGemma());
        double softcap = number("final_logit_softcapping", architecture.startsWith("Gemma2") ? 30 : 0);
        for (int t = 0; t < tokens.length; t++) {
            double[] last = norm(hidden[t], "model.norm.weight");
            logits[t] = linear(tied ? "model.embed_tokens" : "lm_head", last);
            for (int i = 0; i < logits[t].length && isGemma() && softcap != 0; i++) {
                logits[t][i] = softcap * Math.tanh(logits[t][i] / softcap);
            }
        }
        return logits;
    }

    /** The square root of the hidden size, rounded to the weights' type by what the type's precision is. */
    private double normalizer() {
        double root = Math.sqrt(hiddenSize);
        String dtype = config.has("torch_dtype") ? config.get("torch_dtype").getAsString() : "float32";
        int fractionBits = dtype.equals("bfloat16") ? 7 : dtype.equals("float16") ? 10 : 23;
        double unit = Math.scalb(1.0, Math.getExponent(root) - fractionBits);
        return Math.rint(root / unit) * unit;
    }

    private void block(int layer, double[][] hidden) {
        String prefix = "model.layers." + layer + ".";
        double[][] q = new double[hidden.length][];
        double[][] k = new double[hidden.length][];
        double[][] v = new double[hidden.length][];
        for (int t = 0; t < hidden.length; t++) {
            double[] normed = norm(hidden[t], prefix + "input_layernorm.weight");
            q[t] = headsNormed(linear(prefix + "self_attn.q_proj", normed), prefix + "self_attn.q_norm.weight");
            k[t] = headsNormed(linear(prefix + "self_attn.k_proj", normed), prefix + "self_attn.k_norm.weight");
            v[t] = linear(prefix + "self_attn.v_proj", normed);
            rotate(q[t], layer, t);
            rotate(k[t], layer, t);
        }
        for (int t = 0; t < hidden.length; t++) {
            double[] attended = linear(prefix + "self_attn.o_proj", attend(layer, q[t], k, v, t));
            String next = prefix + "post_attention_layernorm.weight";
            if (isGemma2Or3()) {
                attended = norm(attended, next);
                next = prefix + "pre_feedforward_layernorm.weight";
            }
            add(hidden[t], attended);
            double[] mixed = mlp(prefix, norm(hidden[t], next));
            if (isGemma2Or3()) {
                mixed = norm(mixed, prefix + "post_feedforward_layernorm.weight");
            }
            add(hidden[t], mixed);
        }
    }

    private double[] mlp(String prefix, double[] x) {
        double[] gate = linear(prefix + "mlp.gate_proj", x);
        double[] up = linear(prefix + "mlp.up_proj", x);
        for (int i = 0; i < gate.length; i++) {
            double g = gate[i];
            double activated = isGemma()
                    ? 0.5 * g * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (g + 0.044715 * Math.pow(g, 3))))
                    : g / (1 + Math.exp(-g));
            gate[i] = activated * up[i];
        }
        return linear(prefix + "mlp.down_proj", gate);
    }

    private double[] attend(int layer, double[] q, double[][] keys, double[][] values, int position) {
        double scale = 1 / Math.sqrt(isGemma2Or3() ? number("query_pre_attn_scalar", 256) : headDim);
        double softcap = isGemma() ? number("attn_logit_softcapping", architecture.startsWith("Gemma2") ? 50 : 0) : 0;
        int window = window(layer);
        double[] out = new double[heads * headDim];
        for (int head = 0; head < heads; head++) {
            int kv = head / (heads / kvHeads) * headDim;
            double[] weights = new double[position + 1];
            double largest = Double.NEGATIVE_INFINITY;
            for (int j = 0; j <= position; j++) {
                double score = 0;
                for (int d = 0; d < headDim; d++) {
                    score += q[head * headDim + d] * keys[j][kv + d];
                }
                score *= scale;
                if (softcap != 0) {
                    score = softcap * Math.tanh(score / softcap);
                }
                boolean seen = window == 0 || position - j < window;
                weights[j] = seen ? score : Double.NEGATIVE_INFINITY;
                largest = Math.max(largest, weights[j]);
            }
            double sum = 0;
            for (int j = 0; j <= position; j++) {
                weights[j] = Math.exp(weights[j] - largest);
                sum += weights[j];
            }
            for (int j = 0; j <= position; j++) {
                for (int d = 0; d < headDim; d++) {
                    out[head * headDim + d] += weights[j] / sum * values[j][kv + d];
                }
            }
        }
        return out;
    }

    private boolean slides(int layer) {
        if (config.has("layer_types") && !architecture.startsWith("Llama")) {
            return config.getAsJsonArray("layer_types").get(layer).getAsString().equals("sliding_attention");
        }
        if (architecture.startsWith("Gemma3")) {
            return (layer + 1) % (int) number("sliding_window_pattern", 6) != 0;
        }
        if (architecture.startsWith("Gemma2")) {
            return layer % 2 == 0;
        }
        if (architecture.startsWith("Qwen")) {
            return layer >= (int) number("max_window_layers", 28);
        }
        return architecture.startsWith("Mistral");
    }

    /** 0 for none. */
    private int window(int layer) {
        boolean off = architecture.startsWith("Qwen") && !flag("use_sliding_window", false);
        return slides(layer) && !off ? (int) number("sliding_window", 0) : 0;
    }

    private void rotate(double[] x, int layer, int position) {
        double theta = number("rope_theta", 10000);
        @Nullable JsonObject scaling = null;
        for (String key : new String[] {"rope_scaling", "rope_parameters"}) {
            if (config.has(key) && !config.get(key).isJsonNull()) {
                scaling = config.getAsJsonObject(key);
            }
        }
        if (architecture.startsWith("Gemma3")) {
            theta = number("rope_theta", 1000000);
            if (scaling != null && scaling.has("sliding_attention")) {
                scaling = scaling.getAsJsonObject(slides(layer) ? "sliding_attention" : "full_attention");
            } else if (slides(layer)) {
                theta = number("rope_local_base_freq", 10000);
                scaling = null;
            }
        }
        if (scaling != null) {
            theta = number(scaling, "rope_theta", theta);
        }
        double magnitude = magnitude(scaling);
        int half = headDim / 2;
        for (int head = 0; head < x.length; head += headDim) {
            for (int i = 0; i < half; i++) {
                double angle = position * frequency(i, theta, scaling);
                double a = x[head + i];
                double b = x[head + half + i];
                x[head + i] = magnitude * (a * Math.cos(angle) - b * Math.sin(angle));
                x[head + half + i] = magnitude * (b * Math.cos(angle) + a * Math.sin(angle));
            }
        }
    }

    private static String ropeType(JsonObject scaling) {
        JsonElement type = scaling.has("rope_type") ? scaling.get("rope_type") : scaling.get("type");
        return type == null ? "default" : type.getAsString();
    }

    /** The angle of pair {@code i} per position. */
    private double frequency(int i, double theta, @Nullable JsonObject scaling) {
        double plain = 1 / Math.pow(theta, 2.0 * i / headDim);
        if (scaling == null) {
            return plain;
        }
        double original = number(scaling, "original_max_position_embeddings", number("max_position_embeddings", 2048));
        return switch (ropeType(scaling)) {
            case "linear" -> plain / number(scaling, "factor", 1);
            case "llama3" -> llama3(plain, original, scaling);
            case "yarn" -> yarn(i, plain, original, theta, scaling);
            default -> plain;
        };
    }

    /** By wavelengths, as its authors wrote it. */
    private static double llama3(double plain, double original, JsonObject scaling) {
        double factor = number(scaling, "factor", 1);
        double low = number(scaling, "low_freq_factor", 0);
        double high = number(scaling, "high_freq_factor", 0);
        double wavelength = 2 * Math.PI / plain;
        if (wavelength < original / high) {
            return plain;
        }
        if (wavelength > original / low) {
            return plain / factor;
        }
        double smooth = (original / wavelength - low) / (high - low);
        return (1 - smooth) * plain / factor + smooth * plain;
    }

    /** By the correction range, as its authors wrote it. */
    private double yarn(int i, double plain, double original, double theta, JsonObject scaling) {
        double from = correction(number(scaling, "beta_fast", 32), original, theta);
        double to = correction(number(scaling, "beta_slow", 1), original, theta);
        if (!scaling.has("truncate") || scaling.get("truncate").getAsBoolean()) {
            from = Math.floor(from);
            to = Math.ceil(to);
        }
        from = Math.max(from, 0);
        to = Math.min(to, headDim - 1);
        double ramp = Math.min(Math.max((i - from) / (from == to ? 0.001 : to - from), 0), 1);
        double extrapolated = 1 - ramp;
        return plain / number(scaling, "factor", 1) * (1 - extrapolated) + plain * extrapolated;
    }

    private double correction(double rotations, double original, double theta) {
        return headDim * Math.log(original / (rotations * 2 * Math.PI)) / (2 * Math.log(theta));
    }

    private static double magnitude(@Nullable JsonObject scaling) {
        if (scaling == null || !ropeType(scaling).equals("yarn")) {
            return 1;
        }
        if (scaling.has("attention_factor")) {
            return scaling.get("attention_factor").getAsDouble();
        }
        double log = Math.log(number(scaling, "factor", 1));
        if (scaling.has("mscale") && scaling.has("mscale_all_dim")) {
            return (0.1 * number(scaling, "mscale", 1) * log + 1)
                    / (0.1 * number(scaling, "mscale_all_dim", 1) * log + 1);
        }
        return 0.1 * log + 1;
    }

    /** Head by head; unchanged where the model has no such norm. */
    private double[] headsNormed(double[] x, String name) {
        if (!tensors.containsKey(name)) {
            return x;
        }
        double[] out = new double[x.length];
        for (int head = 0; head < x.length; head += headDim) {
            double[] one = new double[headDim];
            System.arraycopy(x, head, one, 0, headDim);
            System.arraycopy(norm(one, name), 0, out, head, headDim);
        }
        return out;
    }

    private double[] norm(double[] x, String name) {
        double[] weight = tensor(name);
        double square = 0;
        for (double value : x) {
            square += value * value;
        }
        double[] out = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            double scale = isGemma() ? 1 + weight[i] : weight[i];
            out[i] = x[i] / Math.sqrt(square / x.length + number("rms_norm_eps", 1e-6)) * scale;
        }
        return out;
    }

    private double[] linear(String name, double[] x) {
        double[] weight = tensor(name + ".weight");
        double[] bias = tensors.get(name + ".bias");
        double[] out = new double[weight.length / x.length];
        for (int row = 0; row < out.length; row++) {
            double sum = bias == null ? 0 : bias[row];
            for (int i = 0; i < x.length; i++) {
                sum += weight[row * x.length + i] * x[i];
            }
            out[row] = sum;
        }
        return out;
    }

    private double[] tensor(String name) {
        return Objects.requireNonNull(tensors.get(name), name);
    }

    private static void add(double[] target, double[] delta) {
        for (int i = 0; i < target.length; i++) {
            target[i] += delta[i];
        }
    }
}
