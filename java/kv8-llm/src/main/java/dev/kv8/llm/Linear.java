package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceException;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;

/**
 * A linear layer: {@code y = W x (+ b)} with float32 rows in and out. Large bfloat16 weights stay as they are, which halves
 * their memory and is as fast as float32 once a matrix does not fit in a processor's cache; others are packed as float32,
 * which is up to three times as fast for a single row there.
 */
final class Linear implements AutoCloseable {
    /** From this many weights on (64 MiB as float32) bfloat16 stays bfloat16. */
    private static final long LARGE = 16L << 20;

    private final KvBackend backend;
    private final MatMul product;
    private final DeviceMemory weights;
    private final boolean ownsWeights;
    private final @Nullable DeviceMemory bias;
    private final int outputs;
    private final int inputs;

    /**
     * Takes the weights over.
     *
     * @param rows {@code [outputs][inputs]} in {@code type}; freed when they are packed, kept otherwise
     * @param ownsRows whether closing this frees {@code rows}; false where an embedding is used as a layer
     * @param bias float32 {@code [outputs]} or null
     */
    Linear(
            OneDnn dnn,
            KvBackend backend,
            DeviceMemory rows,
            DType type,
            boolean ownsRows,
            @Nullable DeviceMemory bias,
            int outputs,
            int inputs) {
        this.backend = backend;
        this.bias = bias;
        this.outputs = outputs;
        this.inputs = inputs;
        if (type == DType.BFLOAT16 && (long) outputs * inputs >= LARGE) {
            product = dnn.product(new MatMul.Shape(outputs, inputs, MatMul.Layout.BFLOAT16_ROWS, bias != null));
            weights = rows;
            ownsWeights = ownsRows;
        } else {
            product = dnn.product(new MatMul.Shape(outputs, inputs, MatMul.Layout.FLOAT32_PACKED, bias != null));
            weights = backend.allocate(product.weightBytes());
            ownsWeights = true;
        }
        try {
            if (rows != weights) {
                pack(rows, type);
            }
            verify(rows, type);
        } catch (RuntimeException e) {
            close();
            throw e;
        }
        if (ownsRows && rows != weights) {
            rows.close();
        }
    }

    private void pack(DeviceMemory rows, DType type) {
        if (type == DType.FLOAT32) {
            backend.synchronize();
            product.pack(rows, weights);
            return;
        }
        long elements = (long) outputs * inputs;
        try (DeviceMemory widened = backend.allocate(elements * Float.BYTES)) {
            backend.cast(rows, type, widened, DType.FLOAT32, elements, 1);
            backend.synchronize();
            product.pack(widened, weights);
        }
    }

    /**
     * {@code y[row] = W x[row]} for {@code rows} rows without gaps; both must have room for {@link MatMul#paddedRows}. Waits for
     * the kernels that make x, because oneDNN is not on the backend's stream.
     */
    void apply(DeviceMemory x, DeviceMemory y, int rows) {
        long padded = MatMul.paddedRows(rows);
        x.checkRange(0, padded * inputs * Float.BYTES);
        y.checkRange(0, padded * outputs * Float.BYTES);
        backend.synchronize();
        product.multiply(x.address(), weights.address(), bias == null ? 0 : bias.address(), y.address(), rows);
    }

    /**
     * Compares one product with double arithmetic when a model is loaded: a matrix library that multiplies wrongly on some
     * processor would otherwise show only as strange text.
     */
    private void verify(DeviceMemory rows, DType type) {
        int checked = Math.min(outputs, 16);
        int padded = MatMul.paddedRows(1);
        try (DeviceMemory x = backend.allocate((long) padded * inputs * Float.BYTES);
                DeviceMemory y = backend.allocate((long) padded * outputs * Float.BYTES);
                DeviceMemory widened = backend.allocate((long) checked * inputs * Float.BYTES)) {
            ByteBuffer input = direct(padded * inputs);
            for (int i = 0; i < padded * inputs; i++) {
                input.putFloat(i * Float.BYTES, (i * 37 % 64 - 31.5f) / 32);
            }
            backend.upload(input, x, 0);
            apply(x, y, 1);
            backend.cast(rows, type, widened, DType.FLOAT32, (long) checked * inputs, 1);
            ByteBuffer weight = direct(checked * inputs);
            backend.download(widened, 0, weight);
            ByteBuffer result = direct(checked);
            backend.download(y, 0, result);
            ByteBuffer added = direct(checked);
            if (bias != null) {
                backend.download(bias, 0, added);
            }
            for (int row = 0; row < checked; row++) {
                double exact = added.getFloat(row * Float.BYTES);
                double magnitude = Math.abs(exact);
                for (int i = 0; i < inputs; i++) {
                    double term = (double) input.getFloat(i * Float.BYTES)
                            * weight.getFloat((row * inputs + i) * Float.BYTES);
                    exact += term;
                    magnitude += Math.abs(term);
                }
                float computed = result.getFloat(row * Float.BYTES);
                if (!(Math.abs(computed - exact) <= 1e-4 * magnitude)) {
                    throw new DeviceException("oneDNN multiplies wrongly on this processor: for a matrix of " + outputs
                            + " x " + inputs + " " + type + " it gives " + computed + " instead of " + exact
                            + ". Set ONEDNN_MAX_CPU_ISA=AVX2 in the environment to make it use other kernels, and"
                            + " report the processor. (A checkpoint with NaN or infinite weights shows so too.)");
                }
            }
        }
    }

    private static ByteBuffer direct(int floats) {
        return ByteBuffer.allocateDirect(floats * Float.BYTES).order(ByteOrder.nativeOrder());
    }

    @Override
    public void close() {
        if (ownsWeights) {
            weights.close();
        }
        if (bias != null) {
            bias.close();
        }
    }
}
