package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;

/** Brings a checkpoint's tensors to the device, several below each other where layers are fused. */
final class WeightLoader {
    private static final int WINDOW_BYTES = 64 << 20;

    private final Products products;
    private final KvBackend backend;
    private final Checkpoint checkpoint;

    WeightLoader(Products products, KvBackend backend, Checkpoint checkpoint) {
        this.products = products;
        this.backend = backend;
        this.checkpoint = checkpoint;
    }

    /** A tensor on the device, in its own type. */
    record Weights(DeviceMemory memory, DType type) {
        void close() {
            memory.close();
        }
    }

    Weights tensor(String name) {
        StoredTensor tensor = checkpoint.get(name);
        DeviceMemory memory = backend.allocate(tensor.bytes());
        upload(tensor, memory, 0);
        return new Weights(memory, tensor.dtype());
    }

    /** A small tensor with 1 added to each element, in float32: the sum need not fit the tensor's own type. */
    Weights tensorPlusOne(String name) {
        float[] values = checkpoint.get(name).toFloats();
        ByteBuffer sums = ByteBuffer.allocateDirect(values.length * Float.BYTES).order(ByteOrder.nativeOrder());
        for (float value : values) {
            sums.putFloat(1 + value);
        }
        DeviceMemory memory = backend.allocate(sums.capacity());
        backend.upload(sums.flip(), memory, 0);
        return new Weights(memory, DType.FLOAT32);
    }

    /** A linear layer of the named projections, their outputs side by side. */
    Linear linear(Linear.Result result, int inputs, boolean bias, String... projections) {
        StoredTensor first = checkpoint.get(projections[0] + ".weight");
        long bytes = 0;
        for (String projection : projections) {
            StoredTensor part = checkpoint.get(projection + ".weight");
            if (part.type() != first.type()) {
                throw new CheckpointException(checkpoint.folder() + ": " + part.name() + " is " + part.type() + " but "
                        + first.name() + " is " + first.type() + "; they must be of one type.");
            }
            bytes += part.bytes();
        }
        DType type = first.dtype();
        int outputs = Math.toIntExact(bytes / type.bytes() / inputs);
        DeviceMemory rows = backend.allocate(bytes);
        DeviceMemory added = null;
        try {
            long offset = 0;
            for (String projection : projections) {
                StoredTensor part = checkpoint.get(projection + ".weight");
                upload(part, rows, offset);
                offset += part.bytes();
            }
            added = bias ? bias(outputs, projections) : null;
            return products.linear(new LinearWeights(rows, type, true, added, outputs, inputs), result);
        } catch (RuntimeException e) {
            rows.close();
            if (added != null) {
                added.close();
            }
            throw e;
        }
    }

    /** The embedding used as the language-model head; its memory stays the embedding's. */
    Linear tied(Weights embedding, int outputs, int inputs) {
        return products.linear(
                new LinearWeights(embedding.memory(), embedding.type(), false, null, outputs, inputs),
                Linear.Result.FLOAT32);
    }

    private @Nullable DeviceMemory bias(int outputs, String... projections) {
        ByteBuffer values = ByteBuffer.allocateDirect(outputs * Float.BYTES).order(ByteOrder.nativeOrder());
        for (String projection : projections) {
            for (float value : checkpoint.get(projection + ".bias").toFloats()) {
                values.putFloat(value);
            }
        }
        DeviceMemory memory = backend.allocate(values.capacity());
        backend.upload(values.flip(), memory, 0);
        return memory;
    }

    private void upload(StoredTensor tensor, DeviceMemory target, long targetOffset) {
        for (long offset = 0; offset < tensor.bytes(); offset += WINDOW_BYTES) {
            int length = (int) Math.min(WINDOW_BYTES, tensor.bytes() - offset);
            backend.upload(tensor.map(offset, length), target, targetOffset + offset);
        }
    }
}
