package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.util.ArrayList;
import java.util.List;

/** What flows through the layers of one step, float32, in memory that steps reuse; a larger step makes a larger one. */
final class Activations implements AutoCloseable {
    private final KvBackend backend;
    private final List<DeviceMemory> owned = new ArrayList<>();
    private final long rows;

    /** The residual stream, {@code [rows][hiddenSize]}. */
    final HeadRows hidden;
    /** A block's contribution to it. */
    final HeadRows delta;

    final HeadRows normed;
    final HeadRows qkv;
    final HeadRows q;
    final HeadRows k;
    final HeadRows v;
    final HeadRows attention;
    final HeadRows gateUp;
    final HeadRows gate;
    final HeadRows up;
    final HeadRows activated;

    Activations(KvBackend backend, ModelConfig config, int capacity) {
        this.backend = backend;
        rows = MatMul.paddedRows(capacity);
        int size = config.headSize();
        int queries = config.heads() * size;
        int keys = config.kvHeads() * size;
        try {
            hidden = rows(config.hiddenSize());
            delta = rows(config.hiddenSize());
            normed = rows(config.hiddenSize());
            qkv = rows(queries + 2 * keys);
            q = qkv.columns(0, config.heads(), size);
            k = qkv.columns(queries, config.kvHeads(), size);
            v = qkv.columns(queries + keys, config.kvHeads(), size);
            attention = HeadRows.of(rows(queries).memory(), DType.FLOAT32, config.heads(), size);
            gateUp = rows(2 * config.intermediateSize());
            gate = gateUp.columns(0, 1, config.intermediateSize());
            up = gateUp.columns(config.intermediateSize(), 1, config.intermediateSize());
            activated = rows(config.intermediateSize());
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /** Zeroed, because rows that only pad a product are computed with whatever is in them. */
    private HeadRows rows(int width) {
        DeviceMemory memory = backend.allocate(rows * width * Float.BYTES);
        owned.add(memory);
        backend.fill(memory, 0, memory.bytes(), (byte) 0);
        return HeadRows.of(memory, DType.FLOAT32, 1, width);
    }

    boolean holds(int tokens) {
        return tokens <= rows;
    }

    @Override
    public void close() {
        owned.forEach(DeviceMemory::close);
        owned.clear();
    }
}
