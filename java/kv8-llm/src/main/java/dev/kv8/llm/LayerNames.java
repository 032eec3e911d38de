package dev.kv8.llm;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** How Hugging Face names the tensors of the Llama family. */
final class LayerNames {
    static final String EMBEDDING = "model.embed_tokens.weight";
    static final String FINAL_NORM = "model.norm.weight";
    /** Without {@code .weight}. */
    static final String HEAD = "lm_head";

    private static final Pattern SCALE = Pattern.compile("model\\.layers\\.(\\d{1,9})\\.self_attn\\."
            + "((attn\\.|qkv_proj\\.)?(k|v|kv)_scale|k_proj\\.(k|output)_scale|v_proj\\.(v|output)_scale)");

    private final String prefix;

    LayerNames(int layer) {
        prefix = "model.layers." + layer + ".";
    }

    String inputNorm() {
        return prefix + "input_layernorm.weight";
    }

    /** Before the MLP; where a model also normalizes what attention contributes ({@link #postMlpNorm}), that. */
    String postAttentionNorm() {
        return prefix + "post_attention_layernorm.weight";
    }

    /** Before the MLP, where {@link #postAttentionNorm} is another one. */
    String preMlpNorm() {
        return prefix + "pre_feedforward_layernorm.weight";
    }

    /** Of what the MLP contributes. */
    String postMlpNorm() {
        return prefix + "post_feedforward_layernorm.weight";
    }

    /** Of each head of {@code which}, q or k. */
    String headNorm(String which) {
        return prefix + "self_attn." + which + "_norm.weight";
    }

    /** {@code which} of q, k, v, o; without {@code .weight} or {@code .bias}. */
    String attention(String which) {
        return prefix + "self_attn." + which + "_proj";
    }

    /** {@code which} of gate, up, down; without {@code .weight} or {@code .bias}. */
    String mlp(String which) {
        return prefix + "mlp." + which + "_proj";
    }

    String attentionModule() {
        return prefix + "self_attn";
    }

    /** compressed-tensors' name for the scales of {@code which}, k or v; what kv8 writes. */
    String scale(String which) {
        return prefix + "self_attn." + which + "_scale";
    }

    /**
     * Where the scales of {@code which}, k or v, may be: compressed-tensors' name, vLLM's own, those of ModelOpt (with fused
     * projections too), that of Quark and early compressed-tensors, and early vLLM's one name for both.
     */
    List<String> scales(String which) {
        String attention = prefix + "self_attn.";
        return List.of(
                scale(which),
                attention + "attn." + which + "_scale",
                attention + which + "_proj." + which + "_scale",
                attention + "qkv_proj." + which + "_scale",
                attention + which + "_proj.output_scale",
                attention + "kv_scale",
                attention + "attn.kv_scale");
    }

    /** Whether a tensor holds KV scales, of whatever layer. */
    static boolean isScale(String name) {
        return SCALE.matcher(name).matches();
    }

    /** The layer of a name that {@link #isScale}. */
    static int layerOf(String name) {
        Matcher matcher = SCALE.matcher(name);
        if (!matcher.matches()) {
            throw new IllegalArgumentException(name + " is not the name of a KV scale.");
        }
        return Integer.parseInt(matcher.group(1));
    }

    /** Where the zero points of {@code which}, k or v, may be. */
    String zeroPoint(String which) {
        return prefix + "self_attn." + which + "_zero_point";
    }
}
