package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import org.jspecify.annotations.Nullable;

/**
 * A linear layer's weights on the device, as a checkpoint has them.
 *
 * @param rows {@code [outputs][inputs]} in {@code type}
 * @param ownsRows whether who closes the layer frees {@code rows}; false where an embedding is used as a layer
 * @param bias float32 {@code [outputs]} or null
 */
record LinearWeights(
        DeviceMemory rows,
        DType type,
        boolean ownsRows,
        @Nullable DeviceMemory bias,
        int outputs,
        int inputs) {}
