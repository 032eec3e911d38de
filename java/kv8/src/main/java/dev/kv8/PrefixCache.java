package dev.kv8;

import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Reuse of full blocks between sequences: registers them when they are computed, and gives a new sequence those of its prefix
 * that are still there. Without {@link KvCacheConfig#prefixCaching} it does neither.
 *
 * <p>A table keeps the keys of its blocks and the epoch they belong to; one of an earlier epoch registers nothing any more,
 * because its blocks may hold what the scales or weights of then gave. For the writer thread only.
 */
final class PrefixCache {
    /** Learns which blocks are of use; for the tiers. */
    interface UseListener {
        /** A full block was computed and is registered now. */
        void computed(long[] keys, int at);

        /** A sequence shares a registered block. */
        void shared(long[] keys, int at);
    }

    private final KvCacheConfig config;
    private final Supplier<KvScales> scales;
    private final BlockPool pool;
    private final PrefixHasher hasher;
    private final int blockSize;
    private final long[] root = new long[PrefixIndex.KEY];
    private boolean rootMade;
    private String weights = "";
    private @Nullable UseListener uses;
    private long epoch;
    private long queryTokens;
    private long hitTokens;

    /** Asks for the {@code scales} in force when an epoch's first key is made. */
    PrefixCache(KvCacheConfig config, Supplier<KvScales> scales, BlockPool pool) {
        this.config = config;
        this.scales = scales;
        this.pool = pool;
        this.blockSize = config.blockSize();
        this.hasher = new PrefixHasher(blockSize);
    }

    void listen(UseListener listener) {
        uses = listener;
    }

    /**
     * Puts the longest cached run of full blocks into a new table and counts their tokens as computed; at least one of the
     * {@code length} tokens stays to be computed, because the next one is drawn from its output.
     */
    void takeOver(BlockTable table, int[] tokens, int length) {
        table.epoch = epoch;
        if (!config.prefixCaching()) {
            return;
        }
        queryTokens += length;
        takeMore(table, tokens, length);
    }

    /** Goes on behind the whole blocks that the table has, with those cached by now; the tokens gained. */
    int takeMore(BlockTable table, int[] tokens, int length) {
        int before = table.computed;
        if (table.epoch != epoch || before != table.size() * blockSize) {
            return 0;
        }
        int most = wholeBlocks(length);
        table.ensureCapacity(most);
        table.ensureKeys(most);
        while (table.size() < most) {
            int next = table.size();
            makeKeys(table, tokens, next + 1);
            int block = pool.take(table.keys(), next * PrefixIndex.KEY);
            if (block < 0) {
                break;
            }
            table.add(block);
            if (uses != null) {
                uses.shared(table.keys(), next * PrefixIndex.KEY);
            }
        }
        table.computed = table.size() * blockSize;
        hitTokens += table.computed - before;
        return table.computed - before;
    }

    /** How many blocks of a prompt can be taken over. */
    int wholeBlocks(int length) {
        return Math.max(0, length - 1) / blockSize;
    }

    /** The keys of a table's first {@code count} blocks, which its tokens fill. */
    long[] keys(BlockTable table, int[] tokens, int count) {
        table.ensureKeys(count);
        makeKeys(table, tokens, count);
        return table.keys();
    }

    /** What frames of the present epoch are like. */
    LayoutFingerprint layout() {
        return hasher.layout(config, scales.get());
    }

    long epoch() {
        return epoch;
    }

    /** Makes room for the keys of {@code blocks} blocks; a table that stores nothing yet joins the present epoch. */
    void prepare(BlockTable table, int blocks) {
        if (config.prefixCaching()) {
            if (table.computed == 0 && table.epoch != epoch) {
                table.epoch = epoch;
                table.keyCount = 0;
            }
            table.ensureKeys(blocks);
        }
    }

    /** Makes the blocks reusable that became full since {@code computedBefore} tokens were stored. */
    void register(BlockTable table, int[] tokens, int computedBefore) {
        if (!config.prefixCaching() || table.epoch != epoch) {
            return;
        }
        int full = table.computed / blockSize;
        for (int i = computedBefore / blockSize; i < full; i++) {
            makeKeys(table, tokens, i + 1);
            pool.register(table.block(i), table.keys(), i * PrefixIndex.KEY);
            if (uses != null) {
                uses.computed(table.keys(), i * PrefixIndex.KEY);
            }
        }
    }

    private void makeKeys(BlockTable table, int[] tokens, int count) {
        if (!rootMade) {
            hasher.root(config, scales.get(), weights, root);
            rootMade = true;
        }
        long[] keys = table.keys();
        for (int i = table.keyCount; i < count; i++) {
            int at = i * PrefixIndex.KEY;
            hasher.child(i == 0 ? root : keys, Math.max(0, at - PrefixIndex.KEY), tokens, i * blockSize, keys, at);
            table.keyCount = i + 1;
        }
    }

    /** As {@link #clear}, and with keys that no tier has seen under other weights. */
    void clear(String newWeights) {
        weights = newWeights;
        clear();
    }

    /** Nothing that is stored now is found any more, nor what its holders add to it; but the keys are the same for the same scales. */
    void clear() {
        epoch++;
        rootMade = false;
        pool.unregisterAll();
    }

    /** Tokens that sequences were opened with. */
    long queryTokens() {
        return queryTokens;
    }

    /** Of these, taken over. */
    long hitTokens() {
        return hitTokens;
    }
}
