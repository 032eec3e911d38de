package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.HeadRows;

/** What a forward pass does with a layer's K and V before attention: rotate K and store both, perhaps look at them first. */
@FunctionalInterface
interface KvWriter {
    /**
     * Stores the batch's K and V.
     *
     * @param k {@code [tokens][kvHeads][headSize]}, not rotated yet; may be rotated in place
     * @param v like {@code k}
     */
    void write(int layer, Batch batch, HeadRows k, HeadRows v);
}
