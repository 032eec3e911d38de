package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.util.SplittableRandom;

/**
 * Finds the order in which a library adds the products of a layer: how many inputs each of its partial sums has. oneDNN adds an
 * output's products one after the other, in parts of at most 1024 inputs on AVX2, and nowhere says so; so both products of one row
 * of random numbers are compared in every bit, with the layer's own weights, before one stands in for the other.
 */
final class SumOrder {
    /** No length gives the same bits. */
    static final int UNKNOWN = -1;

    /** 0 is one sum of all. */
    private static final int[] LENGTHS = {1024, 0, 2048, 512, 4096, 256};

    private SumOrder() {}

    /** {@code y = W x} for so many rows. */
    @FunctionalInterface
    interface Product {
        void multiply(HeadRows x, HeadRows y, int rows);
    }

    /** The same with partial sums of so many inputs. */
    @FunctionalInterface
    interface OrderedProduct {
        void multiply(HeadRows x, HeadRows y, int rows, int sumLength);
    }

    /** The length of the library's partial sums, or {@link #UNKNOWN}. */
    static int of(KvBackend backend, Product library, OrderedProduct own, int inputs, int outputs) {
        int room = MatMul.paddedRows(1);
        SplittableRandom random = new SplittableRandom(inputs);
        ByteBuffer values = ProductCheck.direct(room * inputs);
        for (int i = 0; i < room * inputs; i++) {
            values.putFloat((float) random.nextDouble(-1, 1));
        }
        try (DeviceMemory x = backend.allocate(values.capacity());
                DeviceMemory y = backend.allocate((long) room * outputs * Float.BYTES)) {
            backend.upload(values.flip(), x, 0);
            HeadRows in = HeadRows.of(x, DType.FLOAT32, 1, inputs);
            HeadRows out = HeadRows.of(y, DType.FLOAT32, 1, outputs);
            library.multiply(in, out, 1);
            ByteBuffer wanted = row(backend, y, outputs);
            for (int length : LENGTHS) {
                own.multiply(in, out, 1, length);
                if (row(backend, y, outputs).equals(wanted)) {
                    return length;
                }
            }
            return UNKNOWN;
        }
    }

    private static ByteBuffer row(KvBackend backend, DeviceMemory y, int outputs) {
        ByteBuffer row = ProductCheck.direct(outputs);
        backend.download(y, 0, row);
        return row.rewind();
    }
}
