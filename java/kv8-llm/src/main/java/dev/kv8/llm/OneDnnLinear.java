package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import org.jspecify.annotations.Nullable;

/**
 * A linear layer on the CPU, with float32 rows in and out and weights as the checkpoint has them. Many rows are multiplied by
 * oneDNN. Few are multiplied by {@link KvBackend#matmulInOrder}, which reads the weights up to twice as fast, but only where it
 * gives the same bits as oneDNN does ({@link SumOrder}): a row's result must not depend on how many others there are.
 */
final class OneDnnLinear implements Linear {
    /** Up to so many rows reading the weights takes most of the time. */
    static final int FEW_ROWS = 16;

    private static final String WRONG =
            "oneDNN multiplies wrongly on this processor. Set ONEDNN_MAX_CPU_ISA=AVX2 in the"
                    + " environment to make it use other kernels, and report the processor.";

    private final KvBackend backend;
    private final MatMul product;
    private final DeviceMemory weights;
    private final DType type;
    private final boolean ownsWeights;
    private final @Nullable DeviceMemory bias;
    private final int outputs;
    private final int inputs;
    /** Of partial sums in the order of oneDNN's, or {@link SumOrder#UNKNOWN}. */
    private final int sumLength;

    /** Rows of weights in a type that oneDNN does not multiply here are widened, and those given are freed. */
    OneDnnLinear(OneDnn dnn, KvBackend backend, LinearWeights given) {
        this.backend = backend;
        bias = given.bias();
        outputs = given.outputs();
        inputs = given.inputs();
        MatMul asGiven = dnn.product(new MatMul.Shape(outputs, inputs, given.type(), bias != null));
        boolean widened = !asGiven.isSupported();
        if (widened) {
            type = DType.FLOAT32;
            product = dnn.product(new MatMul.Shape(outputs, inputs, type, bias != null));
            weights = widened(given);
            ownsWeights = true;
        } else {
            type = given.type();
            product = asGiven;
            weights = given.rows();
            ownsWeights = given.ownsRows();
        }
        try {
            ProductCheck.check(
                    backend, this::multiplyMany, DType.FLOAT32, given, DType.FLOAT32, MatMul.paddedRows(1), WRONG);
            sumLength = SumOrder.of(backend, this::multiplyMany, this::multiplyFew, inputs, outputs);
        } catch (RuntimeException e) {
            close();
            throw e;
        } finally {
            if (given.ownsRows() && widened) {
                given.rows().close();
            }
        }
    }

    private DeviceMemory widened(LinearWeights given) {
        long elements = (long) outputs * inputs;
        DeviceMemory wide = backend.allocate(elements * Float.BYTES);
        backend.cast(given.rows(), given.type(), wide, DType.FLOAT32, elements, 1);
        return wide;
    }

    @Override
    public DType inputType() {
        return DType.FLOAT32;
    }

    @Override
    public void apply(HeadRows x, HeadRows y, int rows) {
        if (rows <= FEW_ROWS && sumLength != SumOrder.UNKNOWN) {
            multiplyFew(x, y, rows, sumLength);
        } else {
            multiplyMany(x, y, rows);
        }
    }

    private void multiplyFew(HeadRows x, HeadRows y, int rows, int length) {
        backend.matmulInOrder(x, weights, type, bias, y, rows, length);
    }

    /** Waits for the kernels that make x, because oneDNN is not on the backend's stream. */
    private void multiplyMany(HeadRows x, HeadRows y, int rows) {
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
