package dev.kv8;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Sequences that wait for blocks from the tiers. Sequences that lack the same next block wait for one load. What arrives goes into
 * the pool in order: into a block that nobody else holds, checked, then registered like one that was computed, and from then on shared
 * and evicted like any. So a sequence takes it over as it takes over any cached prefix, and a load that is given up leaves nothing
 * behind but cached blocks. For the writer thread only.
 */
final class PrefixLoads {
    private final BlockLedger ledger;
    private final List<Tier> tiers;
    private final PoolCopies copies;
    private final Runnable onPlaced;
    private final PrefixCache prefixes;
    private final BlockPool pool;
    private final LayerGroups groups;
    private final long deadlineNanos;
    private final long[] key = new long[PrefixIndex.KEY];
    private final Map<BlockKey, PrefixLoad> byFirstKey = new LinkedHashMap<>();
    /** The load whose blocks are placed first, by its number among all: each in turn, because there may be time for few. */
    private int turn;

    /** Loads that ended while tiers were busy with them: a tier that never answers is to be known by it all the same. */
    private final List<PrefixLoad> givenUp = new ArrayList<>();

    /** @param onPlaced is told of each block that the pool gets */
    PrefixLoads(BlockLedger ledger, List<Tier> tiers, PoolCopies copies, long deadlineNanos, Runnable onPlaced) {
        this.ledger = ledger;
        this.tiers = tiers;
        this.copies = copies;
        this.deadlineNanos = deadlineNanos;
        this.onPlaced = onPlaced;
        this.prefixes = ledger.prefixes();
        this.pool = ledger.pool();
        this.groups = ledger.groups();
    }

    /**
     * Asks the tiers for the blocks of a new sequence that the pool lacks, if there are any and a tier can be asked; and if there are none,
     * for one that begins as its next does.
     */
    void begin(Sequence sequence, BlockFrame form, double prefillTokensPerSecond) {
        begin(sequence, form, System.nanoTime() + deadlineNanos, prefillTokensPerSecond);
    }

    /** A sequence has one deadline for all loads that it waits for. */
    private void begin(Sequence sequence, BlockFrame form, long deadline, double prefillTokensPerSecond) {
        BlockTable table = sequence.table;
        int from = table.size();
        int to = prefixes.wholeBlocks(sequence.length());
        if (from >= to) {
            beginPart(sequence, form, deadline, prefillTokensPerSecond);
            return;
        }
        if (table.computed != from * (long) ledger.blockSize()
                || table.epoch != prefixes.epoch()
                || isTooLate(deadline)) {
            return;
        }
        long[] words = prefixes.keys().of(table, sequence.tokenIds(), to);
        BlockKey first = BlockKey.of(words, from * PrefixIndex.KEY);
        PrefixLoad load = byFirstKey.get(first);
        if (load == null) {
            int[] tokens = prefixes.loadedTokens(sequence.tokenIds(), to);
            GroupSearch search = groups.isOne() ? null : search(table, from, to);
            load = create(first, sequence, search, tokens, form, deadline, prefillTokensPerSecond);
            load.seek(words, from, to);
            if (load.isSearched()) {
                tiers.get(0).search(load);
            } else {
                load.plan(run(table, from, to), ledger.blockSize());
                tiers.get(0).load(load, 0);
            }
        }
        join(load, sequence, deadline);
    }

    /** Asks for a block that only begins as the sequence goes on. */
    private void beginPart(Sequence sequence, BlockFrame form, long deadline, double prefillTokensPerSecond) {
        if (isTooLate(deadline)) {
            return;
        }
        TieredPart part = prefixes.tieredPart(sequence.table, sequence.tokenIds(), sequence.length());
        if (part == null) {
            return;
        }
        BlockKey key = part.block.key();
        PrefixLoad load = byFirstKey.get(key);
        if (load == null) {
            load = create(key, sequence, null, part.tokens, form, deadline, prefillTokensPerSecond);
            load.planPart(part.block, part.common);
            tiers.get(0).load(load, 0);
        }
        join(load, sequence, deadline);
    }

    /** Whether nothing can come in time, or from no tier. */
    private boolean isTooLate(long deadline) {
        return deadline - System.nanoTime() <= 0 || tiers.stream().allMatch(Tier::isOpen);
    }

    private PrefixLoad create(
            BlockKey first,
            Sequence sequence,
            @Nullable GroupSearch search,
            int[] tokens,
            BlockFrame form,
            long deadline,
            double prefillTokensPerSecond) {
        PrefixLoad load = new PrefixLoad(
                first,
                sequence.table.options(),
                search,
                tokens,
                tiers,
                form,
                prefixes.epoch(),
                deadline,
                prefillTokensPerSecond);
        byFirstKey.put(first, load);
        return load;
    }

    /** Another one's load may end after the sequence's own deadline: then it waits for none. */
    private static void join(PrefixLoad load, Sequence sequence, long deadline) {
        if (load.deadlineNanos() - deadline > 0) {
            return;
        }
        load.waiting.add(sequence);
        sequence.loading = load;
    }

    /** A table's blocks with all layers. */
    private List<WantedBlock> run(BlockTable table, int from, int to) {
        List<WantedBlock> run = new ArrayList<>(to - from);
        for (int i = from; i < to; i++) {
            run.add(prefixes.wanted(table, i, 0));
        }
        return run;
    }

    private GroupSearch search(BlockTable table, int from, int to) {
        List<WantedBlock> blocks = new ArrayList<>((to - from) * groups.count());
        BitSet cached = new BitSet();
        for (int i = from; i < to; i++) {
            for (int group = 0; group < groups.count(); group++) {
                cached.set(blocks.size(), prefixes.find(table, i, group) >= 0);
                blocks.add(prefixes.wanted(table, i, group));
            }
        }
        return new GroupSearch(groups, from, to, blocks, cached);
    }

    /** The sequence does not wait any longer. */
    void leave(Sequence sequence) {
        PrefixLoad load = sequence.loading;
        if (load != null) {
            sequence.loading = null;
            load.waiting.remove(sequence);
        }
    }

    boolean isEmpty() {
        return byFirstKey.isEmpty();
    }

    /** Places what has arrived and ends what is over; stops placing after {@code nanos}, but not before one block; places none when that is 0. */
    void advance(long nanos, BlockFrame form, double prefillTokensPerSecond, SecondUses uses) {
        if (byFirstKey.isEmpty()) {
            return;
        }
        long start = System.nanoTime();
        boolean placing = nanos > 0;
        List<PrefixLoad> all = new ArrayList<>(byFirstKey.values());
        Collections.rotate(all, -(turn % all.size()));
        int first = turn;
        for (int i = 0; i < all.size(); i++) {
            PrefixLoad load = all.get(i);
            load.waiting.removeIf(Sequence::isClosed);
            boolean goesOn = load.epoch() == prefixes.epoch() && !load.waiting.isEmpty();
            hold(load.takeCached(), load.holder);
            while (placing && goesOn && !load.isComplete()) {
                Frame frame = load.takeNext();
                if (frame == null) {
                    break;
                }
                goesOn = place(load, frame, uses);
                if (System.nanoTime() - start > nanos) {
                    placing = false;
                    turn = first + i + 1; // behind this one
                }
            }
            boolean late = System.nanoTime() - load.deadlineNanos() > 0;
            if (!goesOn || load.isComplete() || late) {
                end(load, late && !load.isComplete(), form, prefillTokensPerSecond);
            }
        }
    }

    /** Keeps what a prompt needs besides what is loaded for it from being evicted meanwhile; what has been is a miss. */
    private void hold(List<WantedBlock> blocks, BlockTable holder) {
        holder.ensureCapacity(holder.size() + blocks.size());
        for (WantedBlock wanted : blocks) {
            wanted.key().copyTo(key, 0);
            int block = pool.take(key, 0, holder.options());
            if (block >= 0) {
                holder.add(block);
            }
        }
    }

    /** Puts the next block of the load into the pool; false when there is no room, or it was damaged. */
    private boolean place(PrefixLoad load, Frame frame, SecondUses uses) {
        WantedBlock wanted = load.wanted(load.placed);
        wanted.key().copyTo(key, 0);
        boolean kept = false;
        try {
            int block = pool.find(key, 0) >= 0 ? pool.take(key, 0, load.holder.options()) : fill(load, frame, wanted);
            if (block < 0) {
                return false;
            }
            load.holder.ensureCapacity(load.holder.size() + 1);
            load.holder.add(block);
            Tier origin = load.origin(load.placed);
            if (origin != null) {
                kept = uses.loaded(key, frame, load.fasterThan(origin));
            }
            load.placed++;
            return true;
        } finally {
            if (!kept) {
                frame.release();
            }
        }
    }

    private int fill(PrefixLoad load, Frame frame, WantedBlock wanted) {
        if (pool.available() == 0) {
            return -1;
        }
        int block = pool.allocate();
        boolean whole = false;
        try {
            whole = copies.toPool(frame, block, wanted.group());
        } finally {
            if (!whole) {
                pool.release(block);
            }
        }
        if (!whole) {
            Tier origin = load.origin(load.placed);
            if (origin != null) {
                origin.counters()
                        .trouble(
                                TierCounters.Kind.DAMAGED,
                                1,
                                "it wrote to a frame that it had said to be done with",
                                "");
            }
            return -1;
        }
        if (pool.register(block, key, 0, load.holder.options())) {
            prefixes.loaded(load, wanted, block);
        }
        onPlaced.run();
        return block;
    }

    private void end(PrefixLoad load, boolean late, BlockFrame form, double prefillTokensPerSecond) {
        byFirstKey.remove(load.first());
        load.end();
        if (late) {
            load.takeLate().forEach(Tier::late);
        } else if (load.isUnderWay()) {
            givenUp.add(load);
        }
        measure(load);
        if (load.isPart() && load.isAbsent()) {
            prefixes.tiersLack(load);
        }
        List<Sequence> waited = new ArrayList<>();
        BitSet helped = new BitSet();
        for (Sequence sequence : load.waiting) {
            sequence.loading = null;
            if (!sequence.isClosed()) {
                int before = sequence.computedTokens();
                sequence.takeOver();
                helped.set(waited.size(), sequence.computedTokens() > before);
                waited.add(sequence);
            }
        }
        load.holder.shrink(0, pool);
        ledger.publish();
        for (int i = 0; i < waited.size(); i++) {
            Sequence sequence = waited.get(i);
            // A longer prompt that waited for a shorter one, or for a part of its first block, may find more of its
            // own; what this load was for and did not bring is not asked for again.
            if (load.isPart() ? helped.get(i) : !lacksSought(sequence, load)) {
                begin(sequence, form, load.deadlineNanos(), prefillTokensPerSecond);
            } else if (!load.isPart()) {
                beginPart(sequence, form, load.deadlineNanos(), prefillTokensPerSecond);
            }
            sequence.follow();
        }
    }

    /** Whether the next block that the sequence lacks is one that the load was for. */
    private boolean lacksSought(Sequence sequence, PrefixLoad load) {
        int next = sequence.table.size();
        return next < prefixes.wholeBlocks(sequence.length())
                && load.hasSought(prefixes.keys().of(sequence.table, sequence.tokenIds(), next + 1), next);
    }

    /** Judges the tiers that have not finished a load which was given up, once its deadline has passed too. */
    void checkDeadlines() {
        if (!givenUp.isEmpty()) {
            long now = System.nanoTime();
            givenUp.removeIf(load -> {
                boolean late = now - load.deadlineNanos() > 0;
                if (late) {
                    load.takeLate().forEach(Tier::late);
                }
                return late || !load.isUnderWay();
            });
        }
    }

    /** The rate of the tier that the last block came from, when it gave all of them. */
    private static void measure(PrefixLoad load) {
        Tier origin = load.placed == 0 ? null : load.origin(load.placed - 1);
        if (origin != null && load.origin(0) == origin) {
            double bytes = (double) load.placed * load.form().frameBytes();
            (load.isPart() ? origin.partRate() : origin.rate()).measured(bytes, load.nanosOfArrivals());
        }
    }

    /** Ends all loads; nobody waits any longer. */
    void close() {
        for (PrefixLoad load : byFirstKey.values()) {
            load.end();
            load.waiting.forEach(sequence -> sequence.loading = null);
            load.holder.shrink(0, pool);
        }
        byFirstKey.clear();
    }
}
