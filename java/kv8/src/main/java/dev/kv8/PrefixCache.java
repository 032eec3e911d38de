package dev.kv8;

import java.util.Arrays;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Reuse of blocks between sequences: registers them when they are computed and full, and gives a new sequence those of its prefix
 * that are still there. Without {@link KvCacheConfig#prefixCaching} it does neither. With {@link KvCacheConfig#partialReuse} a
 * new sequence also gets a copy of a block that only begins as its own does ({@link PartialReuse}). And it knows which sequence is about to
 * compute a block, so that others that need it can wait for it ({@link PrefixLeaders}). Blocks are equal when their {@link PrefixKeys} are.
 *
 * <p>A table keeps the keys of its blocks and the epoch they belong to; one of an earlier epoch registers nothing any more,
 * because its blocks may hold what the scales or weights of then gave. For the writer thread only.
 */
final class PrefixCache {
    /**
     * Learns which blocks are of use, by the keys under which their groups register them, and {@code parent}, 64 bits of the keys that
     * they hang on (0 where parts of blocks are not reused); for the tiers.
     */
    interface UseListener {
        /** A full block was computed and is registered now. */
        void computed(long[] keys, int at, int group, long parent);

        /** A sequence shares a registered block. */
        void shared(long[] keys, int at, int group, long parent);
    }

    private final KvCacheConfig config;
    private final BlockPool pool;
    private final @Nullable CacheNews news;
    private final @Nullable PartialReuse parts;
    private final PrefixLeaders leaders = new PrefixLeaders();
    private final PrefixKeys keys;
    private final LayerGroups groups;
    private final GroupHits groupHits;
    private final GroupKey groupKey = new GroupKey();
    private final int blockSize;
    private final long[] probe = new long[PrefixIndex.KEY];
    private @Nullable UseListener uses;
    private long epoch;
    private long queryTokens;
    private long hitTokens;

    /** Asks for the {@code scales} in force when an epoch's first key is made. */
    PrefixCache(
            KvCacheConfig config,
            Supplier<KvScales> scales,
            BlockPool pool,
            BlockLedger.BlockCopier copier,
            @Nullable CacheNews news) {
        this.config = config;
        this.pool = pool;
        this.news = news;
        this.blockSize = config.blockSize();
        this.groups = config.groups();
        this.groupHits = new GroupHits(groups, blockSize, pool);
        PrefixHasher hasher = new PrefixHasher(blockSize);
        this.keys = new PrefixKeys(config, scales, hasher);
        if (config.prefixCaching() && config.partialReuse() && groups.isOne()) {
            parts = new PartialReuse(config, pool, copier, hasher);
            pool.whenUnregistered(parts);
        } else {
            parts = null;
        }
    }

    void listen(UseListener listener) {
        uses = listener;
        groupHits.listen(listener);
    }

    /**
     * Puts the longest cached run of full blocks into a table, behind what it has computed, and after that a copy of a block that
     * goes on with the same tokens, and counts all these tokens as computed; at least one of the {@code length} tokens stays to
     * be computed, because the next one is drawn from its output. The table must not be in a batch.
     *
     * @return whether it should compute the rest itself; false while another table is about to compute its next block, and then
     *     there is no copy of a part
     */
    boolean follow(BlockTable table, int[] tokens, int length) {
        if (!config.prefixCaching() || length - table.computed < 2) {
            return true;
        }
        takeOver(table, tokens, length);
        if (table.epoch != epoch) {
            return true;
        }
        boolean alone = lead(table, tokens, length);
        if (alone && table.computed % blockSize == 0) {
            takeOverPart(table, tokens, length);
        }
        return alone;
    }

    /** Puts the longest cached run of full blocks into a table, as {@link #follow} does, and leaves it at that. */
    void takeOver(BlockTable table, int[] tokens, int length) {
        if (!config.prefixCaching() || length - table.computed < 2) {
            return;
        }
        join(table);
        if (table.epoch != epoch) {
            return;
        }
        asked(table, length);
        int most = wholeBlocks(length);
        if (!groups.isOne()) {
            table.ensureKeys(most);
            groupHits.takeOver(table, most, count -> keys.of(table, tokens, count));
            return;
        }
        if (config.window() > 0 && table.computed == 0) {
            table.ensureCapacity(most);
            table.ensureKeys(most);
            skipToWindow(table, tokens, most);
        }
        take(table, tokens, most);
    }

    private int longest(BlockTable table, int[] tokens, int from, int most) {
        table.ensureKeys(most);
        return groupHits.longest(table, from, most, count -> keys.of(table, tokens, count));
    }

    /** Puts the longest cached run of a swapped sequence's full blocks, from the first in its window on, into its new table. */
    void match(BlockTable table, SwappedSequence swapped) {
        table.epoch = swapped.epoch;
        if (!groups.isOne()) {
            for (int group = 0; group < groups.count(); group++) {
                table.setGone(group, swapped.gone(group));
            }
            int matched = matched(table, swapped);
            table.ensureCapacity(matched);
            groupHits.takeLeading(table, matched);
            return;
        }
        table.beginWithGone(swapped.gone(0));
        table.computed = swapped.gone(0) * blockSize;
        if (config.prefixCaching() && table.epoch == epoch) {
            take(table, swapped.tokens, swapped.computed / blockSize);
        }
    }

    private void take(BlockTable table, int[] tokens, int most) {
        table.ensureCapacity(most);
        table.ensureKeys(most);
        int made = table.computed / blockSize;
        for (int next = made; next < most; next++) {
            if (next == made) {
                made = Math.min(most, next + ReadAhead.BLOCKS);
                keys.of(table, tokens, made); // the ones behind a miss are needed when these blocks are registered
                pool.readForTaking(table.keys(), next * PrefixIndex.KEY, made - next);
            }
            int block = pool.take(table.keys(), next * PrefixIndex.KEY, table.options());
            if (block < 0) {
                break;
            }
            if (next == table.size()) {
                table.add(block);
            } else { // a part of it is there
                pool.release(table.block(next));
                table.replace(next, block);
            }
            table.computed = (next + 1) * blockSize;
            if (uses != null) {
                long parent = parts == null ? 0 : keys.parentFingerprint(table, next);
                uses.shared(table.keys(), next * PrefixIndex.KEY, 0, parent);
            }
        }
    }

    /** How many leading blocks of each group {@code swapped} shares; {@code table} has its epoch, and says what is gone. */
    private int matched(BlockTable table, SwappedSequence swapped) {
        if (!config.prefixCaching() || table.epoch != epoch) {
            return 0;
        }
        int most = swapped.computed / blockSize;
        keys.of(table, swapped.tokens, most);
        return groupHits.leading(table, most);
    }

    /** How many blocks of a prompt can be taken over. */
    int wholeBlocks(int length) {
        return Math.max(0, length - 1) / blockSize;
    }

    PrefixKeys keys() {
        return keys;
    }

    long epoch() {
        return epoch;
    }

    /**
     * Of a prompt that is cached in parts only, the blocks before the last possible window need not be there: lets an empty table
     * begin behind them, so that it continues where the longest prefix ends whose window is cached.
     */
    private void skipToWindow(BlockTable table, int[] tokens, int most) {
        keys.of(table, tokens, most);
        int begin = 0; // of the run of cached blocks that ends here
        int skipped = 0;
        for (int end = 1; end <= most; end++) {
            if (pool.find(table.keys(), (end - 1) * PrefixIndex.KEY) < 0) {
                begin = end;
            }
            int firstSeen = Math.max(0, end * blockSize - config.window() + 1) / blockSize;
            if (begin <= firstSeen && begin < end) {
                skipped = firstSeen;
            }
        }
        table.beginWithGone(skipped);
        table.computed = skipped * blockSize;
    }

    /** Makes the table the one that others wait for at its next block; false when another one is that. */
    private boolean lead(BlockTable table, int[] tokens, int length) {
        int next = table.computed / blockSize;
        leaders.remove(table);
        if (length / blockSize <= next) {
            return true; // not all of its tokens are known
        }
        table.ensureKeys(next + 1);
        keys.of(table, tokens, next + 1);
        int at = next * PrefixIndex.KEY;
        if (leaders.find(table.keys(), at) != null) {
            return false;
        }
        leaders.add(table, table.keys(), at);
        return true;
    }

    /** Nobody waits for the table any more: it is given up, or other tokens come next. */
    void stopLeading(BlockTable table) {
        leaders.remove(table);
    }

    private void takeOverPart(BlockTable table, int[] tokens, int length) {
        if (parts != null) {
            long[] parent = keys.parent(table, tokens);
            parts.takeOver(table, parent, PrefixKeys.parentAt(table), tokens, length);
        }
    }

    /**
     * The block of a tier that only begins as the table goes on, for {@link #follow} to copy when it is in the pool; null when there is none,
     * the pool has one like it, or another table is about to compute the table's next block.
     */
    @Nullable
    TieredPart tieredPart(BlockTable table, int[] tokens, int length) {
        if (parts == null || table.epoch != epoch || table.computed != table.size() * blockSize) {
            return null;
        }
        int next = table.size();
        if (length / blockSize > next
                && leaders.find(keys.of(table, tokens, next + 1), next * PrefixIndex.KEY) != null) {
            return null;
        }
        long[] parent = keys.parent(table, tokens);
        return parts.inTiers(table, parent, PrefixKeys.parentAt(table), tokens, length);
    }

    /** The tiers have the registered {@code block}; {@code parent} is of the key that it hangs on. */
    void tiersHave(int block, long parent) {
        if (parts != null) {
            parts.tiersHave(block, parent);
        }
    }

    /** The tiers were asked for a {@link TieredPart} and don't have it. */
    void tiersLack(PrefixLoad load) {
        if (parts != null) {
            WantedBlock part = load.wanted(0);
            parts.tiersLack(part.parent().word0(), load.tokens(), part.index() * blockSize);
        }
    }

    /** Makes room for the keys of {@code blocks} blocks; a table that stores nothing yet joins the present epoch. */
    void prepare(BlockTable table, int blocks) {
        join(table);
        if (config.prefixCaching()) {
            table.ensureKeys(blocks);
        }
    }

    private void join(BlockTable table) {
        if (table.computed == 0 && table.epoch != epoch) {
            leaders.remove(table);
            table.epoch = epoch;
            table.keyCount = 0;
        }
    }

    /** Counts those of a table's first {@code length} tokens that it asks for now and has not before. */
    void asked(BlockTable table, int length) {
        if (config.prefixCaching()) {
            queryTokens += Math.max(0, length - Math.max(table.queried, table.computed));
            table.queried = length;
        }
    }

    /** Counts tokens that a table took over. */
    void took(int tokens) {
        if (config.prefixCaching()) {
            hitTokens += tokens;
        }
    }

    /** Makes the blocks reusable that became full since {@code computedBefore} tokens were stored. */
    void register(BlockTable table, int[] tokens, int computedBefore) {
        if (!config.prefixCaching() || table.epoch != epoch) {
            return;
        }
        int full = table.computed / blockSize;
        int made = computedBefore / blockSize;
        for (int i = made; i < full; i++) {
            if (i == made) {
                made = Math.min(full, i + ReadAhead.BLOCKS);
                keys.of(table, tokens, made);
                if (made - i > 1) {
                    readForRegistrations(table, tokens, i, made);
                }
            }
            for (int group = 0; group < groups.count(); group++) {
                if (i >= table.gone(group)) {
                    register(table, i, group, tokens);
                }
            }
        }
    }

    private void readForRegistrations(BlockTable table, int[] tokens, int from, int to) {
        for (int i = from; i < to; i++) {
            for (int group = 0; group < groups.count(); group++) {
                if (i >= table.gone(group)) {
                    GroupKey key = groupKey.of(group, table.keys(), i * PrefixIndex.KEY);
                    pool.readForRegistration(table.block(i, group), key.words, key.at);
                }
            }
            if (parts != null && i > 0 && i >= table.gone()) {
                long parent = table.keys()[(i - 1) * PrefixIndex.KEY];
                pool.haveRead(parts.read(table.block(i), parent, tokens, i * blockSize));
            }
        }
    }

    private void register(BlockTable table, int i, int group, int[] tokens) {
        int block = table.block(i, group);
        GroupKey key = groupKey.of(group, table.keys(), i * PrefixIndex.KEY);
        if (pool.register(block, key.words, key.at, table.options())) {
            if (parts != null) {
                long parent = keys.parentFingerprint(table, i);
                parts.registered(block, parent, tokens, i * blockSize);
            }
            if (news != null) {
                BlockKey stored = key.toBlockKey();
                news.stored(stored, keys.parent(table, i, group), i * blockSize, tokens, i * blockSize);
            }
        }
        hang(table, i, group);
        if (uses != null) {
            GroupKey used = groupKey.of(group, table.keys(), i * PrefixIndex.KEY);
            uses.computed(used.words, used.at, group, parts == null ? 0 : keys.parentFingerprint(table, i));
        }
    }

    /** The pool is to know that a group's registered block {@code i} of a table hangs on the one before, where that is registered too. */
    private void hang(BlockTable table, int i, int group) {
        if (i == 0) {
            return;
        }
        int parent = i > table.gone(group) ? table.block(i - 1, group) : BlockTable.GONE;
        if (parent == BlockTable.GONE || !pool.isRegistered(parent)) {
            parent = find(table, i - 1, group); // another one has the same content
        }
        if (parent >= 0) {
            GroupKey key = groupKey.of(group, table.keys(), i * PrefixIndex.KEY);
            pool.hang(parent, key.words[key.at]);
        }
    }

    /**
     * After {@link #register}, or when it waits for nothing any more: a table with known tokens for the next block, of {@code length}
     * in all, leads it if nobody does.
     */
    void goOn(BlockTable table, int[] tokens, int length) {
        if (table.leads || length / blockSize > table.computed / blockSize) {
            if (config.prefixCaching() && table.epoch == epoch) {
                lead(table, tokens, length);
            }
        }
    }

    /** The tokens of a load's blocks up to {@code to}, for {@link #loaded}; none when that needs none. */
    int[] loadedTokens(int[] tokens, int to) {
        return news == null && parts == null ? new int[0] : Arrays.copyOf(tokens, to * blockSize);
    }

    /** A group's block {@code index} of a table, whose keys are made, as the tiers know it. */
    WantedBlock wanted(BlockTable table, int index, int group) {
        BlockKey key = groupKey.of(group, table.keys(), index * PrefixIndex.KEY).toBlockKey();
        return new WantedBlock(key, group, index, keys.parent(table, index, group));
    }

    /** {@code block}, which came from a tier, has been registered as what {@code load} wanted. */
    void loaded(PrefixLoad load, WantedBlock wanted, int block) {
        int position = wanted.index() * blockSize;
        wanted.parent().copyTo(probe, 0);
        int before = pool.find(probe, 0);
        if (before >= 0) {
            pool.hang(before, wanted.key().word0());
        }
        if (parts != null) {
            long parent = wanted.parent().word0();
            parts.registered(block, parent, load.tokens(), position);
            parts.tiersHave(block, parent);
        }
        if (news != null) {
            news.stored(wanted.key(), wanted.parent(), position, load.tokens(), position);
        }
    }

    /**
     * How many of the blocks that a new sequence would take over are held already, so that sharing them takes no room. Changes
     * nothing.
     */
    int heldPrefix(int[] tokens, int length, SequenceOptions options) {
        if (!groups.isOne() && config.prefixCaching()) {
            BlockTable probed = new BlockTable(options, groups.count());
            return groupHits.held(probed, longest(probed, tokens, 0, wholeBlocks(length)));
        }
        return heldPrefix(tokens, options.salt(), 0, wholeBlocks(length));
    }

    /** The same for a sequence that was swapped out, which has all its tokens already. */
    int heldPrefix(SwappedSequence swapped) {
        if (!groups.isOne()) {
            BlockTable probed = new BlockTable(swapped.options, groups.count());
            probed.epoch = swapped.epoch;
            for (int group = 0; group < groups.count(); group++) {
                probed.setGone(group, swapped.gone(group));
            }
            return groupHits.heldLeading(probed, matched(probed, swapped));
        }
        return swapped.epoch == epoch
                ? heldPrefix(swapped.tokens, swapped.options.salt(), swapped.gone(0), swapped.computed / blockSize)
                : 0;
    }

    private int heldPrefix(int[] tokens, String salt, int gone, int whole) {
        if (!config.prefixCaching()) {
            return 0;
        }
        int held = 0;
        for (int i = 0; i < whole; i++) {
            keys.advance(probe, salt, tokens, i);
            if (i < gone) {
                continue;
            }
            int block = pool.find(probe, 0);
            if (block < 0) {
                break;
            }
            held += pool.references(block) > 0 ? 1 : 0;
        }
        return held;
    }

    /** How many leading blocks of a table are cached in all groups, of the first {@code count}; those that are gone count as cached. */
    int registered(BlockTable table, int count) {
        if (!config.prefixCaching() || table.epoch != epoch) {
            return 0;
        }
        int found = Math.min(count, table.keyCount);
        for (int group = 0; group < groups.count(); group++) {
            for (int i = table.gone(group); i < found; i++) {
                if (find(table, i, group) < 0) {
                    found = i;
                }
            }
        }
        return found;
    }

    /** The block with the content of a group's block {@code index} of the table; -1 when none is cached. */
    int find(BlockTable table, int index, int group) {
        GroupKey key = groupKey.of(group, table.keys(), index * PrefixIndex.KEY);
        return pool.find(key.words, key.at);
    }

    /** As {@link #clear()}, and with keys that no tier has seen under other weights. */
    void clear(String newWeights) {
        keys.changed(newWeights);
        clear();
    }

    /** Nothing that is stored now is found any more, nor what its holders add to it; but the keys are the same for the same scales. */
    void clear() {
        epoch++;
        keys.changed();
        leaders.clear();
        pool.unregisterAll();
    }

    /** Tokens that sequences were opened with, or caught up with later. */
    long queryTokens() {
        return queryTokens;
    }

    /** Of these, taken over. */
    long hitTokens() {
        return hitTokens;
    }

    /** Of these, in copies of blocks that only began alike. */
    long partialHitTokens() {
        return parts == null ? 0 : parts.hitTokens();
    }
}
