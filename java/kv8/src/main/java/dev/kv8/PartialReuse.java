package dev.kv8;

import org.jspecify.annotations.Nullable;

/**
 * Blocks that only begin as a prompt goes on: a sequence gets a copy of one, which it overwrites behind the common tokens, while the
 * block stays as it is. It knows the tokens of the pool's registered blocks, and of those that this cache has given to its tiers or got
 * from them. Stores know keys only, so what another process put there is no candidate before it has been loaded once.
 *
 * <p>A parent is the key of the block before, or the root; {@code parent} alone its first 64 bits. For the writer thread only.
 */
final class PartialReuse implements BlockPool.Unregistered {
    private final BlockPool pool;
    private final BlockLedger.BlockCopier copier;
    private final PrefixHasher hasher;
    private final int blockSize;
    private final PartialBlockIndex pooled;
    private final @Nullable TieredParts tiered;
    private final long[] candidate = new long[PrefixIndex.KEY];
    private long hitTokens;

    PartialReuse(KvCacheConfig config, BlockPool pool, BlockLedger.BlockCopier copier, PrefixHasher hasher) {
        this.pool = pool;
        this.copier = copier;
        this.hasher = hasher;
        this.blockSize = config.blockSize();
        this.pooled = new PartialBlockIndex(config.blocks(), blockSize);
        this.tiered =
                config.tiers().isEmpty() ? null : new TieredParts(config.tiers().blocksKnownByTokens(), blockSize);
    }

    /** A block was registered that holds the tokens from {@code from} on. */
    void registered(int block, long parent, int[] tokens, int from) {
        pooled.add(block, parent, tokens, from);
    }

    @Override
    public void remove(int block) {
        pooled.remove(block);
    }

    @Override
    public long read(int block) {
        return pooled.read(block);
    }

    /** Reads what {@link #registered} will read; see {@link ReadAhead}. */
    long read(int block, long parent, int[] tokens, int from) {
        return pooled.read(block, parent, tokens, from);
    }

    /** The tiers have a registered block. */
    void tiersHave(int block, long parent) {
        if (tiered != null) {
            tiered.add(parent, pooled.page(block), pooled.at(block));
        }
    }

    /** The tiers did not give a block that holds the tokens from {@code from} on. */
    void tiersLack(long parent, int[] tokens, int from) {
        if (tiered != null) {
            tiered.remove(parent, tokens, from);
        }
    }

    /** How many tokens of a table's next block are of use when a prompt of {@code length} goes on behind what is computed. */
    private int most(BlockTable table, int length) {
        return Math.min(blockSize, length - 1 - table.computed);
    }

    /** Adds a copy of the pool's block that goes on with most of a prompt's tokens behind whole computed blocks, if there is one. */
    void takeOver(BlockTable table, long[] parent, int parentAt, int[] tokens, int length) {
        int next = table.size();
        int from = table.computed;
        int most = most(table, length);
        if (most < pooled.leastRun()) {
            return;
        }
        int found = pooled.find(parent[parentAt], tokens, from, most);
        if (found == PartialBlockIndex.NONE) {
            return;
        }
        hasher.child(parent, parentAt, pooled.page(found), pooled.at(found), candidate, 0);
        int source = pool.take(candidate, 0, table.options()); // held, or making room for its copy could evict it
        if (source < 0) {
            return;
        }
        try {
            if (source == found && pool.available() > 0) {
                table.ensureCapacity(next + 1);
                table.add(copied(source));
                int run = pooled.run(source, tokens, from, most);
                table.computed += run;
                hitTokens += run;
            }
        } finally {
            pool.release(source);
        }
    }

    private int copied(int source) {
        int own = pool.allocate();
        try {
            copier.copy(source, own);
            return own;
        } catch (RuntimeException e) {
            pool.release(own);
            throw e;
        }
    }

    /**
     * The block that {@link #takeOver} would find after it came from a tier; null when the pool has one itself, which costs less, or the
     * tiers are not known to have one.
     */
    @Nullable
    TieredPart inTiers(BlockTable table, long[] parent, int parentAt, int[] tokens, int length) {
        int from = table.computed;
        int most = most(table, length);
        if (tiered == null
                || most < pooled.leastRun()
                || pooled.find(parent[parentAt], tokens, from, most) != PartialBlockIndex.NONE) {
            return null;
        }
        int found = tiered.find(parent[parentAt], tokens, from, most);
        if (found == PartialBlockIndex.NONE) {
            return null;
        }
        int[] blockTokens = tiered.tokens(found);
        hasher.child(parent, parentAt, blockTokens, 0, candidate, 0);
        if (pool.find(candidate, 0) >= 0) {
            return null;
        }
        BlockKey key = BlockKey.of(candidate, 0);
        int index = table.size();
        WantedBlock block = new WantedBlock(key, 0, index, BlockKey.of(parent, parentAt));
        // As long as a prompt that ends with the block, because a load's tokens lie by their positions.
        int[] all = new int[(index + 1) * blockSize];
        System.arraycopy(tokens, 0, all, 0, from);
        System.arraycopy(blockTokens, 0, all, from, blockSize);
        return new TieredPart(block, all, tiered.run(found, tokens, from, most));
    }

    /** Tokens that sequences got in copies. */
    long hitTokens() {
        return hitTokens;
    }
}
