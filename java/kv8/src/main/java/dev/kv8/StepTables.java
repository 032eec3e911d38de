package dev.kv8;

import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * What kernels read about one step: token ids, positions and slots by row, starts, lengths and block tables by sequence, and
 * the attention schedules made from them, one for each number of query heads and window and made once a step. Slots and block tables
 * are those of a {@linkplain LayerGroups group of layers}.
 */
final class StepTables implements AutoCloseable {
    private static final int LEAST_STRIDE = 16;

    private final KvBackend backend;
    private final KvCacheConfig config;
    private final StepBuffer tokenIds;
    private final StepBuffer positions;
    /** By group. */
    private final StepBuffer[] slots;
    /** By group. */
    private final StepBuffer[] blockTables;

    private final StepBuffer queryStarts;
    private final StepBuffer sequenceLengths;
    private int sequences;
    private int rows;
    private int tableStride;
    private Schedule[] schedules = {};
    /** Whether kernels or copies may still read the tables. */
    private boolean inUse;

    /**
     * What calls are told of a step beside addresses.
     *
     * @param tableStride entries between the block tables of two sequences: a power of two, so that a step whose sequences have
     *     grown by a block is seldom of another shape
     */
    record Shape(int sequences, int rows, int tableStride) {}

    /** A plan and what it is for. */
    private static final class Schedule {
        final int queryHeads;
        final int window;
        final AttentionPlan plan;
        /** For the present step. */
        boolean made;

        Schedule(int queryHeads, int window, AttentionPlan plan) {
            this.queryHeads = queryHeads;
            this.window = window;
            this.plan = plan;
        }
    }

    StepTables(KvBackend backend, KvCacheConfig config) {
        this.backend = backend;
        this.config = config;
        boolean mirrored = !backend.info().hostAccessible();
        tokenIds = new StepBuffer(backend, mirrored);
        positions = new StepBuffer(backend, mirrored);
        slots = new StepBuffer[config.layerGroups()];
        blockTables = new StepBuffer[config.layerGroups()];
        for (int group = 0; group < slots.length; group++) {
            slots[group] = new StepBuffer(backend, mirrored);
            blockTables[group] = new StepBuffer(backend, mirrored);
        }
        queryStarts = new StepBuffer(backend, false);
        sequenceLengths = new StepBuffer(backend, false);
    }

    /**
     * Describes the step of the first {@code count} sequences of {@code batch}, {@code tokens} rows together. Waits for the
     * readers of the step before; an engine that has drawn that step's tokens has waited already.
     */
    void fill(Sequence[] batch, int count, int tokens) {
        if (inUse) {
            inUse = false;
            backend.synchronize();
        }
        int longest = LEAST_STRIDE;
        for (int i = 0; i < count; i++) {
            longest = Math.max(longest, batch[i].table.size());
        }
        int stride = Integer.highestOneBit(longest - 1) << 1;
        tokenIds.ensureBytes((long) tokens * Integer.BYTES);
        positions.ensureBytes((long) tokens * Integer.BYTES);
        queryStarts.ensureBytes((count + 1L) * Integer.BYTES);
        sequenceLengths.ensureBytes((long) count * Integer.BYTES);
        for (int group = 0; group < slots.length; group++) {
            slots[group].ensureBytes((long) tokens * Long.BYTES);
            blockTables[group].ensureBytes((long) count * stride * Integer.BYTES);
        }

        queryStarts.ints().put(0, 0);
        int row = 0;
        for (int i = 0; i < count; i++) {
            BlockTable table = batch[i].table;
            batch[i].copyTokens(table.computed, table.scheduled, tokenIds.ints(), row);
            fillPositions(table, row);
            for (int group = 0; group < slots.length; group++) {
                fillSlots(table, group, row);
                fillBlocks(table, group, i * stride);
            }
            row += table.scheduled;
            queryStarts.ints().put(i + 1, row);
            sequenceLengths.ints().put(i, table.computed + table.scheduled);
        }
        inUse = true;
        tokenIds.upload(tokens * Integer.BYTES);
        positions.upload(tokens * Integer.BYTES);
        for (int group = 0; group < slots.length; group++) {
            slots[group].upload(tokens * Long.BYTES);
            blockTables[group].upload(count * stride * Integer.BYTES);
        }
        sequences = count;
        rows = tokens;
        tableStride = stride;
        for (Schedule schedule : schedules) {
            schedule.made = false;
        }
    }

    private void fillPositions(BlockTable table, int firstRow) {
        IntBuffer position = positions.ints();
        int end = table.computed + table.scheduled;
        for (int p = table.computed, row = firstRow; p < end; p++, row++) {
            position.put(row, p);
        }
    }

    private void fillBlocks(BlockTable table, int group, int at) {
        IntBuffer target = blockTables[group].ints();
        if (table.groups() == 1) {
            target.put(at, table.blocks(), 0, table.size());
            return;
        }
        for (int i = 0; i < table.size(); i++) {
            target.put(at + i, table.block(i, group));
        }
    }

    private void fillSlots(BlockTable table, int group, int firstRow) {
        int blockSize = config.blockSize();
        LongBuffer slot = slots[group].longs();
        int end = table.computed + table.scheduled;
        for (int p = table.computed, row = firstRow; p < end; ) {
            int index = p / blockSize;
            int blockEnd = (int) Math.min(end, (index + 1L) * blockSize);
            long slotOfPosition0 = (long) table.block(index, group) * blockSize - (long) index * blockSize;
            for (; p < blockEnd; p++, row++) {
                slot.put(row, slotOfPosition0 + p);
            }
        }
    }

    /** The schedule for {@code queryHeads} that see {@code window} keys (0: all), made when the step first asks for it. */
    AttentionPlan plan(int queryHeads, int window) {
        Schedule schedule = find(queryHeads, window);
        if (schedule == null) {
            AttentionPlan plan = backend.attentionPlan(queryHeads, config.kvHeads(), config.headSize(), window);
            schedule = new Schedule(queryHeads, window, plan);
            schedules = Arrays.copyOf(schedules, schedules.length + 1);
            schedules[schedules.length - 1] = schedule;
        }
        make(schedule);
        return schedule.plan;
    }

    /** Such a schedule of a step that is being captured, where it can't be made. */
    AttentionPlan madePlan(int queryHeads, int window) {
        Schedule schedule = find(queryHeads, window);
        if (schedule == null || !schedule.made) {
            throw new IllegalStateException("There is no schedule for " + queryHeads + " query heads"
                    + (window == 0 ? "" : " and a window of " + window)
                    + " yet, and none can be made while the step is being captured. Make such a step once without a"
                    + " graph.");
        }
        return schedule.plan;
    }

    private @Nullable Schedule find(int queryHeads, int window) {
        for (Schedule schedule : schedules) {
            if (schedule.queryHeads == queryHeads && schedule.window == window) {
                return schedule;
            }
        }
        return null;
    }

    /** Makes the schedules that steps have asked for so far. */
    void planAll() {
        for (Schedule schedule : schedules) {
            make(schedule);
        }
    }

    private void make(Schedule schedule) {
        if (!schedule.made) {
            schedule.plan.update(sequences, queryStarts.host(), sequenceLengths.host());
            schedule.made = true;
        }
    }

    /** Of the step that the tables describe. */
    Shape shape() {
        return new Shape(sequences, rows, tableStride);
    }

    /** Whether {@link #shape} is this; allocates nothing. */
    boolean haveShape(Shape shape) {
        return shape.sequences == sequences && shape.rows == rows && shape.tableStride == tableStride;
    }

    DeviceMemory tokenIds() {
        return tokenIds.device();
    }

    DeviceMemory positions() {
        return positions.device();
    }

    DeviceMemory slots(int group) {
        return slots[group].device();
    }

    DeviceMemory blockTable(int group) {
        return blockTables[group].device();
    }

    /** Entries between the block tables of two sequences. */
    int tableStride() {
        return tableStride;
    }

    @Override
    public void close() {
        for (Schedule schedule : schedules) {
            schedule.plan.close();
        }
        tokenIds.close();
        positions.close();
        for (int group = 0; group < slots.length; group++) {
            slots[group].close();
            blockTables[group].close();
        }
        queryStarts.close();
        sequenceLengths.close();
    }
}
