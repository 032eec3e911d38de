package dev.kv8.llm;

/** How Hugging Face names the tensors of the Llama family. */
final class LayerNames {
    static final String EMBEDDING = "model.embed_tokens.weight";
    static final String FINAL_NORM = "model.norm.weight";
    /** Without {@code .weight}. */
    static final String HEAD = "lm_head";

    private final String prefix;

    LayerNames(int layer) {
        prefix = "model.layers." + layer + ".";
    }

    String inputNorm() {
        return prefix + "input_layernorm.weight";
    }

    String postAttentionNorm() {
        return prefix + "post_attention_layernorm.weight";
    }

    /** {@code which} of q, k, v, o; without {@code .weight} or {@code .bias}. */
    String attention(String which) {
        return prefix + "self_attn." + which + "_proj";
    }

    /** {@code which} of gate, up, down; without {@code .weight} or {@code .bias}. */
    String mlp(String which) {
        return prefix + "mlp." + which + "_proj";
    }

    /** Where a KV scale may be: compressed-tensors' name, then the one that vLLM renames it to. */
    String[] scale(String which) {
        return new String[] {
            prefix + "self_attn." + which + "_scale", prefix + "self_attn.attn." + which + "_scale",
        };
    }
}
