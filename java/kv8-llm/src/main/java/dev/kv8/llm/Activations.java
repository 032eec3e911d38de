package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * What flows through the layers of one step, in memory that steps reuse; a larger step makes a larger one. The residual stream
 * and what is added to it are float32; all between them is of the type of the layers' products, which share its memory.
 */
final class Activations implements AutoCloseable {
    private final KvBackend backend;
    private final ModelConfig config;
    private final List<DeviceMemory> owned = new ArrayList<>();
    private final Map<DType, Between> byType = new EnumMap<>(DType.class);
    private final int rows;

    /** The residual stream, {@code [rows][hiddenSize]}. */
    final HeadRows hidden;
    /** A block's contribution to it. */
    final HeadRows delta;

    private final DeviceMemory normed;
    private final DeviceMemory qkv;
    private final DeviceMemory attention;
    private final DeviceMemory gateUp;
    private final DeviceMemory activated;

    /**
     * Allocates.
     *
     * @param rows of the largest step
     * @param widest the widest type that {@link #of} will be asked for
     */
    Activations(KvBackend backend, ModelConfig config, int rows, DType widest) {
        this.backend = backend;
        this.config = config;
        this.rows = rows;
        try {
            hidden = HeadRows.of(zeroed(config.hiddenSize(), DType.FLOAT32), DType.FLOAT32, 1, config.hiddenSize());
            delta = HeadRows.of(zeroed(config.hiddenSize(), DType.FLOAT32), DType.FLOAT32, 1, config.hiddenSize());
            normed = zeroed(config.hiddenSize(), widest);
            qkv = zeroed((config.heads() + 2 * config.kvHeads()) * config.headSize(), widest);
            attention = zeroed(config.heads() * config.headSize(), widest);
            gateUp = zeroed(2 * config.intermediateSize(), widest);
            activated = zeroed(config.intermediateSize(), widest);
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    /** Zeroed, because rows that only pad a product are computed with whatever is in them. */
    private DeviceMemory zeroed(int width, DType type) {
        DeviceMemory memory = backend.allocate((long) rows * width * type.bytes());
        owned.add(memory);
        backend.fill(memory, 0, memory.bytes(), (byte) 0);
        return memory;
    }

    /** What is between the products, in the type of one of them. */
    Between of(DType type) {
        Between between = byType.get(type);
        if (between == null) {
            between = new Between(type);
            byType.put(type, between);
        }
        return between;
    }

    int rows() {
        return rows;
    }

    @Override
    public void close() {
        owned.forEach(DeviceMemory::close);
        owned.clear();
    }

    /** Rows of one type: where layers of a model differ in it, each looks at the memory through its own. */
    final class Between {
        final HeadRows normed;
        final HeadRows qkv;
        final HeadRows q;
        final HeadRows k;
        final HeadRows v;
        /** By head, and as the one row that a product takes. */
        final HeadRows attention;

        final HeadRows attended;
        final HeadRows gateUp;
        final HeadRows gate;
        final HeadRows up;
        final HeadRows activated;

        private Between(DType type) {
            int size = config.headSize();
            int queries = config.heads() * size;
            int keys = config.kvHeads() * size;
            int inner = config.intermediateSize();
            Activations all = Activations.this;
            normed = HeadRows.of(all.normed, type, 1, config.hiddenSize());
            qkv = HeadRows.of(all.qkv, type, 1, queries + 2 * keys);
            q = qkv.columns(0, config.heads(), size);
            k = qkv.columns(queries, config.kvHeads(), size);
            v = qkv.columns(queries + keys, config.kvHeads(), size);
            attention = HeadRows.of(all.attention, type, config.heads(), size);
            attended = HeadRows.of(all.attention, type, 1, queries);
            gateUp = HeadRows.of(all.gateUp, type, 1, 2 * inner);
            gate = gateUp.columns(0, 1, inner);
            up = gateUp.columns(inner, 1, inner);
            activated = HeadRows.of(all.activated, type, 1, inner);
        }
    }
}
