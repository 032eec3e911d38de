package dev.kv8.cli;

import dev.kv8.DType;
import dev.kv8.KvCacheConfig;
import dev.kv8.llm.ModelConfig;

/** What a model asks of its cache. */
record CacheShape(int layers, int kvHeads, int headSize, DType modelDtype) {
    static CacheShape of(ModelConfig model) {
        return new CacheShape(model.layers(), model.kvHeads(), model.headSize(), model.dtype());
    }

    KvCacheConfig.Builder configuration() {
        return KvCacheConfig.builder()
                .layers(layers)
                .kvHeads(kvHeads)
                .headSize(headSize)
                .modelDtype(modelDtype);
    }
}
