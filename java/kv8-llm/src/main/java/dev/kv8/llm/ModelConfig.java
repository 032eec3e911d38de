package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.KvCacheConfig;
import java.nio.file.Path;
import java.util.List;

/**
 * What a Hugging Face config.json says about a Llama-family model.
 *
 * @param architecture as config.json names it: LlamaForCausalLM, MistralForCausalLM or Qwen2ForCausalLM
 * @param layers transformer blocks
 * @param hiddenSize elements of a hidden state
 * @param intermediateSize elements inside the MLP
 * @param heads query heads
 * @param kvHeads heads of K and V
 * @param headSize elements of a head
 * @param vocabularySize rows of the embedding
 * @param maxPositions longest sequence that the model was made for
 * @param rmsNormEps added to the mean square
 * @param ropeTheta base of the rotary frequencies
 * @param ropeScaling how they are stretched
 * @param slidingWindow keys that a query sees, its own included; 0 = all
 * @param qkvBias whether the Q, K and V projections have biases
 * @param outputBias whether the attention's output projection has one
 * @param mlpBias whether the MLP's projections have them
 * @param tiedEmbeddings whether the embedding is also the language-model head
 * @param eosTokenIds tokens that end a text; from config.json and generation_config.json
 * @param dtype the weights' own type, which a cache of dtype {@code auto} stores
 */
public record ModelConfig(
        String architecture,
        int layers,
        int hiddenSize,
        int intermediateSize,
        int heads,
        int kvHeads,
        int headSize,
        int vocabularySize,
        int maxPositions,
        float rmsNormEps,
        double ropeTheta,
        RopeScaling ropeScaling,
        int slidingWindow,
        boolean qkvBias,
        boolean outputBias,
        boolean mlpBias,
        boolean tiedEmbeddings,
        List<Integer> eosTokenIds,
        DType dtype) {

    /**
     * Reads {@code config.json} and, where there is one, {@code generation_config.json} of a model folder.
     *
     * @throws CheckpointException naming the file and key when something is missing, malformed or not supported
     */
    public static ModelConfig read(Path folder) {
        return ModelConfigReader.read(folder);
    }

    /** A cache configuration of this model's shape, still without dtype and size. */
    KvCacheConfig.Builder cacheConfig() {
        return KvCacheConfig.builder()
                .layers(layers)
                .kvHeads(kvHeads)
                .headSize(headSize)
                .window(slidingWindow)
                .modelDtype(dtype);
    }
}
