package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.KvBackend;
import java.util.HashSet;
import java.util.Set;

/**
 * Products by the device's own matrix library, on weights as the checkpoint has them and rows of their type. They are kernels
 * like all others: nothing waits for them, and no row pads another. The first of each shape is checked.
 */
final class DeviceProducts implements Products {
    private final KvBackend backend;
    private final Set<Shape> checked = new HashSet<>();

    DeviceProducts(KvBackend backend) {
        this.backend = backend;
    }

    /** What the library chooses its kernel by. */
    private record Shape(int outputs, int inputs, DType type, DType result, boolean bias) {}

    @Override
    public int room(int rows) {
        return rows;
    }

    @Override
    public Linear linear(LinearWeights weights, Linear.Result result) {
        DType resultType = result == Linear.Result.FLOAT32 ? DType.FLOAT32 : weights.type();
        DeviceLinear linear = new DeviceLinear(backend, weights, resultType);
        Shape shape =
                new Shape(weights.outputs(), weights.inputs(), weights.type(), resultType, weights.bias() != null);
        if (!checked.contains(shape)) {
            try {
                ProductCheck.check(backend, linear::apply, linear.inputType(), weights, resultType, 1, wrong());
            } catch (RuntimeException e) {
                linear.close();
                throw e;
            }
            checked.add(shape);
        }
        return linear;
    }

    private String wrong() {
        return "The matrix library of the " + backend.info().backend() + " backend multiplies wrongly on "
                + backend.info().name() + ". Give another version of it with -Dkv.blas.library=FILE, and report the"
                + " device.";
    }

    /** Nothing is its own: layers belong to who asked for them. */
    @Override
    public void close() {}
}
