package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceException;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Compares one product with double arithmetic when a model is loaded: a matrix library that multiplies wrongly on some device
 * would otherwise show only as strange text.
 */
final class ProductCheck {
    private static final int OUTPUTS = 16;
    /** Of the sum of the terms' magnitudes; float32 sums of any order stay far below it. */
    private static final double TOLERANCE = 1e-4;

    private ProductCheck() {}

    /**
     * Multiplies one row.
     *
     * @param inputType of its input rows
     * @param room rows that it needs room for
     * @param wrong what to say of a product that is wrong: whose it is, and what to do
     * @throws DeviceException when one of the first outputs is not what it must be
     */
    static void check(
            KvBackend backend,
            SumOrder.Product product,
            DType inputType,
            LinearWeights weights,
            DType resultType,
            int room,
            String wrong) {
        int inputs = weights.inputs();
        int checked = Math.min(weights.outputs(), OUTPUTS);
        ByteBuffer input = direct(room * inputs);
        for (int i = 0; i < room * inputs; i++) {
            // Odd multiples of 1/64 below 1: exact in every type.
            input.putFloat(i * Float.BYTES, (i * 37 % 64 - 31.5f) / 32);
        }
        ByteBuffer weight;
        ByteBuffer result;
        ByteBuffer added = direct(checked);
        try (DeviceMemory x = backend.allocate((long) room * inputs * inputType.bytes());
                DeviceMemory y = backend.allocate((long) room * weights.outputs() * resultType.bytes())) {
            upload(backend, input, x, inputType);
            product.multiply(HeadRows.of(x, inputType, 1, inputs), HeadRows.of(y, resultType, 1, weights.outputs()), 1);
            weight = floats(backend, weights.rows(), weights.type(), checked * inputs);
            result = floats(backend, y, resultType, checked);
        }
        if (weights.bias() != null) {
            backend.download(weights.bias(), 0, added);
        }
        for (int row = 0; row < checked; row++) {
            double bias = added.getFloat(row * Float.BYTES);
            double exact = bias;
            double magnitude = Math.abs(bias);
            for (int i = 0; i < inputs; i++) {
                double term =
                        (double) input.getFloat(i * Float.BYTES) * weight.getFloat((row * inputs + i) * Float.BYTES);
                exact += term;
                magnitude += Math.abs(term);
            }
            float computed = result.getFloat(row * Float.BYTES);
            double rounding = unit(resultType) * (Math.abs(exact) + Math.abs(bias));
            if (!(Math.abs(computed - exact) <= TOLERANCE * magnitude + rounding)) {
                throw new DeviceException(wrong + " (For a matrix of " + weights.outputs() + " x " + inputs + " "
                        + weights.type() + " it gives " + computed + " instead of " + exact
                        + ". A checkpoint with NaN or infinite weights shows so too.)");
            }
        }
    }

    /** What rounding to a type may change, of the value. */
    private static double unit(DType type) {
        return switch (type) {
            case BFLOAT16 -> 0x1p-8;
            case FLOAT16 -> 0x1p-11;
            default -> 0;
        };
    }

    private static void upload(KvBackend backend, ByteBuffer values, DeviceMemory target, DType type) {
        if (type == DType.FLOAT32) {
            backend.upload(values, target, 0);
            return;
        }
        try (DeviceMemory wide = backend.allocate(values.capacity())) {
            backend.upload(values, wide, 0);
            backend.cast(wide, DType.FLOAT32, target, type, values.capacity() / Float.BYTES, 1);
            backend.synchronize();
        }
    }

    private static ByteBuffer floats(KvBackend backend, DeviceMemory source, DType type, int count) {
        ByteBuffer values = direct(count);
        if (type == DType.FLOAT32) {
            backend.download(source, 0, values);
            return values;
        }
        try (DeviceMemory wide = backend.allocate((long) count * Float.BYTES)) {
            backend.cast(source, type, wide, DType.FLOAT32, count, 1);
            backend.download(wide, 0, values);
        }
        return values;
    }

    /** Room for so many floats, in the order that devices have them. */
    static ByteBuffer direct(int floats) {
        return ByteBuffer.allocateDirect(floats * Float.BYTES).order(ByteOrder.nativeOrder());
    }
}
