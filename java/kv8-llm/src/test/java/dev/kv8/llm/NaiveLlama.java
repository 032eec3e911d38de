package dev.kv8.llm;

import java.util.Map;

/**
 * The Llama family's forward pass written down plainly, in double, one token after the other over all earlier keys: an
 * oracle for small models.
 */
final class NaiveLlama {
    private final ModelConfig config;
    private final Map<String, float[]> weights;

    NaiveLlama(ModelConfig config, Map<String, float[]> weights) {
        this.config = config;
        this.weights = weights;
    }

    /** The logits after each token. */
    double[][] logits(int[] tokens) {
        int size = config.headSize();
        int layers = config.layers();
        double[][][] keys = new double[layers][tokens.length][];
        double[][][] values = new double[layers][tokens.length][];
        double[][] result = new double[tokens.length][];
        for (int t = 0; t < tokens.length; t++) {
            double[] hidden = row("model.embed_tokens.weight", tokens[t], config.hiddenSize());
            for (int layer = 0; layer < layers; layer++) {
                String prefix = "model.layers." + layer + ".";
                double[] normed = norm(hidden, prefix + "input_layernorm.weight");
                double[] q = linear(prefix + "self_attn.q_proj", normed);
                keys[layer][t] = linear(prefix + "self_attn.k_proj", normed);
                values[layer][t] = linear(prefix + "self_attn.v_proj", normed);
                for (int head = 0; head < config.heads(); head++) {
                    rotate(q, head * size, t);
                }
                for (int head = 0; head < config.kvHeads(); head++) {
                    rotate(keys[layer][t], head * size, t);
                }
                double[] attention = attend(q, keys[layer], values[layer], t);
                add(hidden, linear(prefix + "self_attn.o_proj", attention));
                normed = norm(hidden, prefix + "post_attention_layernorm.weight");
                double[] gate = linear(prefix + "mlp.gate_proj", normed);
                double[] up = linear(prefix + "mlp.up_proj", normed);
                for (int i = 0; i < gate.length; i++) {
                    gate[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
                }
                add(hidden, linear(prefix + "mlp.down_proj", gate));
            }
            double[] last = norm(hidden, "model.norm.weight");
            result[t] = linear(config.tiedEmbeddings() ? "model.embed_tokens" : "lm_head", last);
        }
        return result;
    }

    private double[] attend(double[] q, double[][] keys, double[][] values, int position) {
        int size = config.headSize();
        int window = config.slidingWindow();
        int first = window == 0 ? 0 : Math.max(0, position - window + 1);
        double[] out = new double[config.heads() * size];
        for (int head = 0; head < config.heads(); head++) {
            int kv = head / (config.heads() / config.kvHeads()) * size;
            double sum = 0;
            for (int j = first; j <= position; j++) {
                double score = 0;
                for (int d = 0; d < size; d++) {
                    score += q[head * size + d] * keys[j][kv + d];
                }
                double weight = Math.exp(score / Math.sqrt(size));
                sum += weight;
                for (int d = 0; d < size; d++) {
                    out[head * size + d] += weight * values[j][kv + d];
                }
            }
            for (int d = 0; d < size; d++) {
                out[head * size + d] /= sum;
            }
        }
        return out;
    }

    private void rotate(double[] x, int offset, int position) {
        int half = config.headSize() / 2;
        for (int i = 0; i < half; i++) {
            double frequency = 1 / Math.pow(config.ropeTheta(), 2.0 * i / config.headSize());
            double angle = position * config.ropeScaling().scale(frequency);
            double a = x[offset + i];
            double b = x[offset + half + i];
            x[offset + i] = a * Math.cos(angle) - b * Math.sin(angle);
            x[offset + half + i] = b * Math.cos(angle) + a * Math.sin(angle);
        }
    }

    private double[] norm(double[] x, String name) {
        float[] weight = weight(name);
        double square = 0;
        for (double value : x) {
            square += value * value;
        }
        double[] out = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            out[i] = x[i] / Math.sqrt(square / x.length + config.rmsNormEps()) * weight[i];
        }
        return out;
    }

    private double[] linear(String name, double[] x) {
        float[] weight = weight(name + ".weight");
        float[] bias = weights.get(name + ".bias");
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

    private double[] row(String name, int row, int width) {
        double[] out = new double[width];
        for (int i = 0; i < width; i++) {
            out[i] = weight(name)[row * width + i];
        }
        return out;
    }

    private float[] weight(String name) {
        float[] found = weights.get(name);
        if (found == null) {
            throw new AssertionError("no weight " + name);
        }
        return found;
    }

    private static void add(double[] target, double[] delta) {
        for (int i = 0; i < target.length; i++) {
            target[i] += delta[i];
        }
    }
}
