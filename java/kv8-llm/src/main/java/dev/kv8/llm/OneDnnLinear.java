package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import org.jspecify.annotations.Nullable;

/**
 * A linear layer by oneDNN on the CPU, with float32 rows in and out. Large bfloat16 weights stay as they are, which halves
 * their memory and is as fast as float32 once a matrix does not fit in a processor's cache; others are packed as float32,
 * which is up to three times as fast for a single row there.
 */
final class OneDnnLinear implements Linear {
    /** From this many weights on (64 MiB as float32) bfloat16 stays bfloat16. */
    private static final long LARGE = 16L << 20;

    private static final String WRONG =
            "oneDNN multiplies wrongly on this processor. Set ONEDNN_MAX_CPU_ISA=AVX2 in the"
                    + " environment to make it use other kernels, and report the processor.";

    private final KvBackend backend;
    private final MatMul product;
    private final DeviceMemory weights;
    private final boolean ownsWeights;
    private final @Nullable DeviceMemory bias;
    private final int outputs;
    private final int inputs;

    /** Rows of weights that are packed are freed; others are kept. */
    OneDnnLinear(OneDnn dnn, KvBackend backend, LinearWeights given) {
        this.backend = backend;
        bias = given.bias();
        outputs = given.outputs();
        inputs = given.inputs();
        if (given.type() == DType.BFLOAT16 && (long) outputs * inputs >= LARGE) {
            product = dnn.product(new MatMul.Shape(outputs, inputs, MatMul.Layout.BFLOAT16_ROWS, bias != null));
            weights = given.rows();
            ownsWeights = given.ownsRows();
        } else {
            product = dnn.product(new MatMul.Shape(outputs, inputs, MatMul.Layout.FLOAT32_PACKED, bias != null));
            weights = backend.allocate(product.weightBytes());
            ownsWeights = true;
        }
        boolean packed = given.rows() != weights;
        try {
            if (packed) {
                pack(given.rows(), given.type());
            }
            ProductCheck.check(backend, this, given, DType.FLOAT32, MatMul.paddedRows(1), WRONG);
        } catch (RuntimeException e) {
            close();
            throw e;
        } finally {
            if (given.ownsRows() && packed) {
                given.rows().close();
            }
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

    @Override
    public DType inputType() {
        return DType.FLOAT32;
    }

    /** Waits for the kernels that make x, because oneDNN is not on the backend's stream. */
    @Override
    public void apply(HeadRows x, HeadRows y, int rows) {
        long padded = MatMul.paddedRows(rows);
        x.memory().checkRange(x.offset(), padded * inputs * Float.BYTES);
        y.memory().checkRange(y.offset(), padded * outputs * Float.BYTES);
        backend.synchronize();
        product.multiply(
                x.memory().address() + x.offset(),
                weights.address(),
                bias == null ? 0 : bias.address(),
                y.memory().address() + y.offset(),
                rows);
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
