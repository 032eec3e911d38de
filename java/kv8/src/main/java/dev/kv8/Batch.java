package dev.kv8;

import java.util.Arrays;
import java.util.Objects;

/**
 * One step over several sequences: which of their pending tokens are computed together, and the metadata that kernels need for
 * it. Rows are the tokens of the first sequence added, then those of the second, and so on.
 *
 * <p>{@link #add} reserves blocks; then every layer is written and attended through the {@link KvCache}; {@link #commit} makes
 * the tokens computed, {@link #clear} forgets the step. Either empties the batch for the next step; once it has grown to a
 * workload's size it allocates nothing. For the cache's writer thread. Closing the cache closes it.
 */
public final class Batch implements AutoCloseable {
    private final KvCache cache;
    private final BlockLedger ledger;
    private final StepTables tables;
    private Sequence[] sequences = new Sequence[16];
    private int[] rowEnds = new int[16];
    private int count;
    private int tokens;
    private boolean filled;
    private boolean started;
    private long startedNanos;
    private boolean closed;

    Batch(KvCache cache) {
        this.cache = cache;
        this.ledger = cache.ledger();
        this.tables = new StepTables(cache.backend(), cache.config());
    }

    /**
     * Schedules all pending tokens of {@code sequence}; see {@link #add(Sequence, int)}.
     *
     * @throws IllegalArgumentException when none is pending
     */
    public boolean add(Sequence sequence) {
        return add(sequence, sequence.pendingTokens());
    }

    /**
     * Schedules the next {@code tokenCount} pending tokens of {@code sequence} and reserves the blocks for them, a copy of a
     * shared last block included. Free blocks are taken before cached ones, and of those the one that {@link KvCacheConfig#eviction} says.
     *
     * @return false when there are not enough free blocks; nothing has changed then
     * @throws IllegalArgumentException when fewer tokens are pending, the batch would have more than {@link Integer#MAX_VALUE}, or the
     *     sequence is of another cache
     * @throws IllegalStateException when the sequence is closed or in an open batch, or the step has begun
     */
    public boolean add(Sequence sequence, int tokenCount) {
        ledger.enter();
        try {
            checkOpen();
            checkAddable(sequence, tokenCount);
            int rows = tokens + tokenCount;
            if (count == sequences.length) {
                sequences = Arrays.copyOf(sequences, 2 * count);
                rowEnds = Arrays.copyOf(rowEnds, 2 * count);
            }
            if (!ledger.reserve(sequence.table, tokenCount)) {
                return false;
            }
            sequence.stopLoading();
            sequences[count] = sequence;
            rowEnds[count++] = rows;
            tokens = rows;
            filled = false;
            return true;
        } finally {
            ledger.exit();
        }
    }

    private void checkAddable(Sequence sequence, int tokenCount) {
        if (sequence.cache != cache) {
            throw new IllegalArgumentException("The sequence belongs to another cache.");
        }
        sequence.checkOpen();
        if (started) {
            throw new IllegalStateException("This step has begun; commit or clear the batch before adding to it.");
        }
        if (sequence.table.scheduled > 0) {
            throw new IllegalStateException("The sequence is in an open batch already, with " + sequence.table.scheduled
                    + " tokens; commit or clear that one first.");
        }
        int pending = sequence.pendingTokens();
        if (tokenCount < 1 || tokenCount > pending) {
            throw new IllegalArgumentException(
                    "The sequence has " + pending + " pending tokens; " + tokenCount + " can't be scheduled"
                            + (pending == 0 ? ". Append tokens first." : ", give 1 to " + pending + "."));
        }
        if (tokenCount > Integer.MAX_VALUE - tokens) {
            throw new IllegalArgumentException("The batch has " + tokens + " tokens; " + tokenCount
                    + " more are beyond the " + Integer.MAX_VALUE + " that one takes. Commit a part of them first.");
        }
    }

    /** Sequences added. */
    public int sequences() {
        return count;
    }

    /** Rows: tokens of all sequences. */
    public int tokens() {
        return tokens;
    }

    /** The {@code i}-th sequence added. */
    public Sequence sequence(int i) {
        return sequences[Objects.checkIndex(i, count)];
    }

    /** The row of the last token of the {@code i}-th sequence added, from 0: its output is what the next token is drawn from. */
    public int lastRow(int i) {
        return rowEnds[Objects.checkIndex(i, count)] - 1;
    }

    /** Token ids by row, int32 in device memory, at least {@link #tokens}; valid until the next add, commit or clear. */
    public DeviceMemory tokenIds() {
        return tablesForReading().tokenIds();
    }

    /** Positions in their sequences by row, int32 in device memory; as {@link #tokenIds}. */
    public DeviceMemory positions() {
        return tablesForReading().positions();
    }

    /**
     * Slots in the cache by row, {@code block * blockSize + index}, int64 in device memory; as {@link #tokenIds}.
     *
     * @throws IllegalStateException when the layers have blocks of their own, by {@linkplain KvCacheConfig#layerGroups group}: ask
     *     for those of a layer
     */
    public DeviceMemory slots() {
        int groups = cache.config().layerGroups();
        if (groups > 1) {
            throw new IllegalStateException(
                    "This cache has " + groups + " groups of layers with blocks of their own. Ask for slots(layer).");
        }
        return slots(0);
    }

    /** As {@link #slots()}, of one layer. */
    public DeviceMemory slots(int layer) {
        Objects.checkIndex(layer, cache.config().layers());
        return tablesForReading().slots(cache.config().groups().of(layer));
    }

    private StepTables tablesForReading() {
        ledger.enter();
        try {
            checkOpen();
            return filledTables();
        } finally {
            ledger.exit();
        }
    }

    /** The tables of a step that begins: nothing can be added any more. */
    StepTables startedTables(KvCache caller) {
        checkOpen();
        if (caller != cache) {
            throw new IllegalArgumentException("The batch belongs to another cache.");
        }
        if (count == 0) {
            throw new IllegalStateException("The batch is empty; add sequences before write and attend.");
        }
        if (!started) {
            started = true;
            startedNanos = System.nanoTime();
        }
        return filledTables();
    }

    private StepTables filledTables() {
        if (!filled) {
            tables.fill(sequences, count, tokens);
            filled = true;
        }
        return tables;
    }

    /**
     * The scheduled tokens count as computed, blocks that are full now can be shared by new sequences; empties the batch. It does not check
     * that every layer was written: commit only then. Does not wait for a GPU.
     */
    public void commit() {
        finish(true);
    }

    /**
     * Forgets the step: its tokens are pending again, the blocks reserved for them free (a sequence keeps its own copy of a
     * formerly shared block); empties the batch.
     */
    public void clear() {
        finish(false);
    }

    private void finish(boolean computed) {
        ledger.enter();
        try {
            checkOpen();
            if (computed && started) {
                cache.computed(tokens, count, startedNanos);
            }
            empty(computed);
            cache.pollTiers();
        } finally {
            ledger.exit();
        }
    }

    private void empty(boolean computed) {
        filled = false;
        for (int i = 0; i < count; i++) {
            Sequence sequence = sequences[i];
            ledger.settle(sequence.table, sequence.tokenIds(), sequence.length(), computed);
        }
        ledger.publish();
        Arrays.fill(sequences, 0, count, null);
        count = 0;
        tokens = 0;
        started = false;
    }

    private void checkOpen() {
        if (closed) {
            throw new IllegalStateException("This batch has been closed.");
        }
    }

    /** Clears the batch and frees its memory. Closing twice does nothing. */
    @Override
    public void close() {
        ledger.enterEvenClosed();
        try {
            if (!closed) {
                cache.forget(this);
                closeInside();
            }
        } finally {
            ledger.exit();
        }
    }

    /** Close for a caller that is inside the cache. */
    void closeInside() {
        closed = true;
        empty(false);
        tables.close();
    }
}
