package dev.kv8;

import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.util.Arrays;

/**
 * What kernels read about one step: token ids, positions and slots by row, starts, lengths and block tables by sequence, and
 * the attention schedules made from them, one for each number of query heads and made once a step.
 */
final class StepTables implements AutoCloseable {
    private final KvBackend backend;
    private final KvCacheConfig config;
    private final StepBuffer tokenIds;
    private final StepBuffer positions;
    private final StepBuffer slots;
    private final StepBuffer blockTable;
    private final StepBuffer queryStarts;
    private final StepBuffer sequenceLengths;
    private int sequences;
    private int tableStride;
    private int[] planHeads = {};
    private AttentionPlan[] plans = {};
    private boolean[] planned = {};
    /** Whether kernels or copies may still read the tables. */
    private boolean inUse;

    StepTables(KvBackend backend, KvCacheConfig config) {
        this.backend = backend;
        this.config = config;
        boolean mirrored = !backend.info().hostAccessible();
        tokenIds = new StepBuffer(backend, mirrored);
        positions = new StepBuffer(backend, mirrored);
        slots = new StepBuffer(backend, mirrored);
        blockTable = new StepBuffer(backend, mirrored);
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
        int stride = 1;
        for (int i = 0; i < count; i++) {
            stride = Math.max(stride, batch[i].table.size());
        }
        tokenIds.ensureBytes((long) tokens * Integer.BYTES);
        positions.ensureBytes((long) tokens * Integer.BYTES);
        slots.ensureBytes((long) tokens * Long.BYTES);
        queryStarts.ensureBytes((count + 1L) * Integer.BYTES);
        sequenceLengths.ensureBytes((long) count * Integer.BYTES);
        blockTable.ensureBytes((long) count * stride * Integer.BYTES);

        queryStarts.ints().put(0, 0);
        int row = 0;
        for (int i = 0; i < count; i++) {
            BlockTable table = batch[i].table;
            batch[i].copyTokens(table.computed, table.scheduled, tokenIds.ints(), row);
            fillRows(table, row);
            row += table.scheduled;
            queryStarts.ints().put(i + 1, row);
            sequenceLengths.ints().put(i, table.computed + table.scheduled);
            blockTable.ints().put(i * stride, table.blocks(), 0, table.size());
        }
        inUse = true;
        tokenIds.upload(tokens * Integer.BYTES);
        positions.upload(tokens * Integer.BYTES);
        slots.upload(tokens * Long.BYTES);
        blockTable.upload(count * stride * Integer.BYTES);
        sequences = count;
        tableStride = stride;
        Arrays.fill(planned, false);
    }

    private void fillRows(BlockTable table, int firstRow) {
        int blockSize = config.blockSize();
        IntBuffer position = positions.ints();
        LongBuffer slot = slots.longs();
        int end = table.computed + table.scheduled;
        for (int p = table.computed, row = firstRow; p < end; ) {
            int index = p / blockSize;
            int blockEnd = (int) Math.min(end, (index + 1L) * blockSize);
            long slotOfPosition0 = (long) table.block(index) * blockSize - (long) index * blockSize;
            for (; p < blockEnd; p++, row++) {
                position.put(row, p);
                slot.put(row, slotOfPosition0 + p);
            }
        }
    }

    /** The schedule for {@code queryHeads}, made when the step first asks for it. */
    AttentionPlan plan(int queryHeads) {
        int i = 0;
        while (i < planHeads.length && planHeads[i] != queryHeads) {
            i++;
        }
        if (i == planHeads.length) {
            AttentionPlan made = backend.attentionPlan(queryHeads, config.kvHeads(), config.headSize());
            planHeads = Arrays.copyOf(planHeads, i + 1);
            plans = Arrays.copyOf(plans, i + 1);
            planned = Arrays.copyOf(planned, i + 1);
            planHeads[i] = queryHeads;
            plans[i] = made;
        }
        if (!planned[i]) {
            plans[i].update(sequences, queryStarts.host(), sequenceLengths.host());
            planned[i] = true;
        }
        return plans[i];
    }

    DeviceMemory tokenIds() {
        return tokenIds.device();
    }

    DeviceMemory positions() {
        return positions.device();
    }

    DeviceMemory slots() {
        return slots.device();
    }

    DeviceMemory blockTable() {
        return blockTable.device();
    }

    /** Entries between the block tables of two sequences. */
    int tableStride() {
        return tableStride;
    }

    @Override
    public void close() {
        for (AttentionPlan plan : plans) {
            plan.close();
        }
        tokenIds.close();
        positions.close();
        slots.close();
        blockTable.close();
        queryStarts.close();
        sequenceLengths.close();
    }
}
