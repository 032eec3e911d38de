package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.KvBackend;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** All weights of a model on the device. */
final class LlamaWeights implements AutoCloseable {
    /**
     * A transformer block; norms that a model does not have are null.
     *
     * @param attentionNorm before attention
     * @param qNorm of each query head
     * @param kNorm of each key head
     * @param attentionOutNorm of what attention contributes
     * @param mlpNorm before the MLP
     * @param mlpOutNorm of what the MLP contributes
     */
    record Layer(
            WeightLoader.Weights attentionNorm,
            Linear qkv,
            WeightLoader.@Nullable Weights qNorm,
            WeightLoader.@Nullable Weights kNorm,
            Linear output,
            WeightLoader.@Nullable Weights attentionOutNorm,
            WeightLoader.Weights mlpNorm,
            Linear gateUp,
            Linear down,
            WeightLoader.@Nullable Weights mlpOutNorm) {}

    final WeightLoader.Weights embedding;
    final List<Layer> layers = new ArrayList<>();
    final WeightLoader.Weights finalNorm;
    final Linear head;

    /** In the order of loading, so that a failure frees what was loaded. */
    private final List<Runnable> frees = new ArrayList<>();

    private LlamaWeights(WeightLoader loader, ModelConfig config) {
        try {
            embedding = tensor(loader, LayerNames.EMBEDDING);
            for (int layer = 0; layer < config.layers(); layer++) {
                layers.add(layer(loader, config, new LayerNames(layer)));
            }
            finalNorm = norm(loader, config, LayerNames.FINAL_NORM);
            head = keep(
                    config.tiedEmbeddings()
                            ? loader.tied(embedding, config.vocabularySize(), config.hiddenSize())
                            : loader.linear(Linear.Result.FLOAT32, config.hiddenSize(), false, LayerNames.HEAD));
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /** Checks the checkpoint against the configuration, then loads it. */
    static LlamaWeights load(Products products, KvBackend backend, Checkpoint checkpoint, ModelConfig config) {
        new TensorManifest(config).check(checkpoint);
        return new LlamaWeights(new WeightLoader(products, backend, checkpoint), config);
    }

    private Layer layer(WeightLoader loader, ModelConfig config, LayerNames names) {
        int hidden = config.hiddenSize();
        ModelConfig.Attention attention = config.attention();
        boolean mlpBias = config.mlp().bias();
        boolean after = config.norm().afterBlocks();
        return new Layer(
                norm(loader, config, names.inputNorm()),
                keep(loader.linear(
                        Linear.Result.AS_INPUT,
                        hidden,
                        attention.qkvBias(),
                        names.attention("q"),
                        names.attention("k"),
                        names.attention("v"))),
                attention.qkNorm() ? norm(loader, config, names.headNorm("q")) : null,
                attention.qkNorm() ? norm(loader, config, names.headNorm("k")) : null,
                keep(loader.linear(
                        Linear.Result.FLOAT32,
                        config.heads() * config.headSize(),
                        attention.outputBias(),
                        names.attention("o"))),
                after ? norm(loader, config, names.postAttentionNorm()) : null,
                norm(loader, config, after ? names.preMlpNorm() : names.postAttentionNorm()),
                keep(loader.linear(Linear.Result.AS_INPUT, hidden, mlpBias, names.mlp("gate"), names.mlp("up"))),
                keep(loader.linear(Linear.Result.FLOAT32, config.intermediateSize(), mlpBias, names.mlp("down"))),
                after ? norm(loader, config, names.postMlpNorm()) : null);
    }

    private WeightLoader.Weights norm(WeightLoader loader, ModelConfig config, String name) {
        return config.norm().weightsFromOne() ? kept(loader.tensorPlusOne(name)) : tensor(loader, name);
    }

    private WeightLoader.Weights tensor(WeightLoader loader, String name) {
        return kept(loader.tensor(name));
    }

    private WeightLoader.Weights kept(WeightLoader.Weights weights) {
        frees.add(weights::close);
        return weights;
    }

    private Linear keep(Linear linear) {
        frees.add(linear::close);
        return linear;
    }

    /** The widest type that a product's input has. */
    DType widestInput() {
        return Stream.concat(
                        Stream.of(head),
                        layers.stream().flatMap(w -> Stream.of(w.qkv(), w.output(), w.gateUp(), w.down())))
                .map(Linear::inputType)
                .max(Comparator.comparingInt(DType::bytes))
                .orElseThrow();
    }

    @Override
    public void close() {
        frees.forEach(Runnable::run);
        frees.clear();
    }
}
