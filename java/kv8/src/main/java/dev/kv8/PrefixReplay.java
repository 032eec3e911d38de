package dev.kv8;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * A cache without content: replays the block keys of requests, one after the other, and counts what prefix reuse serves. It shows
 * what an eviction policy and a capacity are worth for a workload before a model runs.
 *
 * <p>Decision: requests go through the classes that a {@link KvCache} itself consists of but for the device's memory and kernels:
 * each is a block table that takes over what is cached, reserves the rest, registers it under SHA-256 keys and gives it back. So what
 * is counted is what the cache does.
 *
 * <p>A request is the chain of its blocks' keys, head first; equal keys mean an equal prefix up to and including that block. They
 * become tokens, 16 for a block. A hit is a block of the longest run of leading keys that are cached. A request's blocks are held
 * while it is placed and released, tail first, before the next one; those beyond the capacity are references that are not placed.
 * Not for several threads.
 */
public final class PrefixReplay {
    /** The largest capacity, in blocks: what a cache can have, of which one is for the end of a prompt. */
    public static final int MAX_CAPACITY = BlockPool.MAX_BLOCKS - 1;

    private static final int BLOCK_TOKENS = 16;
    private static final int TOKEN_BITS = 31;

    private final EvictionPolicyKind kind;
    private final int capacity;
    /** In blocks; 0 where all layers see all keys. */
    private final int window;

    private final BlockLedger ledger;
    private int[] tokens = {};
    private long[] sorted = {};

    private @Nullable TierReplay tier;
    private long requests;
    private long references;
    private long hits;

    /**
     * An empty cache.
     *
     * @param capacity in blocks, 1 to {@link #MAX_CAPACITY}; takes up to 310 bytes of memory each
     */
    public PrefixReplay(EvictionPolicyKind kind, int capacity) {
        this(kind, capacity, 0);
    }

    private PrefixReplay(EvictionPolicyKind kind, int capacity, int window) {
        if (capacity < 1 || capacity > MAX_CAPACITY) {
            throw new IllegalArgumentException(
                    "A capacity of " + capacity + " blocks can't be replayed; give 1 to " + MAX_CAPACITY + ".");
        }
        this.kind = kind;
        this.capacity = capacity;
        this.window = window;
        int[] windows = window == 0 ? new int[] {0} : new int[] {0, window * BLOCK_TOKENS};
        // Behind its prompt a request has one token that is not cached, as every prompt has; the block for it is one
        // more of each group.
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(windows.length)
                .layerWindows(windows)
                .kvHeads(1)
                .headSize(64)
                .blockSize(BLOCK_TOKENS)
                .blocks(capacity + windows.length)
                .eviction(kind)
                .partialReuse(false)
                .build();
        ledger = new BlockLedger(config, config::scales, (source, target) -> {
            throw new IllegalStateException("A replay shares whole blocks only; there is nothing to copy.");
        });
    }

    /**
     * An empty cache above an empty tier, which gets blocks as the tiers of a {@link KvCache} do.
     *
     * @param tierCapacity in blocks, as {@code capacity}
     * @param rememberedKeys see {@link Tiers.Builder#rememberedKeys}
     * @param writtenOnFirstUse see {@link Tiers.Builder#writtenOnFirstUse}
     * @throws IllegalArgumentException when one of the numbers is out of its range
     */
    public static PrefixReplay withTier(
            EvictionPolicyKind kind,
            int capacity,
            EvictionPolicyKind tierKind,
            int tierCapacity,
            int rememberedKeys,
            boolean writtenOnFirstUse) {
        if (tierCapacity < 1 || tierCapacity > MAX_CAPACITY) {
            throw new IllegalArgumentException(
                    "A tier of " + tierCapacity + " blocks can't be replayed; give 1 to " + MAX_CAPACITY + ".");
        }
        Tiers.checkRememberedKeys(rememberedKeys);
        PrefixReplay replay = new PrefixReplay(kind, capacity);
        replay.tier = new TierReplay(tierKind, tierCapacity, rememberedKeys, writtenOnFirstUse);
        return replay;
    }

    /**
     * An empty cache of a model of which half of the layers see a window: a block of a prompt takes a page for those that see all keys and,
     * while its window reaches it, one for the others. Prompts are computed in steps as long as the window.
     *
     * @param capacity in pages, 2 to {@link #MAX_CAPACITY}
     * @param window in blocks of a prompt, 1 to {@link #MAX_CAPACITY}
     * @throws IllegalArgumentException when one of the numbers is out of its range
     */
    public static PrefixReplay withWindow(EvictionPolicyKind kind, int capacity, int window) {
        if (window < 1 || window > MAX_CAPACITY) {
            throw new IllegalArgumentException(
                    "A window of " + window + " blocks can't be replayed; give 1 to " + MAX_CAPACITY + ".");
        }
        if (capacity < 2) {
            throw new IllegalArgumentException(
                    "A block beside its window takes two pages; a capacity of " + capacity + " has not got them.");
        }
        return new PrefixReplay(kind, capacity, window);
    }

    /**
     * Places one request.
     *
     * @param chain holds the request's keys, head first, from {@code from} to before {@code to}
     * @return how many of them were hits
     * @throws IllegalArgumentException when a key occurs twice, which no chain of prefixes has; nothing has changed then
     */
    public int request(long[] chain, int from, int to) {
        refuseRepeated(chain, from, to);
        int count = Math.min(to - from, mostPlaced());
        int length = writeTokens(chain, from, count);
        int hit;
        BlockTable table;
        ledger.enter();
        try {
            table = ledger.table(tokens, length, SequenceOptions.DEFAULT);
            ledger.open(table);
            hit = table.computed / BLOCK_TOKENS;
            while (table.computed < length) {
                compute(table, length);
            }
        } finally {
            ledger.exit();
        }
        table.close(ReleaseHint.KEEP);
        ledger.requestRelease(table);
        requests++;
        references += to - from;
        hits += hit;
        if (tier != null) {
            tier.request(chain, from, from + hit, to);
        }
        return hit;
    }

    /** Blocks of a prompt that fit beside a window and a step as long, or all of which have both pages. */
    private int mostPlaced() {
        return window == 0 ? capacity : Math.max(capacity / 2, capacity - 2 * window);
    }

    /** The next step of a prompt: all of it where nothing falls out of a window meanwhile. */
    private void compute(BlockTable table, int length) {
        int step = window == 0 ? length : window * BLOCK_TOKENS;
        if (!ledger.reserve(table, Math.min(step, length - table.computed))) {
            throw new IllegalStateException(
                    length / BLOCK_TOKENS + " blocks do not fit into " + capacity + " that nobody holds.");
        }
        ledger.settle(table, tokens, length, true);
    }

    private void refuseRepeated(long[] chain, int from, int to) {
        int count = to - from;
        if (sorted.length < count) {
            sorted = new long[2 * count];
        }
        System.arraycopy(chain, from, sorted, 0, count);
        Arrays.sort(sorted, 0, count);
        for (int i = 1; i < count; i++) {
            if (sorted[i] == sorted[i - 1]) {
                throw new IllegalArgumentException("A request names block " + sorted[i]
                        + " twice; each block of a prompt has a key of its own, that of the prefix up to it.");
            }
        }
    }

    /** Fills {@link #tokens} with the blocks of a prompt and one token behind them; returns how many they are. */
    private int writeTokens(long[] chain, int from, int count) {
        int length = Math.addExact(Math.multiplyExact(count, BLOCK_TOKENS), 1);
        if (tokens.length < length) {
            tokens = new int[(int) Math.min(Integer.MAX_VALUE - 8, 2L * length)];
        }
        for (int i = 0; i < count; i++) {
            long key = chain[from + i];
            int at = i * BLOCK_TOKENS;
            tokens[at] = (int) key & Integer.MAX_VALUE;
            tokens[at + 1] = (int) (key >>> TOKEN_BITS) & Integer.MAX_VALUE;
            tokens[at + 2] = (int) (key >>> (2 * TOKEN_BITS));
        }
        tokens[length - 1] = 0;
        return length;
    }

    public EvictionPolicyKind policy() {
        return kind;
    }

    /** In blocks. */
    public int capacity() {
        return capacity;
    }

    public long requests() {
        return requests;
    }

    /** Blocks of all requests. */
    public long references() {
        return references;
    }

    public long hits() {
        return hits;
    }

    /** Blocks that the tier served behind the hits; 0 without one. */
    public long tierHits() {
        return tier == null ? 0 : tier.hits();
    }

    /** Blocks that were written to the tier; 0 without one. */
    public long tierWrites() {
        return tier == null ? 0 : tier.written();
    }

    /** Hits by references; 0 before the first request. */
    public double hitRate() {
        return references == 0 ? 0 : (double) hits / references;
    }

    /** Cached blocks that made room for others. */
    public long evictions() {
        return ledger.pool().evicted();
    }

    /** See {@link BlockPool#checkInvariants}; also that nobody holds a block. */
    void checkInvariants() {
        ledger.pool().checkInvariants();
        if (!ledger.isIdle()) {
            throw new IllegalStateException("Between requests " + ledger.pool().available() + " of "
                    + ledger.pool().total() + " blocks are free or cached.");
        }
    }
}
