package dev.kv8.llm;

import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * The architectures that are computed, and what each implies without saying so in config.json: the defaults of Hugging Face's
 * configuration classes, and the constants in its models.
 */
enum ModelFamily {
    LLAMA("LlamaForCausalLM", 2048, 0),
    MISTRAL("MistralForCausalLM", 131072, 0),
    QWEN2("Qwen2ForCausalLM", 32768, 0),
    QWEN3("Qwen3ForCausalLM", 32768, 128),
    GEMMA("GemmaForCausalLM", 8192, 256),
    GEMMA2("Gemma2ForCausalLM", 8192, 256),
    GEMMA3("Gemma3ForCausalLM", 131072, 256);

    final String architecture;
    /** Where {@code max_position_embeddings} is absent. */
    final int maxPositions;

    private final int headSize;

    ModelFamily(String architecture, int maxPositions, int headSize) {
        this.architecture = architecture;
        this.maxPositions = maxPositions;
        this.headSize = headSize;
    }

    static Optional<ModelFamily> of(List<String> architectures) {
        return Arrays.stream(values())
                .filter(family -> architectures.contains(family.architecture))
                .findFirst();
    }

    /** All architectures, to be told to somebody who has another one. */
    static String names() {
        return Arrays.stream(values()).map(family -> family.architecture).collect(Collectors.joining(", "));
    }

    /** Where {@code head_dim} is absent; 0 for {@code hidden_size / num_attention_heads}. */
    int defaultHeadSize() {
        return headSize;
    }

    /** Embeddings are scaled, norm weights count from 1, the gate is a GELU, and the embedding is the head. */
    boolean isGemma() {
        return this == GEMMA || hasNormsAfterBlocks();
    }

    /** What attention and MLP contribute is normalized too, and {@code query_pre_attn_scalar} sets the scores' scale. */
    boolean hasNormsAfterBlocks() {
        return this == GEMMA2 || this == GEMMA3;
    }

    boolean normalizesHeads() {
        return this == QWEN3 || this == GEMMA3;
    }

    /** Q, K and V have biases, and the output projection none, whatever config.json says. */
    boolean hasQkvBias() {
        return this == QWEN2;
    }

    /** {@code attention_bias} gives all four projections of the attention biases. */
    boolean readsAttentionBias() {
        return this != MISTRAL && this != QWEN2;
    }

    boolean readsMlpBias() {
        return this == LLAMA;
    }
}
