package dev.kv8.cli;

import dev.kv8.DType;
import dev.kv8.KvCacheConfig;
import dev.kv8.llm.ModelConfig;
import java.util.List;

/**
 * What a model asks of its cache.
 *
 * @param layerWindows keys that a query of each layer sees, 0 for all; empty when none has a window
 */
record CacheShape(int layers, int kvHeads, int headSize, DType modelDtype, List<Integer> layerWindows) {
    CacheShape(int layers, int kvHeads, int headSize, DType modelDtype) {
        this(layers, kvHeads, headSize, modelDtype, List.of());
    }

    static CacheShape of(ModelConfig model) {
        return new CacheShape(
                model.layers(),
                model.kvHeads(),
                model.headSize(),
                model.dtype(),
                model.layerConfigs().stream()
                        .map(ModelConfig.Layer::slidingWindow)
                        .toList());
    }

    KvCacheConfig.Builder configuration() {
        KvCacheConfig.Builder builder = KvCacheConfig.builder()
                .layers(layers)
                .kvHeads(kvHeads)
                .headSize(headSize)
                .modelDtype(modelDtype);
        if (layerWindows.isEmpty()) {
            return builder;
        }
        return builder.layerWindows(
                layerWindows.stream().mapToInt(Integer::intValue).toArray());
    }
}
