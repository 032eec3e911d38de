package dev.kv8;

import java.util.BitSet;

/**
 * The calls of one step of a batch, captured by {@link KvCache#capture} and made again by {@link #launch} for later steps of the same
 * shape: as many sequences, as many rows. Which sequences, tokens, positions and blocks these are may differ; so may what the scales
 * are, as long as {@link KvCache#setScales} has not been called. For the cache's writer thread.
 */
public final class StepGraph implements AutoCloseable {
    private final KvCache cache;
    private final Batch batch;
    private final StepTables.Shape shape;
    private final Recording recording;
    private final CapturedGraph graph;
    private boolean closed;

    /** Captures, for a caller that is not inside the cache: the step's calls enter it, and tell {@code recording}. */
    StepGraph(KvCache cache, Batch batch, StepTables.Shape shape, Recording recording, Runnable step) {
        this.cache = cache;
        this.batch = batch;
        this.shape = shape;
        this.recording = recording;
        graph = cache.backend().capture(step);
    }

    /** What the cache's calls of a step do beside what they ask of the backend, for each launch to do it too. */
    static final class Recording {
        private final Batch batch;
        /** Those that the step writes. */
        private final BitSet layers = new BitSet();

        Recording(Batch batch) {
            this.batch = batch;
        }

        void written(int layer, Batch by) {
            if (by != batch) {
                throw new IllegalStateException("The step of one batch is being captured; this is another batch.");
            }
            layers.set(layer);
        }
    }

    /**
     * Launches the calls for the batch's present step, which they begin, instead of making them: tables and schedules are those of
     * this step. It does not wait.
     *
     * @return false when the step has another shape than the captured one, or something that the calls were given has been closed
     *     or has grown out of its memory; nothing was launched then, now and, for the latter, ever: make the calls, or capture anew
     * @throws IllegalStateException when the batch is empty, or this, the batch or the cache is closed
     * @throws DeviceException when the device refuses it
     */
    public boolean launch() {
        cache.ledger().enter();
        try {
            if (closed) {
                throw new IllegalStateException("This graph of a step has been closed.");
            }
            StepTables tables = batch.startedTables(cache);
            if (!tables.haveShape(shape)) {
                return false;
            }
            tables.planAll(); // may move a schedule's memory, so it comes before the question
            if (!graph.isCurrent()) {
                return false;
            }
            BitSet written = recording.layers;
            for (int layer = written.nextSetBit(0); layer >= 0; layer = written.nextSetBit(layer + 1)) {
                cache.stores(layer, batch.tokens());
            }
            graph.launch();
            return true;
        } finally {
            cache.ledger().exit();
        }
    }

    /** Waits for its launches and frees it. Closing twice does nothing. */
    @Override
    public void close() {
        closed = true;
        graph.close();
    }
}
