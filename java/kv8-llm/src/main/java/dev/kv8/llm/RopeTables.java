package dev.kv8.llm;

import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import dev.kv8.RopeTable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A model's tables of rotary angles, computed in double and stored as float32: one for each {@link ModelConfig.Rope} that its layers
 * have.
 */
final class RopeTables implements AutoCloseable {
    private static final int POSITIONS_A_STEP = 4096;

    private final List<RopeTable> byLayer = new ArrayList<>();
    private final Map<ModelConfig.Rope, RopeTable> tables = new HashMap<>();
    private final int positions;

    private RopeTables(int positions) {
        this.positions = positions;
    }

    /** The tables of positions 0 to {@code positions - 1}. */
    static RopeTables create(KvBackend backend, ModelConfig config, int positions) {
        RopeTables result = new RopeTables(positions);
        try {
            for (ModelConfig.Layer layer : config.layerConfigs()) {
                RopeTable table = result.tables.get(layer.rope());
                if (table == null) {
                    table = table(backend, layer.rope(), config.headSize(), positions);
                    result.tables.put(layer.rope(), table);
                }
                result.byLayer.add(table);
            }
            return result;
        } catch (RuntimeException e) {
            result.close();
            throw e;
        }
    }

    private static RopeTable table(KvBackend backend, ModelConfig.Rope rope, int size, int positions) {
        double[] frequencies = rope.scaling().frequencies(rope.theta(), size);
        double magnitude = rope.scaling().magnitude();
        DeviceMemory memory = backend.allocate((long) positions * size * Float.BYTES);
        ByteBuffer rows =
                ByteBuffer.allocateDirect(POSITIONS_A_STEP * size * Float.BYTES).order(ByteOrder.nativeOrder());
        for (int first = 0; first < positions; first += POSITIONS_A_STEP) {
            int count = Math.min(POSITIONS_A_STEP, positions - first);
            rows.clear();
            for (int position = first; position < first + count; position++) {
                for (double frequency : frequencies) {
                    rows.putFloat((float) (magnitude * Math.cos(position * frequency)));
                }
                for (double frequency : frequencies) {
                    rows.putFloat((float) (magnitude * Math.sin(position * frequency)));
                }
            }
            backend.upload(rows.flip(), memory, (long) first * size * Float.BYTES);
        }
        return new RopeTable(memory, size, RopeTable.Style.HALF);
    }

    RopeTable layer(int layer) {
        return byLayer.get(layer);
    }

    /** How many positions the tables hold. */
    int maxPositions() {
        return positions;
    }

    @Override
    public void close() {
        tables.values().forEach(table -> table.values().close());
        tables.clear();
    }
}
