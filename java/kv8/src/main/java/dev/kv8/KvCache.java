package dev.kv8;

import java.io.IOException;
import java.lang.ref.Cleaner;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * A paged KV cache on one device: a pool of blocks, the sequences that hold them, and the kernels that write and read them.
 *
 * <pre>{@code
 * Sequence seq = cache.open(promptTokens);
 * Batch batch = cache.batch();
 * if (batch.add(seq)) {                       // false: not enough free blocks, nothing changed
 *     for each layer { cache.write(layer, batch, k, v); cache.attend(layer, batch, q, out); }
 *     batch.commit();
 * }
 * }</pre>
 *
 * <p>One thread at a time drives a cache, its sequences and batches; a second one is refused with {@link
 * IllegalStateException} while the first one is inside a call. The thread may change between calls, when the caller hands over in
 * order. {@link Sequence#close}, {@link Sequence#cancel}, {@link PinnedPrefix#close} and {@link #stats} may be called from any
 * thread at any time. Nothing from append over write and attend to commit allocates once the batch has grown.
 *
 * <p>The backend stays the caller's and must outlive the cache.
 */
public final class KvCache implements AutoCloseable {
    /** Tokens for each sequence of a batch that make it one of prompts. */
    private static final int PREFILL_TOKENS = 8;

    private final KvBackend backend;
    private final KvCacheConfig config;
    private final DeviceMemory memory;
    private final LayerViews views;
    private final SaturationCounters saturated;
    /** By layer: attention that says nothing else. */
    private final AttentionOptions[] causal;

    private final BlockLedger ledger;
    private final List<Batch> batches = new ArrayList<>();
    private final BeamOrder beamOrder = new BeamOrder();
    private final SequenceStorage storage;
    /** By layer: the pool's generation at the last write. */
    private final long[] writtenIn;
    /** While a step is captured. */
    private StepGraph.@Nullable Recording recording;

    private final @Nullable TierSet tiers;
    private final SwapSpace swapSpace;

    private final Cleaner.Cleanable abandoned;

    private KvCache(
            KvBackend backend,
            KvCacheConfig config,
            DeviceMemory memory,
            LayerViews views,
            SaturationCounters saturated) {
        this.backend = backend;
        this.config = config;
        this.memory = memory;
        this.views = views;
        this.saturated = saturated;
        causal = new AttentionOptions[config.layers()];
        Arrays.setAll(
                causal, layer -> AttentionOptions.causal(config.headSize()).withWindow(config.window(layer)));
        long bytes = config.blockBytes();
        ledger = new BlockLedger(
                config, views::scales, (from, to) -> backend.copy(memory, from * bytes, memory, to * bytes, bytes));
        storage = new SequenceStorage(backend, config, memory, views::scales, ledger);
        swapSpace = new SwapSpace(backend, memory, bytes, ledger, this::blocksArrived);
        writtenIn = new long[config.layers()];
        Arrays.fill(writtenIn, -1);
        tiers = TierSet.create(backend, config, memory, ledger, this::blocksArrived);
        abandoned = Abandoned.watchCache(this, ledger, config.toString());
    }

    /**
     * Allocates the pool.
     *
     * @throws IllegalArgumentException when the backend can't store one of the configured types, there are too many blocks, or a tier
     *     can't take blocks of their size
     * @throws DeviceException when there is not enough device memory
     */
    public static KvCache create(KvBackend backend, KvCacheConfig config) {
        DeviceInfo device = backend.info();
        for (DType dtype : config.layout().dtypes()) {
            if (!device.storable().contains(StoredFormat.of(dtype, device))) {
                throw new IllegalArgumentException("The backend " + device.backend() + " can't store " + dtype
                        + "; it stores " + device.storable() + ".");
            }
        }
        if (config.blocks() > BlockPool.MAX_BLOCKS) {
            throw new IllegalArgumentException("The cache has " + config.blocks() + " blocks; it can manage "
                    + BlockPool.MAX_BLOCKS + ". Give a larger blockSize or less memory.");
        }
        TierSet.prepare(config);
        DeviceMemory memory = backend.allocate(config.blocks() * config.blockBytes());
        LayerViews views = null;
        SaturationCounters saturated = null;
        try {
            views = LayerViews.create(backend, config, memory);
            saturated = new SaturationCounters(backend, config);
            return new KvCache(backend, config, memory, views, saturated);
        } catch (RuntimeException e) {
            if (saturated != null) {
                saturated.close();
            }
            if (views != null) {
                views.close();
            }
            memory.close();
            throw e;
        }
    }

    /** What it was created with; {@link #scales} has the scales in force. Any thread. */
    public KvCacheConfig config() {
        return config;
    }

    /** The caller's backend, on which it was created. Any thread. */
    public KvBackend backend() {
        return backend;
    }

    /**
     * A sequence of these tokens. With {@link KvCacheConfig#prefixCaching} it shares the longest run of full blocks that are
     * stored for the same tokens from the beginning on. When a stored block goes on with the same tokens for 8 or half its length or
     * more, and a block is free for it, the sequence also gets a copy of that ({@link KvCacheConfig#partialReuse}). Together these
     * are {@link Sequence#cachedTokens}, at most all but the last; the rest is pending and holds no block yet. What others
     * compute later can still be taken over, by {@link Sequence#catchUp}. With {@link KvCacheConfig#tiers} more may be on their
     * way, see {@link Sequence#isLoading}; then there is no copy of a part before they have come.
     *
     * @throws IllegalArgumentException when a token id is negative
     * @throws DeviceException when the copy fails; nothing has been opened then
     */
    public Sequence open(int... promptTokens) {
        return open(SequenceOptions.DEFAULT, promptTokens);
    }

    /** As {@link #open(int...)}, with a priority class, a time limit or a salt of its own. */
    public Sequence open(SequenceOptions options, int... promptTokens) {
        ledger.enter();
        try {
            Sequence.checkTokens(promptTokens);
            int[] tokens = Arrays.copyOf(promptTokens, Math.max(16, promptTokens.length));
            BlockTable table = ledger.table(tokens, promptTokens.length, options);
            Sequence sequence = new Sequence(this, table, tokens, promptTokens.length, table.computed);
            try {
                if (tiers != null) {
                    tiers.opened(sequence);
                }
                sequence.follow();
            } catch (RuntimeException e) {
                sequence.close();
                throw e;
            }
            return sequence;
        } finally {
            ledger.exit();
        }
    }

    /**
     * A step of beam search: {@code beam[i]} goes on from what {@code beam[parents[i]]} was, for all {@code i} at once. The
     * {@link Sequence} objects stay; tokens, computed ones and pending ones, and their blocks move between them. Parents that
     * several go on from are shared until one of these writes, as after {@link Sequence#fork}; those that nobody goes on from
     * give their blocks back.
     *
     * <p>It takes no block, and the next token of each fits whenever it fitted before: a fork costs its copy of a last block that
     * is not full, and the beam that it replaced has given one back. Forking first and closing later needs both at once.
     * Nothing is allocated once the arrays have grown.
     *
     * @param beam distinct sequences of this cache
     * @param parents for each of them an index into {@code beam}
     * @throws IllegalArgumentException when lengths or indices do not fit, a sequence occurs twice or is of another cache, or their
     *     {@linkplain SequenceOptions#salt salts} differ: what one salt keeps apart does not go to another
     * @throws IllegalStateException when a sequence is closed, cancelled or in an open batch
     */
    public void reorder(Sequence[] beam, int... parents) {
        ledger.enter();
        try {
            beamOrder.check(this, beam, parents);
            beamOrder.apply(beam, parents);
            ledger.publish();
        } finally {
            ledger.exit();
        }
    }

    /**
     * Writes a sequence to a file: its tokens, K and V of the computed ones as they are stored (with their row scales, where scales
     * are dynamic), and what a cache must have in common with this one to go on with it: model, weights, types, scales, layout. Both
     * parts have a checksum. An old file of that name stays whole until the new one is on the disk. The file is as secret as the
     * conversation, so only its owner may read it, where the file system knows owners.
     *
     * <p>It waits for the kernels under way and for the disk, on the calling thread. The sequence stays open as it is.
     *
     * @throws IOException when the file can't be written; none is left then, nor is an old one touched
     * @throws IllegalArgumentException when the sequence is of another cache
     * @throws IllegalStateException when it is closed or in an open batch, when some of it was computed before {@link
     *     #clearPrefixes}, when the cache has no {@link KvCacheConfig#modelId}, or when the device stores other FP8 codes than OCP's (gfx942), which files do not have
     */
    public void save(Sequence sequence, Path file) throws IOException {
        ledger.enter();
        try {
            if (sequence.cache != this) {
                throw new IllegalArgumentException("The sequence belongs to another cache.");
            }
            sequence.checkOpen();
            sequence.checkNotScheduled("saved");
            storage.save(sequence.table, sequence.tokenIds(), sequence.length(), file);
        } finally {
            ledger.exit();
        }
    }

    /**
     * A new sequence from a file of {@link #save}: it goes on bit for bit as the saved one would have. It holds blocks of its own;
     * full ones are reusable by later sequences, as if they had been computed here. {@link KvCacheConfig#salt} may differ: who
     * can read the file has what the salt keeps apart. A salt of the sequence's own must be given again, by {@link
     * #restore(SequenceOptions, Path)}; of it the file has a digest. Whatever is refused leaves the cache as it was.
     *
     * @throws SequenceFileException when the file is damaged, or of another model, weights, type, layout, scales or salt;
     *     it says which
     * @throws IOException when the file can't be read
     * @throws IllegalStateException when there are not enough free blocks, or as {@link #save} says
     */
    public Sequence restore(Path file) throws IOException {
        return restore(SequenceOptions.DEFAULT, file);
    }

    /** As {@link #restore(Path)}, with a class, a time limit or a salt. */
    public Sequence restore(SequenceOptions options, Path file) throws IOException {
        ledger.enter();
        try {
            SequenceStorage.Restored restored = storage.restore(file, options);
            if (restored.table.computed > 0) {
                blocksArrived();
            }
            return new Sequence(this, restored.table, restored.tokens, restored.tokens.length, 0);
        } finally {
            ledger.exit();
        }
    }

    /** {@link #canAdmit(SequenceOptions, int[], int)} with {@link SequenceOptions#DEFAULT}. */
    public Admission canAdmit(int[] promptTokens, int maxNewTokens) {
        return canAdmit(SequenceOptions.DEFAULT, promptTokens, maxNewTokens);
    }

    /**
     * Whether a sequence of these tokens may be opened now: all its blocks can be had at once, and while other sequences are open
     * {@link KvCacheConfig#watermarkBlocks} stay free for their growth. Blocks of a cached prefix that others hold take no room
     * and are not counted; those that nobody holds are, because sharing one takes it from what is free. It changes nothing and
     * reserves nothing: open and add what was admitted before asking again. The new tokens are not counted as needed now, only
     * as what the whole pool must hold. With a {@linkplain KvCacheConfig#window window} that is never more than the window and a step
     * of one block, so a text may be longer than the pool: it is admitted when no other one holds blocks, and computed in parts that fit.
     * With several {@linkplain KvCacheConfig#layerGroups groups of layers} those with a window count as needing it and a step as long.
     *
     * @param maxNewTokens that will be appended at most, 0 when unknown
     * @throws IllegalArgumentException when it or a token id is negative
     */
    public Admission canAdmit(SequenceOptions options, int[] promptTokens, int maxNewTokens) {
        ledger.enter();
        try {
            Sequence.checkTokens(promptTokens);
            if (maxNewTokens < 0) {
                throw new IllegalArgumentException("maxNewTokens is " + maxNewTokens + "; give 0 or more.");
            }
            return ledger.canAdmit(promptTokens, maxNewTokens, options);
        } finally {
            ledger.exit();
        }
    }

    /**
     * How many leading computed tokens these sequences have in the same blocks, all of them: what a kernel may attend to once for
     * all. Equal tokens that were computed twice do not count. Of several {@linkplain KvCacheConfig#layerGroups groups of layers} it is said
     * of the one that sees most.
     *
     * @throws IllegalArgumentException when there is none, or one is of another cache
     * @throws IllegalStateException when one is closed
     */
    public int commonPrefixTokens(Sequence... sequences) {
        ledger.enter();
        try {
            if (sequences.length == 0) {
                throw new IllegalArgumentException("Give at least one sequence.");
            }
            for (Sequence sequence : sequences) {
                if (sequence.cache != this) {
                    throw new IllegalArgumentException("The sequence belongs to another cache.");
                }
                sequence.checkOpen();
            }
            BlockTable first = sequences[0].table;
            int blocks = first.size();
            int computed = first.computed;
            for (Sequence sequence : sequences) {
                blocks = sequence.table.commonBlocks(first, blocks);
                computed = Math.min(computed, sequence.table.computed);
            }
            return (int) Math.min((long) blocks * config.blockSize(), computed);
        } finally {
            ledger.exit();
        }
    }

    /** An empty batch of this cache, to be reused step after step. */
    public Batch batch() {
        ledger.enter();
        try {
            Batch batch = new Batch(this);
            batches.add(batch);
            return batch;
        } finally {
            ledger.exit();
        }
    }

    /**
     * Stores K and V of the batch's tokens, in the types of the layer. It does not wait for a GPU. The first write or attend of a
     * step ends adding to the batch.
     *
     * @param k {@code [tokens][kvHeads][headSize]} in device memory, float32, float16 or bfloat16
     * @param v like {@code k}
     * @throws IllegalArgumentException when the layer does not exist, rows have another shape, or the batch is of another cache; nothing
     *     is written then
     * @throws IllegalStateException when the batch is empty or closed
     * @throws DeviceException when the device fails
     */
    public void write(int layer, Batch batch, HeadRows k, HeadRows v) {
        writeRows(layer, batch, k, v, null);
    }

    /**
     * Rotates K by the tokens' positions on its way, then stores as {@link #write(int, Batch, HeadRows, HeadRows)}; {@code k} itself
     * does not change.
     */
    public void write(int layer, Batch batch, HeadRows k, HeadRows v, RopeTable rope) {
        writeRows(layer, batch, k, v, rope);
    }

    private void writeRows(int layer, Batch batch, HeadRows k, HeadRows v, @Nullable RopeTable rope) {
        ledger.enter();
        try {
            checkLayer(layer);
            StepTables step = batch.startedTables(this);
            if (recording == null) {
                stores(layer, batch.tokens());
            } else {
                recording.written(layer, batch);
            }
            DeviceMemory positions = rope == null ? null : step.positions();
            DeviceMemory counts = saturated.counter(layer);
            DeviceMemory slots = step.slots(config.groups().of(layer));
            backend.write(views.view(layer), k, v, batch.tokens(), slots, rope, positions, counts);
        } finally {
            ledger.exit();
        }
    }

    /** A write of so many tokens into the layer goes to the device. */
    void stores(int layer, int tokens) {
        writtenIn[layer] = ledger.generation();
        saturated.written(layer, tokens);
    }

    /**
     * Causal attention of the batch's queries over all tokens of their sequences, those of this step included, or over those in the
     * layer's {@linkplain KvCacheConfig#window(int) window}, scaled by
     * {@code 1 / sqrt(headSize)}. The layer must have been written in this step, which is not checked. It does not wait for a GPU.
     *
     * @param q {@code [tokens][queryHeads][headSize]} in device memory, float32, float16 or bfloat16; {@code queryHeads} a multiple of
     *     the cache's heads
     * @param out of {@code q}'s shape, in any of these types
     * @throws IllegalArgumentException when the layer does not exist, rows have another shape, or the batch is of another cache
     * @throws IllegalStateException when the batch is empty or closed
     * @throws DeviceException when the device fails
     */
    public void attend(int layer, Batch batch, HeadRows q, HeadRows out) {
        ledger.check();
        checkLayer(layer);
        attend(layer, batch, q, out, causal[layer]);
    }

    /**
     * Attention with a window, softcap, sinks, ALiBi or another scale; see {@link #attend(int, Batch, HeadRows, HeadRows)}.
     *
     * @throws IllegalArgumentException when it would see more than the layer's {@linkplain KvCacheConfig#window(int) window}
     */
    public void attend(int layer, Batch batch, HeadRows q, HeadRows out, AttentionOptions options) {
        ledger.enter();
        try {
            checkLayer(layer);
            checkWindow(layer, options);
            StepTables step = batch.startedTables(this);
            int window = options.window();
            AttentionPlan plan = recording == null ? step.plan(q.heads(), window) : step.madePlan(q.heads(), window);
            DeviceMemory table = step.blockTable(config.groups().of(layer));
            backend.attend(views.view(layer), plan, table, step.tableStride(), q, out, null, options);
        } finally {
            ledger.exit();
        }
    }

    /**
     * Captures the calls of a step of {@code batch} as a graph ({@link KvBackend#capture}), for this step and later ones of the same
     * shape. Nothing is computed yet: {@link StepGraph#launch} does that, for the present step too. The batch must have made such a step
     * without a graph before, which chooses the schedules' memory and the kernels of {@link KvBackend#matmul}.
     *
     * <p>All memory that the calls name must be the same in every step: an engine computes into buffers that it keeps. The
     * batch's own stays where it is until it grows, which the graph notices.
     *
     * @param step makes the step's calls on this thread: {@link #write}, {@link #attend} and any of the backend that can be captured, with
     *     nothing that depends on which sequences, tokens or lengths are in the batch
     * @return the graph, to be closed by the caller
     * @throws UnsupportedOperationException when the backend has no graphs
     * @throws IllegalStateException when the batch is empty, or the step asks for a schedule that there was none of before
     */
    public StepGraph capture(Batch batch, Runnable step) {
        StepGraph.Recording made;
        StepTables tables;
        ledger.enter();
        try {
            if (recording != null) {
                throw new IllegalStateException("A step is being captured already; captures are not nested.");
            }
            tables = batch.startedTables(this);
            tables.planAll();
            made = new StepGraph.Recording(batch);
            recording = made;
        } finally {
            ledger.exit();
        }
        try {
            return new StepGraph(this, batch, tables.shape(), made, step);
        } finally {
            recording = null;
        }
    }

    /**
     * Moves what a sequence has stored to new host memory and closes the sequence, so that others have its blocks; {@link #swapIn}
     * continues it bit for bit. Full blocks stay cached as after {@link Sequence#close()}. Waits for the kernels under way and
     * for the copy.
     *
     * @throws IllegalArgumentException when the sequence is of another cache
     * @throws IllegalStateException when it is closed, or was meanwhile by another thread, or is in an open batch
     * @throws DeviceException when there is no host memory, or the copy fails; the sequence is as before then
     */
    public SwappedSequence swapOut(Sequence sequence) {
        ledger.enter();
        try {
            return swapSpace.swapOut(this, sequence);
        } finally {
            ledger.exit();
        }
    }

    /**
     * Brings a sequence back with all that it had stored. Leading full blocks that are still cached are shared instead of copied.
     * Closes {@code swapped} when it succeeds.
     *
     * @return empty when there are not enough free blocks for what it has stored; nothing has changed then
     * @throws IllegalArgumentException when it is of another cache
     * @throws IllegalStateException when it is closed, or scales have been set since: its codes belong to the old ones
     * @throws DeviceException when the copy fails; nothing has changed then
     */
    public Optional<Sequence> swapIn(SwappedSequence swapped) {
        ledger.enter();
        try {
            return swapSpace.swapIn(this, swapped);
        } finally {
            ledger.exit();
        }
    }

    /** Bytes of host memory that swapped sequences hold; any thread. */
    public long swappedBytes() {
        return swapSpace.bytes();
    }

    /** How fast {@link #swapOut} and {@link #swapIn} have moved blocks so far; 0 before the first. */
    public double swapBytesPerSecond() {
        ledger.enter();
        try {
            return swapSpace.bytesPerSecond();
        } finally {
            ledger.exit();
        }
    }

    /**
     * Forgets all prefixes: what is stored now is not shared with sequences opened later. For when equal tokens no longer mean
     * equal K and V, as after a change of weights. Open sequences keep what they hold. What tiers keep is out of reach for good, and
     * what they get from now on for everybody but this cache; with {@link #clearPrefixes(String)} it is not.
     */
    public void clearPrefixes() {
        clearPrefixes(UUID.randomUUID().toString());
    }

    /**
     * As {@link #clearPrefixes()} when there are new weights that have a name.
     *
     * @param weights a name or digest of the new weights: of what tiers keep, this cache finds from now on what was stored under the
     *     same name, here or elsewhere, and nothing else. Empty for those that {@link KvCacheConfig#modelId} names
     */
    public void clearPrefixes(String weights) {
        ledger.enter();
        try {
            ledger.clearPrefixes(weights);
            if (tiers != null) {
                tiers.prefixesCleared();
            }
        } finally {
            ledger.exit();
        }
    }

    /**
     * Changes a layer's static scales, for instance to calibrated ones, and forgets all prefixes ({@link #clearPrefixes}). A
     * side that is not FP8 has no scales, whatever is given.
     *
     * @throws IllegalArgumentException when a scale is not usable, or dynamic and static are exchanged
     * @throws IllegalStateException when sequences hold tokens of the layer: their codes belong to the old scales
     */
    public void setScales(int layer, KvScales.LayerScales scales) {
        ledger.enter();
        try {
            checkLayer(layer);
            if (writtenIn[layer] == ledger.generation() && !ledger.isIdle()) {
                throw new IllegalStateException(
                        "Layer " + layer + " holds tokens that were stored with its present scales."
                                + " Set scales before the first write, or close or clear all sequences first.");
            }
            views.set(layer, scales);
            swapSpace.scalesChanged();
            saturated.reset(layer);
            ledger.clearPrefixes();
            if (tiers != null) {
                tiers.prefixesCleared();
            }
        } finally {
            ledger.exit();
        }
    }

    /** The scales in force. */
    public KvScales scales() {
        ledger.enter();
        try {
            return views.scales();
        } finally {
            ledger.exit();
        }
    }

    /**
     * Counts the stored values that the scales could not hold, and puts their number into {@link #stats}. Waits for the kernels
     * under way.
     */
    public Saturation saturation() {
        ledger.enter();
        try {
            Saturation found = saturated.read();
            ledger.foundSaturated(found.total());
            return found;
        } finally {
            ledger.exit();
        }
    }

    /** Counters as of one moment between two calls; any thread, also after close. */
    public CacheStats stats() {
        return ledger.stats();
    }

    /**
     * Does what is due between this cache and its tiers, for less than a millisecond: blocks that arrived go into the
     * pool, blocks that were used for the second time go out. Every commit does it too, and so does {@link Sequence#isLoading} of a loading
     * sequence, unless it was done just now; so only an engine that is idle needs to call it.
     *
     * @return true while transfers are under way, or blocks wait to be written: up to a minute longer when every tier is left
     *     alone after failures, and for ever when a store never completes a write. It says whether a later call may find something to
     *     do; a sequence waits only while {@link Sequence#isLoading} says so
     */
    public boolean poll() {
        ledger.enter();
        try {
            return pollTiers();
        } finally {
            ledger.exit();
        }
    }

    /** By tier, the fastest first; any thread, also after close. */
    public List<TierStats> tierStats() {
        return tiers == null ? List.of() : tiers.stats();
    }

    /** Content came into the pool from elsewhere: all layers hold tokens of the scales in force. */
    private void blocksArrived() {
        Arrays.fill(writtenIn, ledger.generation());
    }

    boolean pollTiers() {
        return tiers != null && tiers.poll();
    }

    /** See {@link TierSet#pollInTurn}. */
    void pollTiersInTurn() {
        if (tiers != null) {
            tiers.pollInTurn();
        }
    }

    void stopLoading(Sequence sequence) {
        if (tiers != null) {
            tiers.leave(sequence);
        }
    }

    /** A batch has been computed since {@code startNanos}; one that is mostly prompts tells how fast those are computed. */
    void computed(int tokens, int sequences, long startNanos) {
        if (tiers != null && tokens >= PREFILL_TOKENS * sequences) {
            tiers.computed(tokens, System.nanoTime() - startNanos);
        }
    }

    /** See {@link TierSet#framesInUse}. */
    int framesInUse() {
        return tiers == null ? 0 : tiers.framesInUse();
    }

    private void checkWindow(int layer, AttentionOptions options) {
        int kept = config.window(layer);
        if (kept > 0 && (options.window() == 0 || options.window() > kept)) {
            throw new IllegalArgumentException("The attention has "
                    + (options.window() == 0 ? "no window" : "a window of " + options.window())
                    + ", but this cache keeps " + kept + " tokens only (KvCacheConfig.window"
                    + (config.layerGroups() == 1 ? "). Give 1 to " : ", layer " + layer + "). Give 1 to ") + kept
                    + ".");
        }
    }

    private void checkLayer(int layer) {
        if (layer < 0 || layer >= writtenIn.length) {
            throw new IllegalArgumentException(
                    "Layer " + layer + " does not exist; this cache has layers 0 to " + (writtenIn.length - 1) + ".");
        }
    }

    /**
     * Frees the pool and closes all batches. Sequences need not be closed before, and can be after. Closing twice does
     * nothing.
     *
     * @throws IllegalStateException when another thread is using the cache
     */
    @Override
    public void close() {
        ledger.enterEvenClosed();
        try {
            if (ledger.close()) {
                abandoned.clean();
                if (tiers != null) {
                    tiers.close();
                }
                batches.forEach(Batch::closeInside);
                batches.clear();
                swapSpace.close();
                views.close();
                saturated.close();
                memory.close();
            }
        } finally {
            ledger.exit();
        }
    }

    BlockLedger ledger() {
        return ledger;
    }

    void forget(SwappedSequence swapped) {
        swapSpace.remove(swapped);
    }

    void forget(Batch batch) {
        batches.remove(batch);
    }
}
