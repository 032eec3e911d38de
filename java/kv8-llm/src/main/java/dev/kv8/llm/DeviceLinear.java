package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import org.jspecify.annotations.Nullable;

/** A linear layer by {@link KvBackend#matmul}: input rows of its weights' type. */
final class DeviceLinear implements Linear {
    private final KvBackend backend;
    private final LinearWeights weights;
    /** Of the result's type. */
    private final @Nullable DeviceMemory bias;

    DeviceLinear(KvBackend backend, LinearWeights weights, DType resultType) {
        this.backend = backend;
        this.weights = weights;
        DeviceMemory added = weights.bias();
        bias = added == null || resultType == DType.FLOAT32 ? added : narrowed(added, resultType);
    }

    private DeviceMemory narrowed(DeviceMemory values, DType type) {
        DeviceMemory result = backend.allocate((long) weights.outputs() * type.bytes());
        backend.cast(values, DType.FLOAT32, result, type, weights.outputs(), 1);
        return result;
    }

    @Override
    public DType inputType() {
        return weights.type();
    }

    @Override
    public void apply(HeadRows x, HeadRows y, int rows) {
        backend.matmul(x, weights.rows(), bias, y, rows);
    }

    @Override
    public void close() {
        if (weights.ownsRows()) {
            weights.rows().close();
        }
        if (weights.bias() != null) {
            weights.bias().close();
        }
        if (bias != null) {
            bias.close();
        }
    }
}
