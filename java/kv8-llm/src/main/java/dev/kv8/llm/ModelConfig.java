package dev.kv8.llm;

import dev.kv8.Activation;
import dev.kv8.AttentionOptions;
import dev.kv8.DType;
import dev.kv8.KvCacheConfig;
import java.nio.file.Path;
import java.util.List;

/**
 * What a Hugging Face config.json says about a decoder of the Llama family. Architectures differ in these values only; there is
 * one forward pass for all of them.
 *
 * @param architecture as config.json names it, for instance {@code LlamaForCausalLM}
 * @param layerConfigs of each transformer block, from the first on
 * @param hiddenSize elements of a hidden state
 * @param heads query heads
 * @param kvHeads heads of K and V
 * @param headSize elements of a head
 * @param vocabularySize rows of the embedding
 * @param maxPositions longest sequence that the model was made for
 * @param norm how hidden states are normalized
 * @param attention what all layers' attention has in common
 * @param mlp the feed-forward part
 * @param embeddingScale multiplies a token's embedding; 1 for most, {@code sqrt(hiddenSize)} in the weights' type for Gemma
 * @param logitSoftcap {@code softcap * tanh(logit / softcap)} bounds the logits; 0 = none
 * @param tiedEmbeddings whether the embedding is also the language-model head
 * @param eosTokenIds tokens that end a text; from config.json and generation_config.json
 * @param dtype the weights' own type, which a cache of dtype {@code auto} stores
 */
public record ModelConfig(
        String architecture,
        List<Layer> layerConfigs,
        int hiddenSize,
        int heads,
        int kvHeads,
        int headSize,
        int vocabularySize,
        int maxPositions,
        Norm norm,
        Attention attention,
        Mlp mlp,
        float embeddingScale,
        float logitSoftcap,
        boolean tiedEmbeddings,
        List<Integer> eosTokenIds,
        DType dtype) {

    public ModelConfig {
        layerConfigs = List.copyOf(layerConfigs);
        eosTokenIds = List.copyOf(eosTokenIds);
    }

    /**
     * What layers of a model may differ in.
     *
     * @param slidingWindow keys that a query sees, its own included; 0 = all
     * @param rope rotary angles
     */
    public record Layer(int slidingWindow, Rope rope) {}

    /**
     * Rotary angles of whole heads, in pairs (i, i + headSize/2).
     *
     * @param theta base of the frequencies
     * @param scaling how they are stretched
     */
    public record Rope(double theta, RopeScaling scaling) {}

    /**
     * RMS norms.
     *
     * @param eps added to the mean square
     * @param weightsFromOne whether 1 is added to the stored weights
     * @param afterBlocks whether what attention and MLP contribute is normalized too, before it is added to the hidden state
     */
    public record Norm(float eps, boolean weightsFromOne, boolean afterBlocks) {}

    /**
     * Attention.
     *
     * @param scale multiplies q·k
     * @param softcap {@code softcap * tanh(score / softcap)} bounds the scores; 0 = none
     * @param qkNorm whether each head of Q and K is normalized before it is rotated
     * @param qkvBias whether the Q, K and V projections have biases
     * @param outputBias whether the output projection has one
     */
    public record Attention(float scale, float softcap, boolean qkNorm, boolean qkvBias, boolean outputBias) {}

    /**
     * The gated feed-forward part, {@code down(activation(gate(x)) * up(x))}.
     *
     * @param intermediateSize elements inside it
     * @param activation of the gate
     * @param bias whether its projections have biases
     */
    public record Mlp(int intermediateSize, Activation activation, boolean bias) {}

    /**
     * Reads {@code config.json} and, where there is one, {@code generation_config.json} of a model folder.
     *
     * @throws CheckpointException naming the file and key when something is missing, malformed or not supported
     */
    public static ModelConfig read(Path folder) {
        return ModelConfigReader.read(folder);
    }

    /** Transformer blocks. */
    public int layers() {
        return layerConfigs.size();
    }

    /** Elements inside the MLP. */
    public int intermediateSize() {
        return mlp.intermediateSize();
    }

    /**
     * Keys before which no layer looks, the query's own included; 0 when one sees all.
     */
    public int slidingWindow() {
        int largest = 0;
        for (Layer layer : layerConfigs) {
            if (layer.slidingWindow() == 0) {
                return 0;
            }
            largest = Math.max(largest, layer.slidingWindow());
        }
        return largest;
    }

    /** How a layer's attention scores are formed. */
    AttentionOptions attentionOptions(int layer) {
        return new AttentionOptions(
                attention.scale(), layerConfigs.get(layer).slidingWindow(), attention.softcap(), null, null);
    }

    /**
     * A cache configuration of this model's shape, still without dtype and size. A block has all layers, so a sequence gives blocks back
     * only where all have a window.
     */
    KvCacheConfig.Builder cacheConfig() {
        return shape().window(slidingWindow());
    }

    /**
     * As {@link #cacheConfig}, but each layer gives back what falls out of its own window. Where windows differ, layers have blocks of
     * their own by {@linkplain KvCacheConfig.Builder#layerWindows window}.
     */
    KvCacheConfig.Builder groupedCacheConfig() {
        return shape().layerWindows(
                        layerConfigs.stream().mapToInt(Layer::slidingWindow).toArray());
    }

    private KvCacheConfig.Builder shape() {
        return KvCacheConfig.builder()
                .layers(layers())
                .kvHeads(kvHeads)
                .headSize(headSize)
                .modelDtype(dtype);
    }
}
