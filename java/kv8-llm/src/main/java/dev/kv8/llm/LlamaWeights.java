package dev.kv8.llm;

import dev.kv8.KvBackend;
import java.util.ArrayList;
import java.util.List;

/** All weights of a model on the device. */
final class LlamaWeights implements AutoCloseable {
    record Layer(
            WeightLoader.Weights inputNorm,
            Linear qkv,
            Linear output,
            WeightLoader.Weights postAttentionNorm,
            Linear gateUp,
            Linear down) {}

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
            finalNorm = tensor(loader, LayerNames.FINAL_NORM);
            head = keep(
                    config.tiedEmbeddings()
                            ? loader.tied(embedding, config.vocabularySize(), config.hiddenSize())
                            : loader.linear(config.hiddenSize(), false, LayerNames.HEAD));
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /** Checks the checkpoint against the configuration, then loads it. */
    static LlamaWeights load(OneDnn dnn, KvBackend backend, Checkpoint checkpoint, ModelConfig config) {
        new TensorManifest(config).check(checkpoint);
        return new LlamaWeights(new WeightLoader(dnn, backend, checkpoint), config);
    }

    private Layer layer(WeightLoader loader, ModelConfig config, LayerNames names) {
        int hidden = config.hiddenSize();
        return new Layer(
                tensor(loader, names.inputNorm()),
                keep(loader.linear(
                        hidden, config.qkvBias(), names.attention("q"), names.attention("k"), names.attention("v"))),
                keep(loader.linear(config.heads() * config.headSize(), config.outputBias(), names.attention("o"))),
                tensor(loader, names.postAttentionNorm()),
                keep(loader.linear(hidden, config.mlpBias(), names.mlp("gate"), names.mlp("up"))),
                keep(loader.linear(config.intermediateSize(), config.mlpBias(), names.mlp("down"))));
    }

    private WeightLoader.Weights tensor(WeightLoader loader, String name) {
        WeightLoader.Weights weights = loader.tensor(name);
        frees.add(weights::close);
        return weights;
    }

    private Linear keep(Linear linear) {
        frees.add(linear::close);
        return linear;
    }

    @Override
    public void close() {
        frees.forEach(Runnable::run);
        frees.clear();
    }
}
