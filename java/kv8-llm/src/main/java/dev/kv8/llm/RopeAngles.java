package dev.kv8.llm;

import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import dev.kv8.RopeTable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Builds a model's table of rotary angles: computed in double, stored as float32. */
final class RopeAngles {
    private static final int POSITIONS_A_STEP = 4096;

    private RopeAngles() {}

    /** The table of positions 0 to {@code positions - 1}; closing its memory frees it. */
    static RopeTable table(KvBackend backend, ModelConfig config, int positions) {
        int size = config.headSize();
        int pairs = size / 2;
        double[] frequencies = new double[pairs];
        for (int pair = 0; pair < pairs; pair++) {
            frequencies[pair] = config.ropeScaling().scale(Math.pow(config.ropeTheta(), -2.0 * pair / size));
        }
        DeviceMemory memory = backend.allocate((long) positions * size * Float.BYTES);
        ByteBuffer rows =
                ByteBuffer.allocateDirect(POSITIONS_A_STEP * size * Float.BYTES).order(ByteOrder.nativeOrder());
        for (int first = 0; first < positions; first += POSITIONS_A_STEP) {
            int count = Math.min(POSITIONS_A_STEP, positions - first);
            rows.clear();
            for (int position = first; position < first + count; position++) {
                for (double frequency : frequencies) {
                    rows.putFloat((float) Math.cos(position * frequency));
                }
                for (double frequency : frequencies) {
                    rows.putFloat((float) Math.sin(position * frequency));
                }
            }
            backend.upload(rows.flip(), memory, (long) first * size * Float.BYTES);
        }
        return new RopeTable(memory, size, RopeTable.Style.HALF);
    }
}
