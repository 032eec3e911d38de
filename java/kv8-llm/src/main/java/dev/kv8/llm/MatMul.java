package dev.kv8.llm;

import static dev.kv8.llm.OneDnn.check;
import static dev.kv8.llm.OneDnn.describe;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_BIAS;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_DST;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_SRC;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_WEIGHTS;
import static org.bytedeco.dnnl.global.dnnl.dnnl_ab;
import static org.bytedeco.dnnl.global.dnnl.dnnl_ba;
import static org.bytedeco.dnnl.global.dnnl.dnnl_bf16;
import static org.bytedeco.dnnl.global.dnnl.dnnl_f16;
import static org.bytedeco.dnnl.global.dnnl.dnnl_f32;
import static org.bytedeco.dnnl.global.dnnl.dnnl_matmul_primitive_desc_create;
import static org.bytedeco.dnnl.global.dnnl.dnnl_memory_create;
import static org.bytedeco.dnnl.global.dnnl.dnnl_memory_desc_destroy;
import static org.bytedeco.dnnl.global.dnnl.dnnl_memory_destroy;
import static org.bytedeco.dnnl.global.dnnl.dnnl_memory_set_data_handle;
import static org.bytedeco.dnnl.global.dnnl.dnnl_primitive_create;
import static org.bytedeco.dnnl.global.dnnl.dnnl_primitive_desc_destroy;
import static org.bytedeco.dnnl.global.dnnl.dnnl_primitive_destroy;
import static org.bytedeco.dnnl.global.dnnl.dnnl_primitive_execute;
import static org.bytedeco.dnnl.global.dnnl.dnnl_stream_wait;
import static org.bytedeco.dnnl.global.dnnl.dnnl_success;

import dev.kv8.DType;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.dnnl.dnnl_exec_arg_t;
import org.bytedeco.dnnl.dnnl_memory;
import org.bytedeco.dnnl.dnnl_memory_desc;
import org.bytedeco.dnnl.dnnl_primitive;
import org.bytedeco.dnnl.dnnl_primitive_desc;
import org.jspecify.annotations.Nullable;

/**
 * {@code y[rows, outputs] = x[rows, inputs] · W[outputs, inputs]ᵀ (+ bias)} in float32 for matrices of one shape: a oneDNN
 * primitive for each number of rows that occurs, rounded up so that there are few.
 *
 * <p>Weights lie row by row as a checkpoint has them; 16-bit ones are widened inside the product, which from some 16 rows on is no
 * slower than packed float32. Packed bfloat16 is no choice: oneDNN 3.11 then computes wrong sums (relative error about 0.1) as soon as
 * there are more than 512 inputs.
 *
 * <p>A row's bits do not depend on the number of rows: from two rows up oneDNN sums in the same order, for one row it may
 * not, so a single row is computed as two.
 */
final class MatMul implements AutoCloseable {
    /** @param type of the weights */
    record Shape(int outputs, int inputs, DType type, boolean bias) {}

    private final OneDnn dnn;
    private final Shape shape;
    private final dnnl_memory_desc weights;
    private final Map<Integer, Kernel> kernels = new HashMap<>();

    MatMul(OneDnn dnn, Shape shape) {
        this.dnn = dnn;
        this.shape = shape;
        this.weights = describe(typeOf(shape.type()), dnnl_ba, shape.inputs(), shape.outputs());
    }

    private static int typeOf(DType type) {
        return switch (type) {
            case FLOAT32 -> dnnl_f32;
            case FLOAT16 -> dnnl_f16;
            case BFLOAT16 -> dnnl_bf16;
            default -> throw new IllegalArgumentException("Weights of " + type + " are not multiplied.");
        };
    }

    /** Whether oneDNN multiplies weights of the type on this processor. */
    boolean isSupported() {
        dnnl_primitive_desc description = new dnnl_primitive_desc();
        if (describeProduct(description, 2, weights) != dnnl_success) {
            return false;
        }
        check(dnnl_primitive_desc_destroy(description), "destroy a description");
        return true;
    }

    /** Rows that are computed when {@code rows} are asked for; x and y must have room for them. */
    static int paddedRows(int rows) {
        if (rows <= 8) {
            return Math.max(2, rows);
        }
        return rows <= 64 ? (rows + 7) / 8 * 8 : (rows + 31) / 32 * 32;
    }

    /** Multiplies by addresses; x and y hold {@link #paddedRows} rows without gaps. */
    void multiply(long x, long weightMatrix, long bias, long y, int rows) {
        int padded = paddedRows(rows);
        Kernel kernel = kernels.get(padded);
        if (kernel == null) {
            kernel = new Kernel(padded);
            kernels.put(padded, kernel);
        }
        kernel.run(x, weightMatrix, bias, y);
    }

    private dnnl_primitive_desc product(int rows, dnnl_memory_desc weightRows) {
        dnnl_primitive_desc result = new dnnl_primitive_desc();
        check(describeProduct(result, rows, weightRows), "describe a product of " + shape);
        return result;
    }

    private int describeProduct(dnnl_primitive_desc result, int rows, dnnl_memory_desc weightRows) {
        dnnl_memory_desc x = describe(dnnl_f32, dnnl_ab, rows, shape.inputs());
        dnnl_memory_desc y = describe(dnnl_f32, dnnl_ab, rows, shape.outputs());
        dnnl_memory_desc bias = shape.bias() ? describe(dnnl_f32, dnnl_ab, 1, shape.outputs()) : null;
        int status = dnnl_matmul_primitive_desc_create(result, dnn.engine, x, weightRows, bias, y, null);
        check(dnnl_memory_desc_destroy(x), "destroy a description");
        check(dnnl_memory_desc_destroy(y), "destroy a description");
        if (bias != null) {
            check(dnnl_memory_desc_destroy(bias), "destroy a description");
        }
        return status;
    }

    private dnnl_memory memory(dnnl_memory_desc description) {
        dnnl_memory result = new dnnl_memory();
        check(dnnl_memory_create(result, description, dnn.engine, null), "create a memory");
        return result;
    }

    private dnnl_memory floatRows(int rows, int width) {
        dnnl_memory_desc description = describe(dnnl_f32, dnnl_ab, rows, width);
        dnnl_memory result = memory(description);
        check(dnnl_memory_desc_destroy(description), "destroy a description");
        return result;
    }

    private static void aim(dnnl_memory memory, OneDnn.Aim aim, long address) {
        check(dnnl_memory_set_data_handle(memory, aim.at(address)), "aim a memory");
    }

    private static void argument(dnnl_exec_arg_t arguments, int index, int role, dnnl_memory memory) {
        arguments.position(index).arg(role).memory(memory);
    }

    @Override
    public void close() {
        kernels.values().forEach(Kernel::close);
        kernels.clear();
        check(dnnl_memory_desc_destroy(weights), "destroy a description");
    }

    /** The primitive for one number of rows, with memory objects that are aimed anew at each call. */
    private final class Kernel {
        private final dnnl_primitive primitive = new dnnl_primitive();
        private final dnnl_memory x;
        private final dnnl_memory w;
        private final dnnl_memory y;
        private final @Nullable dnnl_memory bias;
        private final dnnl_exec_arg_t arguments;
        private final int argumentCount;
        private final OneDnn.Aim aim = new OneDnn.Aim();

        Kernel(int rows) {
            dnnl_primitive_desc description = product(rows, weights);
            check(dnnl_primitive_create(primitive, description), "create a product of " + shape);
            check(dnnl_primitive_desc_destroy(description), "destroy a description");
            x = floatRows(rows, shape.inputs());
            w = memory(weights);
            y = floatRows(rows, shape.outputs());
            bias = shape.bias() ? floatRows(1, shape.outputs()) : null;
            argumentCount = bias == null ? 3 : 4;
            arguments = new dnnl_exec_arg_t(argumentCount);
            argument(arguments, 0, DNNL_ARG_SRC, x);
            argument(arguments, 1, DNNL_ARG_WEIGHTS, w);
            argument(arguments, 2, DNNL_ARG_DST, y);
            if (bias != null) {
                argument(arguments, 3, DNNL_ARG_BIAS, bias);
            }
            arguments.position(0);
        }

        void run(long xAddress, long wAddress, long biasAddress, long yAddress) {
            aim(x, aim, xAddress);
            aim(w, aim, wAddress);
            aim(y, aim, yAddress);
            if (bias != null) {
                aim(bias, aim, biasAddress);
            }
            check(dnnl_primitive_execute(primitive, dnn.stream, argumentCount, arguments), "multiply " + shape);
            check(dnnl_stream_wait(dnn.stream), "multiply");
        }

        void close() {
            check(dnnl_primitive_destroy(primitive), "destroy a product");
            check(dnnl_memory_destroy(x), "destroy a memory");
            check(dnnl_memory_destroy(w), "destroy a memory");
            check(dnnl_memory_destroy(y), "destroy a memory");
            if (bias != null) {
                check(dnnl_memory_destroy(bias), "destroy a memory");
            }
            arguments.close();
            aim.close();
        }
    }
}
