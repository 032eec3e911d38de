package dev.kv8.llm;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The tensors that a model's configuration calls for; a checkpoint that differs is refused with all differences at once. */
final class TensorManifest {
    private static final int MOST_LISTED = 20;

    private final Map<String, long[]> shapes = new LinkedHashMap<>();

    TensorManifest(ModelConfig config) {
        long hidden = config.hiddenSize();
        long queries = (long) config.heads() * config.headSize();
        long keys = (long) config.kvHeads() * config.headSize();
        long inner = config.intermediateSize();
        shapes.put(LayerNames.EMBEDDING, new long[] {config.vocabularySize(), hidden});
        for (int layer = 0; layer < config.layers(); layer++) {
            LayerNames names = new LayerNames(layer);
            shapes.put(names.inputNorm(), new long[] {hidden});
            linear(names.attention("q"), queries, hidden, config.attention().qkvBias());
            linear(names.attention("k"), keys, hidden, config.attention().qkvBias());
            linear(names.attention("v"), keys, hidden, config.attention().qkvBias());
            linear(names.attention("o"), hidden, queries, config.attention().outputBias());
            if (config.attention().qkNorm()) {
                shapes.put(names.headNorm("q"), new long[] {config.headSize()});
                shapes.put(names.headNorm("k"), new long[] {config.headSize()});
            }
            shapes.put(names.postAttentionNorm(), new long[] {hidden});
            if (config.norm().afterBlocks()) {
                shapes.put(names.preMlpNorm(), new long[] {hidden});
                shapes.put(names.postMlpNorm(), new long[] {hidden});
            }
            linear(names.mlp("gate"), inner, hidden, config.mlp().bias());
            linear(names.mlp("up"), inner, hidden, config.mlp().bias());
            linear(names.mlp("down"), hidden, inner, config.mlp().bias());
        }
        shapes.put(LayerNames.FINAL_NORM, new long[] {hidden});
        if (!config.tiedEmbeddings()) {
            linear(LayerNames.HEAD, config.vocabularySize(), hidden, false);
        }
    }

    private void linear(String name, long outputs, long inputs, boolean bias) {
        shapes.put(name + ".weight", new long[] {outputs, inputs});
        if (bias) {
            shapes.put(name + ".bias", new long[] {outputs});
        }
    }

    /** Refuses a checkpoint in which a tensor is missing, wrong-shaped or of a type that the engine does not read. */
    void check(Checkpoint checkpoint) {
        List<String> faults = new ArrayList<>();
        shapes.forEach((name, shape) -> {
            StoredTensor tensor = checkpoint.find(name).orElse(null);
            if (tensor == null) {
                faults.add(name + " " + Arrays.toString(shape) + " is missing");
            } else if (!tensor.hasShape(shape)) {
                faults.add(name + " has shape " + tensor.shapeText() + " instead of " + Arrays.toString(shape));
            } else if (tensor.type().dtype().isEmpty()) {
                faults.add(name + " is " + tensor.type() + "; only F32, F16 and BF16 weights are read");
            }
        });
        if (!faults.isEmpty()) {
            String more = faults.size() > MOST_LISTED ? "\n  and " + (faults.size() - MOST_LISTED) + " more" : "";
            throw new CheckpointException(checkpoint.folder() + " does not fit its config.json:\n  "
                    + String.join("\n  ", faults.subList(0, Math.min(MOST_LISTED, faults.size()))) + more);
        }
    }
}
