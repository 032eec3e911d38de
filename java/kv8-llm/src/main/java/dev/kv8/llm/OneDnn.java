package dev.kv8.llm;

import static org.bytedeco.dnnl.global.dnnl.dnnl_cpu;
import static org.bytedeco.dnnl.global.dnnl.dnnl_engine_create;
import static org.bytedeco.dnnl.global.dnnl.dnnl_engine_destroy;
import static org.bytedeco.dnnl.global.dnnl.dnnl_memory_desc_create_with_tag;
import static org.bytedeco.dnnl.global.dnnl.dnnl_stream_create;
import static org.bytedeco.dnnl.global.dnnl.dnnl_stream_default_flags;
import static org.bytedeco.dnnl.global.dnnl.dnnl_stream_destroy;
import static org.bytedeco.dnnl.global.dnnl.dnnl_success;

import dev.kv8.DeviceException;
import dev.kv8.KvBackend;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.dnnl.dnnl_engine;
import org.bytedeco.dnnl.dnnl_memory_desc;
import org.bytedeco.dnnl.dnnl_stream;
import org.bytedeco.javacpp.Pointer;

/**
 * oneDNN's CPU engine and the matrix products made with it. Its C interface is used because a call through it needs no
 * temporary object, on the Java or the C++ side. For one thread at a time.
 */
final class OneDnn implements Products {
    static {
        OpenMpEnvironment.letIdleWorkersSleep();
    }

    final dnnl_engine engine = new dnnl_engine();
    final dnnl_stream stream = new dnnl_stream();
    private final KvBackend backend;
    private final Map<MatMul.Shape, MatMul> products = new HashMap<>();

    OneDnn(KvBackend backend) {
        this.backend = backend;
        check(dnnl_engine_create(engine, dnnl_cpu, 0), "create an engine");
        check(dnnl_stream_create(stream, engine, dnnl_stream_default_flags), "create a stream");
    }

    @Override
    public int room(int rows) {
        return MatMul.paddedRows(rows);
    }

    /** Float32 rows in and out, whatever the weights. */
    @Override
    public Linear linear(LinearWeights weights, Linear.Result result) {
        return new OneDnnLinear(this, backend, weights);
    }

    /** The product of that shape, shared by all layers that have it. */
    MatMul product(MatMul.Shape shape) {
        return products.computeIfAbsent(shape, wanted -> new MatMul(this, wanted));
    }

    static void check(int status, String action) {
        if (status != dnnl_success) {
            throw new DeviceException("oneDNN could not " + action + ": status " + status + ".");
        }
    }

    static dnnl_memory_desc describe(int type, int tag, long... dimensions) {
        dnnl_memory_desc result = new dnnl_memory_desc();
        check(dnnl_memory_desc_create_with_tag(result, dimensions.length, dimensions, type, tag), "describe a matrix");
        return result;
    }

    @Override
    public void close() {
        products.values().forEach(MatMul::close);
        products.clear();
        check(dnnl_stream_destroy(stream), "destroy a stream");
        check(dnnl_engine_destroy(engine), "destroy an engine");
    }

    /** A pointer that can be aimed again and again, so that a call allocates none. */
    static final class Aim extends Pointer {
        Aim at(long target) {
            address = target;
            return this;
        }
    }
}
