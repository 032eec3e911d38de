package dev.kv8;

import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Who holds which blocks: the pool, the tables' way into it and back, and the counters about it. It touches no kernel but to
 * copy a block. A {@link KvCache}, its sequences and its batches enter it for every call; all methods but {@link
 * #requestRelease} and {@link #stats} are for whoever is inside.
 */
final class BlockLedger {
    /** Copies the content of one block over another. */
    interface BlockCopier {
        void copy(int source, int target);
    }

    private final int blockSize;
    private final LayerGroups groups;
    private final int pinnable;
    private final String description;
    private final BlockCopier copier;
    private final BlockPool pool;
    private final @Nullable CacheNews news;
    private final PrefixCache prefixes;
    private final AdmissionControl admissions;
    private final StatsBoard board;
    private final CacheRecording recording;
    private final WriterGuard guard = new WriterGuard();
    private final ReleaseQueue releases = new ReleaseQueue();
    private volatile boolean closed;
    private long storedTokens;
    private int openSequences;
    private long copiedBlocks;
    private long saturatedValues;

    /** {@code scales} gives those in force. */
    BlockLedger(KvCacheConfig config, Supplier<KvScales> scales, BlockCopier copier) {
        this.blockSize = config.blockSize();
        this.groups = config.groups();
        this.pinnable = config.pinnableBlocks();
        this.description = config.toString();
        this.copier = copier;
        this.pool = new BlockPool(config.blocks(), config.eviction(), config.clock(), config.indexHashBits());
        this.news = CacheNews.of(config);
        pool.tell(news);
        this.prefixes = new PrefixCache(config, scales, pool, copier, news);
        this.admissions = new AdmissionControl(config, pool, prefixes);
        this.board = new StatsBoard(config.blocks(), config.blocks() * config.blockBytes());
        this.recording = new CacheRecording(board, config.modelId());
    }

    // ---- who is inside

    /**
     * Enters as the writer and takes in what other threads closed.
     *
     * @throws IllegalStateException when another thread is inside, or the cache has been closed
     */
    void enter() {
        enterEvenClosed();
        if (closed) {
            exit();
            throw refusal();
        }
    }

    /** As {@link #enter} for a call that touches no block, and leaves without {@link #exit}; see {@link WriterGuard#check}. */
    void check() {
        guard.check();
        if (closed) {
            throw refusal();
        }
    }

    private IllegalStateException refusal() {
        return new IllegalStateException("This cache has been closed: " + description);
    }

    void enterEvenClosed() {
        guard.enter();
        if (!releases.isEmpty()) {
            reclaim();
        }
    }

    void exit() {
        guard.exit();
        if (!releases.isEmpty()) {
            reclaimWhileIdle();
        }
    }

    /** Refuses every later {@link #enter}; true for the first caller. */
    boolean close() {
        boolean first = !closed;
        closed = true;
        if (first) {
            recording.end();
            if (news != null) {
                news.end();
            }
        }
        return first;
    }

    boolean isClosed() {
        return closed;
    }

    // ---- tables: in

    /** A table for a new sequence, with the whole cached blocks of its first {@code length} tokens. */
    BlockTable table(int[] tokens, int length, SequenceOptions options) {
        BlockTable table = new BlockTable(options, groups.count());
        prefixes.asked(table, length);
        prefixes.takeOver(table, tokens, length);
        prefixes.took(table.computed);
        return table;
    }

    /** See {@link PrefixCache#takeOver}; for an open table. */
    void takeOver(BlockTable table, int[] tokens, int length) {
        int before = table.computed;
        long askedBefore = prefixes.queryTokens();
        prefixes.takeOver(table, tokens, length);
        took(table.computed - before, askedBefore);
    }

    /** See {@link PrefixCache#follow}. */
    boolean catchUp(BlockTable table, int[] tokens, int length) {
        int before = table.computed;
        long askedBefore = prefixes.queryTokens();
        try {
            return prefixes.follow(table, tokens, length);
        } finally {
            took(table.computed - before, askedBefore);
        }
    }

    private void took(int tokens, long askedBefore) {
        storedTokens += tokens;
        prefixes.took(tokens);
        if (tokens > 0 || prefixes.queryTokens() > askedBefore) {
            publish();
        }
    }

    /** See {@link PrefixCache#goOn}. */
    void goOn(BlockTable table, int[] tokens, int length) {
        prefixes.goOn(table, tokens, length);
    }

    /** Counts the table of a new sequence. */
    void open(BlockTable table) {
        openSequences++;
        storedTokens += table.computed;
        publish();
    }

    /** A table that shares the blocks of {@code table}. */
    BlockTable fork(BlockTable table) {
        BlockTable shared = new BlockTable(table.options(), groups.count());
        shared.fork(table, pool);
        return shared;
    }

    /**
     * A table for the content that the caller brings, then to be given to {@link #fill} or {@link #giveBack}.
     *
     * @param gone by group: blocks at the front that fell out of the window
     * @param size blocks of each group, these included
     * @param blocks of all groups, without these
     * @throws IllegalStateException when they are not there; nothing has changed then
     */
    BlockTable emptyTable(int[] gone, int size, int blocks, SequenceOptions options) {
        if (blocks > pool.available()) {
            throw new IllegalStateException("The sequence needs " + blocks + " blocks, but only " + pool.available()
                    + " of " + pool.total() + " are free. Close sequences first, or restore it later.");
        }
        BlockTable table = new BlockTable(options, groups.count());
        for (int group = 0; group < groups.count(); group++) {
            table.setGone(group, gone[group]);
        }
        table.ensureCapacity(size);
        prefixes.prepare(table, size);
        table.grow(size, pool);
        return table;
    }

    /** The content of {@code computed} tokens is there; full blocks are reusable from now on. */
    void fill(BlockTable table, int[] tokens, int computed) {
        table.computed = computed;
        prefixes.register(table, tokens, 0);
    }

    /** Takes back an {@link #emptyTable} without content. */
    void giveBack(BlockTable table) {
        table.shrink(0, pool);
        publish();
    }

    /** {@code table} holds what {@code source} does instead of its own; the caller publishes. */
    void replace(BlockTable table, BlockTable source) {
        storedTokens += source.computed - table.computed;
        table.copy(source, pool);
    }

    /** See {@link PrefixCache#stopLeading}. */
    void stopLeading(BlockTable table) {
        prefixes.stopLeading(table);
    }

    /**
     * A table that pins the cached blocks among those of the first {@code tokens} tokens of {@code table}, but for those that fell
     * out of its window.
     *
     * @throws IllegalStateException when there is none, or they would be too many
     */
    BlockTable pin(BlockTable table, int tokens) {
        int count = prefixes.registered(table, tokens / blockSize);
        if (!canBeContinued(table, count)) {
            throw new IllegalStateException("Of the first " + tokens + " computed tokens no full block of " + blockSize
                    + " tokens is cached, so there is nothing to pin. Pin after a commit that fills a block, with"
                    + " prefixCaching on, and not what was stored before clearPrefixes.");
        }
        BlockTable pin = BlockTable.ofPin(table.options(), groups.count());
        pin.addGone(count);
        int more = 0;
        for (int group = 0; group < groups.count(); group++) {
            pin.setGone(group, firstPinned(table, count, group));
            for (int i = pin.gone(group); i < count; i++) {
                pin.replace(i, group, prefixes.find(table, i, group));
                more += pool.isPinned(pin.block(i, group)) ? 0 : 1;
            }
        }
        if (pool.pinned() + more > pinnable) {
            throw new IllegalStateException(
                    "Of " + pool.total() + " blocks " + pool.pinned() + " are pinned, and at most "
                            + pinnable + " may be (pinnedShare); " + more
                            + " more don't fit. Close other pins, pin fewer tokens, or give a larger pinnedShare.");
        }
        for (int group = 0; group < groups.count(); group++) {
            for (int i = pin.gone(group); i < count; i++) {
                pool.pin(pin.block(i, group), table.options());
            }
        }
        publish();
        return pin;
    }

    /** Whether a sequence that begins with the table's first {@code blocks} blocks could go on behind them. */
    private boolean canBeContinued(BlockTable table, int blocks) {
        if (groups.isOne()) {
            return blocks > table.gone();
        }
        for (int group = 0; group < groups.count(); group++) {
            if (table.gone(group) > groups.firstSeen(group, blocks * blockSize)) {
                return false;
            }
        }
        return blocks > 0;
    }

    /** Where several groups are, one has nothing but the window of what follows: more of it would be of no use without the others'. */
    private int firstPinned(BlockTable table, int blocks, int group) {
        return groups.isOne() ? table.gone() : groups.firstSeen(group, blocks * blockSize);
    }

    /** See {@link KvCache#canAdmit}. */
    Admission canAdmit(int[] tokens, int maxNewTokens, SequenceOptions options) {
        return admissions.ask(tokens, maxNewTokens, options, openSequences > 0);
    }

    /**
     * A table with all that {@code swapped} has stored: cached blocks, and free ones that {@code space} fills; null when those are
     * too few, and nothing has changed then. For a caller that holds the monitor of {@code swapped}.
     */
    @Nullable
    BlockTable restore(SwappedSequence swapped, SwapSpace space) {
        BlockTable table = new BlockTable(swapped.options, groups.count());
        int target = blocksFor(swapped.computed);
        if (swapped.blocks - prefixes.heldPrefix(swapped) > pool.available()) {
            return null;
        }
        prefixes.match(table, swapped);
        int matched = table.size();
        table.ensureCapacity(target);
        table.grow(target, pool);
        try {
            space.load(swapped.memory(), table, matched);
        } catch (RuntimeException e) {
            table.close(ReleaseHint.KEEP);
            table.releaseAll(pool);
            throw e;
        }
        table.computed = swapped.computed;
        prefixes.prepare(table, target);
        prefixes.register(table, swapped.tokens, matched * blockSize);
        return table;
    }

    /**
     * Reserves the blocks of the next {@code tokens} tokens, of all groups; false when they are not there, and nothing has changed. A shared
     * or registered block that the first of them falls into is copied, so neither is ever written. When only a registered
     * block's copy does not fit, it is no longer registered instead: reuse takes no room away from a sequence. Blocks that have
     * fallen out of the window go back: now and not when the tokens behind them were committed, so that these can be truncated.
     */
    boolean reserve(BlockTable table, int tokens) {
        int last = table.computed / blockSize;
        boolean begun = last < table.size();
        int target = blocksFor(table.computed + tokens);
        int missing = (target - table.size()) * groups.count();
        int shared = 0;
        int registered = 0;
        int available = pool.available();
        for (int group = 0; group < groups.count(); group++) {
            if (begun && isShared(table, last, group)) {
                shared++;
            } else if (begun && pool.isRegistered(table.block(last, group))) {
                registered++;
            }
            available += heldAlone(table, group, groups.firstSeen(group, table.computed));
        }
        boolean copiesFit = missing + shared + registered <= available;
        if (!copiesFit && missing + shared > available) {
            return false;
        }
        EvictionEvent eviction = CacheRecording.isOn() ? EvictionEvent.begin(pool) : null;
        table.ensureCapacity(target);
        prefixes.prepare(table, target);
        for (int group = 0; group < groups.count(); group++) {
            table.giveBackFront(group, groups.firstSeen(group, table.computed), groups, pool);
        }
        if (shared + registered > 0) {
            makeWritable(table, last, copiesFit);
        }
        table.grow(target, pool);
        table.scheduled = tokens;
        if (eviction != null) {
            eviction.end(pool, tokens);
        }
        publish();
        return true;
    }

    /** Of a group's first {@code count} blocks, those that can be reserved again when this table gives them back. */
    private int heldAlone(BlockTable table, int group, int count) {
        int alone = 0;
        for (int i = table.gone(group); i < count; i++) {
            alone += pool.references(table.block(i, group)) == 1 ? 1 : 0;
        }
        return alone;
    }

    /** The least length that the table can be truncated to, but for 0: all that its next query sees is there. */
    int leastLength(BlockTable table) {
        int least = 0;
        for (int group = 0; group < groups.count(); group++) {
            if (table.gone(group) > 0) {
                least = Math.max(least, table.gone(group) * blockSize + groups.window(group) - 1);
            }
        }
        return least;
    }

    private boolean isShared(BlockTable table, int index, int group) {
        return pool.references(table.block(index, group)) > 1;
    }

    /** Lets the table write to its block {@code index} of each group. */
    private void makeWritable(BlockTable table, int index, boolean copiesFit) {
        for (int group = 0; group < groups.count(); group++) {
            boolean shared = isShared(table, index, group);
            if (shared || (copiesFit && pool.isRegistered(table.block(index, group)))) {
                copyOnWrite(table, index, group);
            } else if (pool.isRegistered(table.block(index, group))) {
                pool.unregister(table.block(index, group));
            }
        }
    }

    private void copyOnWrite(BlockTable table, int index, int group) {
        int shared = table.block(index, group);
        int own = pool.allocate();
        try {
            copier.copy(shared, own);
        } catch (RuntimeException e) {
            pool.release(own);
            throw e;
        }
        table.replace(index, group, own);
        pool.release(shared);
        copiedBlocks++;
    }

    private int blocksFor(int tokens) {
        return tokens == 0 ? 0 : (tokens - 1) / blockSize + 1;
    }

    /**
     * Ends a table's part in a batch: its scheduled tokens are computed, and blocks that are full now reusable, or their blocks
     * go back. {@code tokens} has {@code length} known ones. The caller publishes.
     */
    void settle(BlockTable table, int[] tokens, int length, boolean computed) {
        if (computed) {
            int before = table.computed;
            table.computed += table.scheduled;
            storedTokens += table.scheduled;
            prefixes.register(table, tokens, before);
            prefixes.goOn(table, tokens, length);
        } else {
            table.shrink(blocksFor(table.computed), pool);
        }
        table.scheduled = 0;
        if (table.isClosed()) {
            release(table);
        }
    }

    // ---- tables: out

    /** Frees the blocks that only tokens behind the first {@code length} needed. */
    void truncate(BlockTable table, int length) {
        prefixes.stopLeading(table);
        table.keyCount = Math.min(table.keyCount, length / blockSize);
        table.queried = Math.min(table.queried, length);
        table.ends().truncate(length / blockSize);
        if (length < table.computed) {
            storedTokens -= table.computed - length;
            table.computed = length;
            table.shrink(blocksFor(length), pool);
            publish();
        }
    }

    /** From any thread, once for each table: its sequence is closed, its blocks go back as soon as nobody is inside. */
    void requestRelease(BlockTable table) {
        releases.add(table);
        reclaimWhileIdle();
    }

    private void reclaimWhileIdle() {
        while (!releases.isEmpty() && guard.tryEnterAsReclaimer()) {
            try {
                reclaim();
            } finally {
                guard.exit();
            }
        }
    }

    private void reclaim() {
        BlockTable table = releases.takeAll();
        while (table != null) {
            if (table.scheduled == 0) { // else it is in a batch, and settle releases it
                release(table);
            }
            table = table.nextReleased;
        }
        publish();
    }

    private void release(BlockTable table) {
        if (!table.released) {
            table.released = true;
            prefixes.stopLeading(table);
            if (!table.isPin()) {
                storedTokens -= table.computed;
                openSequences--;
            }
            if (table.hint() == ReleaseHint.KEEP) {
                giveBackFallen(table);
            }
            table.releaseAll(pool);
        }
    }

    /** What a last step left behind the windows' beginnings is worth no more than what fell out of them before. */
    private void giveBackFallen(BlockTable table) {
        for (int group = 0; group < groups.count(); group++) {
            if (groups.hasLikelyEnds(group)) {
                table.giveBackFront(group, groups.firstSeen(group, table.computed), groups, pool);
            }
        }
    }

    /** See {@link PrefixCache#clear()}. */
    void clearPrefixes() {
        prefixes.clear();
        publish();
    }

    /** See {@link PrefixCache#clear(String)}. */
    void clearPrefixes(String weights) {
        prefixes.clear(weights);
        publish();
    }

    // ---- what there is

    /** No table holds a block. */
    boolean isIdle() {
        return pool.available() == pool.total();
    }

    /** See {@link BlockPool#generation}. */
    long generation() {
        return pool.generation();
    }

    LayerGroups groups() {
        return groups;
    }

    int blockSize() {
        return blockSize;
    }

    BlockPool pool() {
        return pool;
    }

    PrefixCache prefixes() {
        return prefixes;
    }

    void foundSaturated(long values) {
        saturatedValues = values;
        publish();
    }

    void publish() {
        board.publish(pool, prefixes, storedTokens, openSequences, copiedBlocks, saturatedValues);
        recording.check();
    }

    CacheStats stats() {
        return board.read();
    }
}
