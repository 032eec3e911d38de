package dev.kv8;

import dev.kv8.PoolOracle.Block;
import dev.kv8.PoolOracle.Prefix;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What the manager should do, as naively as it can be said: a block is an object, a sequence a list of them, who shares what is
 * found by looking at everybody, a prefix is known by its salt and the list of its tokens, and reserving walks token by token. A {@link PoolOracle} knows which blocks
 * can be found, and who makes room.
 */
final class CacheOracle {
    private static final int NORMAL = CachePriority.NORMAL.rank();

    /**
     * A sequence: its tokens and, for those computed or scheduled, its blocks: a row for each run of tokens, in which each group of
     * layers has one, or null when that fell out of its window.
     */
    static final class Entry {
        final SequenceOptions options;
        final List<Integer> tokens = new ArrayList<>();
        final List<@Nullable Block[]> blocks = new ArrayList<>();
        int computed;
        int scheduled;
        /** Of the computed ones, those that it found stored. */
        int cached;
        /** Tokens at the front that count as asked for. */
        int asked;
        /** The block that others are to wait for it to compute. */
        @Nullable
        Prefix leads;

        int epoch;
        /** It may have content that belonged to one of another class: blocks do not get a new one by moving. */
        boolean ofOtherClass;

        /** In blocks: where its prompt ends, what was found of it, and what would have been, were the windows there. */
        int[] likelyEnds = new int[3];

        boolean closed;
        ReleaseHint hint = ReleaseHint.KEEP;

        Entry(SequenceOptions options) {
            this.options = options;
        }

        /** All that moves between the sequences of a beam. */
        void exchange(Entry other) {
            exchange(tokens, other.tokens);
            exchange(blocks, other.blocks);
            int[] ownEnds = likelyEnds;
            likelyEnds = other.likelyEnds;
            other.likelyEnds = ownEnds;
            int[] own = {computed, cached, asked, epoch};
            computed = other.computed;
            cached = other.cached;
            asked = other.asked;
            epoch = other.epoch;
            other.computed = own[0];
            other.cached = own[1];
            other.asked = own[2];
            other.epoch = own[3];
        }

        /** Blocks of a group at the front that fell out of its window. */
        int gone(int group) {
            int gone = 0;
            while (gone < blocks.size() && blocks.get(gone)[group] == null) {
                gone++;
            }
            return gone;
        }

        private static <T> void exchange(List<T> one, List<T> other) {
            List<T> copy = List.copyOf(one);
            one.clear();
            one.addAll(other);
            other.clear();
            other.addAll(copy);
        }

        Prefix prefix(int length, int group) {
            return new Prefix(options.salt(), List.copyOf(tokens.subList(0, length)), group);
        }
    }

    final int totalBlocks;
    final int blockSize;
    /** Sequences that hold blocks: open ones, and closed ones that are in a batch. */
    final List<Entry> entries = new ArrayList<>();

    /** The blocks of each open pin, as a sequence has them. */
    final List<List<@Nullable Block[]>> pins = new ArrayList<>();

    final PoolOracle pool;

    /** What is being copied. */
    @Nullable
    private Block source;

    private final boolean partialReuse;
    int epoch;
    long copied;
    long queried;
    long hit;
    long partlyHit;

    /** Of each group of layers, 0 for all keys. */
    private final List<Integer> windows;

    CacheOracle(
            int totalBlocks, int blockSize, EvictionPolicyKind eviction, boolean partialReuse, List<Integer> windows) {
        this.windows = windows;
        this.partialReuse = partialReuse && windows.size() == 1;
        this.totalBlocks = totalBlocks;
        this.blockSize = blockSize;
        pool = new PoolOracle(totalBlocks, blockSize, eviction, windows, this::holders, this::freeBlocks);
    }

    Entry open(SequenceOptions options, List<Integer> tokens) {
        Entry entry = add(options, tokens);
        ask(entry);
        catchUp(entry);
        return entry;
    }

    /** Takes over what is stored for it; false when it is to wait for another one. */
    boolean catchUp(Entry entry) {
        if (entry.tokens.size() - entry.computed < 2) {
            return true;
        }
        join(entry);
        if (entry.epoch != epoch) {
            return true;
        }
        ask(entry);
        int before = entry.computed;
        takeOver(entry);
        entry.cached += entry.computed - before;
        hit += entry.computed - before;
        if (!lead(entry)) {
            return false;
        }
        if (partialReuse && entry.computed % blockSize == 0) {
            copyPart(entry);
        }
        return true;
    }

    /** Blocks that it needs no more to go on from the farthest end that it can go on from are not taken, or given back. */
    private void takeOver(Entry entry) {
        int from = entry.computed / blockSize;
        boolean withGaps = windows.size() > 1 || entry.computed == 0;
        int end = from;
        for (int tried = from + 1; tried * blockSize < entry.tokens.size(); tried++) {
            end = isThere(entry, from, tried, withGaps) ? tried : end;
        }
        expectOthers(entry, from, end);
        if (end == from) {
            return;
        }
        for (int group = 0; group < windows.size(); group++) {
            for (int index = 0; withGaps && index < Math.min(entry.blocks.size(), firstSeen(group, end)); index++) {
                fallOut(entry, index, group);
            }
        }
        while (entry.blocks.size() < end) {
            entry.blocks.add(new Block[windows.size()]);
        }
        for (int group = 0; group < windows.size(); group++) {
            giveBack(entry, from, group); // a part of it may be there
        }
        for (int index = from; index < end; index++) {
            for (int group = 0; group < windows.size(); group++) {
                if (!withGaps || index >= firstSeen(group, end)) {
                    Prefix prefix = entry.prefix((index + 1) * blockSize, group);
                    entry.blocks.get(index)[group] = pool.use(prefix, before(entry, index, group), entry.options);
                }
            }
        }
        entry.computed = end * blockSize;
    }

    /** Remembers where others are likely to go on. */
    private void expectOthers(Entry entry, int from, int end) {
        int most = (entry.tokens.size() - 1) / blockSize;
        int shared = from;
        while (shared < most && isWholeThere(entry, shared)) {
            shared++;
        }
        entry.likelyEnds[0] = most;
        entry.likelyEnds[1] = end > from ? end : entry.likelyEnds[1];
        entry.likelyEnds[2] = shared > from ? shared : entry.likelyEnds[2];
    }

    private boolean isWholeThere(Entry entry, int index) {
        return IntStream.range(0, windows.size())
                .filter(group -> windows.get(group) == 0)
                .allMatch(group -> pool.registered.containsKey(entry.prefix((index + 1) * blockSize, group)));
    }

    private boolean isThere(Entry entry, int from, int end, boolean withGaps) {
        for (int group = 0; group < windows.size(); group++) {
            for (int index = withGaps ? Math.max(from, firstSeen(group, end)) : from; index < end; index++) {
                if (pool.registered.get(entry.prefix((index + 1) * blockSize, group)) == null) {
                    return false;
                }
            }
        }
        return true;
    }

    private Block find(Entry entry, int index, int group) {
        return Objects.requireNonNull(pool.registered.get(entry.prefix((index + 1) * blockSize, group)));
    }

    /** The first block that is of use to a group, of a sequence that goes on behind so many. */
    private int firstSeen(int group, int blocks) {
        return firstSeenAt(group, blocks * blockSize);
    }

    private int firstSeenAt(int group, int position) {
        int window = windows.get(group);
        return window == 0 ? 0 : Math.max(0, position - window + 1) / blockSize;
    }

    private void giveBack(Entry entry, int index, int group) {
        Block block = entry.blocks.get(index)[group];
        if (block != null) {
            entry.blocks.get(index)[group] = null;
            pool.giveUp(block, ReleaseHint.KEEP, NORMAL);
        }
    }

    /**
     * As {@link #giveBack}, of what the window has left behind. Where other layers see all keys, it is worth little, but before the ends that
     * others are likely to go on from, or from one block less.
     */
    private void fallOut(Entry entry, int index, int group) {
        Block block = entry.blocks.get(index)[group];
        giveBack(entry, index, group);
        boolean isExpected = IntStream.of(entry.likelyEnds)
                .anyMatch(end -> index < end && index >= firstSeen(group, Math.max(0, end - 1)));
        if (block != null && windows.get(0) == 0 && !isExpected) {
            pool.demote(block, entry.options.priority().rank());
        }
    }

    /** Copies the block that goes on with the most of its tokens, where that is worth it. */
    private void copyPart(Entry entry) {
        int best = Math.min(8, blockSize / 2);
        Block found = null;
        for (Map.Entry<Prefix, Block> one : pool.registered.entrySet()) {
            int run = commonTokens(entry, one.getKey()) - entry.computed;
            boolean isNext = one.getKey().tokens().size() == entry.computed + blockSize;
            if (isNext && run >= best) {
                best = run;
                found = one.getValue();
            }
        }
        if (found == null) {
            return;
        }
        pool.use(found, entry.options);
        source = found;
        if (freeBlocks() > 0) {
            entry.blocks.add(new Block[] {pool.take()});
            entry.computed += best;
            entry.cached += best;
            hit += best;
            partlyHit += best;
        }
        source = null;
        pool.giveUp(found, ReleaseHint.KEEP, NORMAL);
    }

    /** Of a sequence's tokens but the last, those that a prefix begins with. */
    private static int commonTokens(Entry entry, Prefix prefix) {
        int most = Math.min(entry.tokens.size() - 1, prefix.tokens().size());
        int common = 0;
        while (common < most && entry.tokens.get(common).equals(prefix.tokens().get(common))) {
            common++;
        }
        return entry.options.salt().equals(prefix.salt()) ? common : 0;
    }

    private void ask(Entry entry) {
        queried += Math.max(0, entry.tokens.size() - Math.max(entry.asked, entry.computed));
        entry.asked = entry.tokens.size();
    }

    private boolean lead(Entry entry) {
        entry.leads = null;
        int end = (entry.computed / blockSize + 1) * blockSize;
        if (end > entry.tokens.size()) {
            return true;
        }
        Prefix next = entry.prefix(end, 0);
        if (entries.stream().anyMatch(other -> next.equals(other.leads))) {
            return false;
        }
        entry.leads = next;
        return true;
    }

    /** What has stored nothing yet belongs to the present epoch. */
    private void join(Entry entry) {
        if (entry.computed == 0) {
            entry.epoch = epoch;
        }
    }

    private Entry add(SequenceOptions options, List<Integer> tokens) {
        Entry entry = new Entry(options);
        entry.tokens.addAll(tokens);
        entry.epoch = epoch;
        entries.add(entry);
        return entry;
    }

    Entry fork(Entry from) {
        Entry entry = add(from.options, from.tokens);
        entry.computed = from.computed;
        entry.epoch = from.epoch;
        entry.ofOtherClass = from.ofOtherClass;
        entry.likelyEnds = from.likelyEnds.clone();
        from.blocks.forEach(row -> entry.blocks.add(row.clone()));
        return entry;
    }

    /**
     * Each goes on from what {@code beam.get(parents[i])} was. A parent's content moves to the one that is its own child, else to the
     * first of its children; the others share it, instead of what lies where they are.
     */
    void reorder(List<Entry> beam, int... parents) {
        List<Integer> heirs = new ArrayList<>();
        List<Integer> contents = new ArrayList<>();
        for (int slot = 0; slot < beam.size(); slot++) {
            int parent = parents[slot];
            heirs.add(
                    parents[parent] == parent
                            ? parent
                            : IntStream.of(parents).boxed().toList().indexOf(parent));
            contents.add(slot);
            beam.get(slot).leads = null;
            SequenceOptions own = beam.get(slot).options;
            beam.get(slot).ofOtherClass |= beam.get(parent).ofOtherClass
                    || own.priority() != beam.get(parent).options.priority()
                    || own.limitTicks() != beam.get(parent).options.limitTicks();
        }
        for (int slot = 0; slot < beam.size(); slot++) {
            int place = contents.indexOf(parents[slot]);
            if (heirs.get(slot) == slot && place != slot) {
                beam.get(slot).exchange(beam.get(place));
                Collections.swap(contents, slot, place);
            }
        }
        for (int slot = 0; slot < beam.size(); slot++) {
            if (heirs.get(slot) != slot) {
                share(beam.get(heirs.get(slot)), beam.get(slot));
            }
        }
    }

    /** What both have at the front already does not move. */
    private void share(Entry from, Entry to) {
        int common = 0;
        while (common < Math.min(from.blocks.size(), to.blocks.size())
                && Arrays.equals(from.blocks.get(common), to.blocks.get(common))) {
            common++;
        }
        dropBlocksBehind(to, common * blockSize, ReleaseHint.KEEP);
        from.blocks.subList(common, from.blocks.size()).forEach(row -> to.blocks.add(row.clone()));
        to.tokens.clear();
        to.tokens.addAll(from.tokens);
        to.computed = from.computed;
        to.likelyEnds = from.likelyEnds.clone();
        to.cached = 0;
        to.asked = 0;
        to.epoch = from.epoch;
    }

    /** The blocks that a pin of the first {@code tokens} tokens would hold; none when nobody could go on behind them. */
    List<@Nullable Block[]> pinnable(Entry entry, int tokens) {
        int end = known(entry, tokens / blockSize);
        List<@Nullable Block[]> found = new ArrayList<>();
        boolean isOne = windows.size() == 1;
        for (int group = 0; group < windows.size(); group++) {
            if (isOne ? end <= entry.gone(0) : entry.gone(group) > firstSeen(group, end)) {
                return found;
            }
        }
        for (int index = 0; index < end; index++) {
            Block[] row = new Block[windows.size()];
            for (int group = 0; group < row.length; group++) {
                boolean isNeeded = index >= (isOne ? entry.gone(0) : firstSeen(group, end));
                row[group] = isNeeded ? find(entry, index, group) : null;
            }
            found.add(row);
        }
        return found;
    }

    /** How many rows of a sequence, {@code most} at most, are registered, as far as it has not given them back. */
    private int known(Entry entry, int most) {
        int known = entry.epoch == epoch ? most : 0;
        for (int group = 0; group < windows.size(); group++) {
            for (int index = entry.gone(group); index < known; index++) {
                known = pool.registered.containsKey(entry.prefix((index + 1) * blockSize, group)) ? known : index;
            }
        }
        return known;
    }

    Set<Block> pinned() {
        Set<Block> pinned = identitySet();
        pins.forEach(pin -> blocks(pin).forEach(pinned::add));
        return pinned;
    }

    static Stream<Block> blocks(List<@Nullable Block[]> rows) {
        return rows.stream().flatMap(Stream::of).filter(Objects::nonNull);
    }

    List<@Nullable Block[]> pin(Entry entry, int tokens) {
        List<@Nullable Block[]> found = pinnable(entry, tokens);
        blocks(found).forEach(block -> pool.use(block, entry.options));
        pins.add(found);
        return found;
    }

    void unpin(List<@Nullable Block[]> pin) {
        pins.removeIf(one -> one == pin);
        while (!pin.isEmpty()) {
            giveUpLast(pin, ReleaseHint.KEEP, NORMAL);
        }
    }

    private void giveUpLast(List<@Nullable Block[]> rows, ReleaseHint hint, int rank) {
        for (Block block : rows.remove(rows.size() - 1)) {
            if (block != null) {
                pool.giveUp(block, hint, rank);
            }
        }
    }

    Admission canAdmit(SequenceOptions options, List<Integer> tokens, int maxNew, int watermark) {
        int most = 0;
        int needed = 0;
        for (int window : windows) {
            most += atOnce(tokens.size() + maxNew, window, blockSize);
            needed += atOnce(tokens.size(), window, windows.size() == 1 ? tokens.size() : window);
        }
        if (most > totalBlocks) {
            return new Admission(Admission.Answer.NEVER, most - totalBlocks);
        }
        int kept = entries.isEmpty() ? 0 : watermark;
        if (needed > totalBlocks) { // which only a window makes possible: it may begin when nobody else holds blocks
            needed = totalBlocks - kept;
        }
        Entry asked = new Entry(options);
        asked.tokens.addAll(tokens);
        asked.epoch = epoch;
        int end = 0;
        for (int tried = 1; tried * blockSize < tokens.size(); tried++) {
            end = isThere(asked, 0, tried, windows.size() > 1) ? tried : end;
        }
        for (int group = 0; group < windows.size(); group++) {
            for (int index = windows.size() == 1 ? 0 : firstSeen(group, end); index < end; index++) {
                needed -= pool.cached.contains(find(asked, index, group)) ? 0 : 1;
            }
        }
        int missing = needed - freeBlocks() + kept;
        return missing <= 0 ? new Admission(Admission.Answer.NOW, 0) : new Admission(Admission.Answer.LATER, missing);
    }

    /** Blocks of a text that is computed in steps of {@code step} tokens. */
    private int atOnce(int tokens, int window, int step) {
        int whole = rows(tokens);
        return window == 0 ? whole : Math.min(whole, rows(window - 1 + step + blockSize - 1));
    }

    private int rows(int tokens) {
        return (tokens + blockSize - 1) / blockSize;
    }

    boolean reserve(Entry entry, int count) {
        int last = entry.computed / blockSize;
        Block[] begun = last < entry.blocks.size() ? entry.blocks.get(last) : new Block[0];
        int created = (rows(entry.computed + count) - entry.blocks.size()) * windows.size();
        int room = freeBlocks();
        int shared = 0;
        int known = 0;
        for (int group = 0; group < windows.size(); group++) {
            for (int index = 0; index < firstSeenAt(group, entry.computed); index++) {
                Block block = entry.blocks.get(index)[group];
                room += block != null && holders(block) == 1 ? 1 : 0;
            }
        }
        for (Block block : begun) {
            shared += holders(block) > 1 ? 1 : 0;
            known += holders(block) == 1 && pool.registered.containsValue(block) ? 1 : 0;
        }
        if (created + shared > room) {
            return false;
        }
        boolean copiesFit = created + shared + known <= room;
        for (int group = 0; group < windows.size(); group++) {
            for (int index = 0; index < firstSeenAt(group, entry.computed); index++) {
                fallOut(entry, index, group);
            }
        }
        for (int group = 0; group < begun.length; group++) {
            Block block = begun[group];
            if (holders(block) > 1 || (copiesFit && pool.registered.containsValue(block))) {
                begun[group] = pool.take();
                pool.giveUp(block, ReleaseHint.KEEP, NORMAL);
                copied++;
            } else if (pool.registered.containsValue(block)) {
                pool.unregister(block);
            }
        }
        while (entry.blocks.size() < rows(entry.computed + count)) {
            Block[] row = new Block[windows.size()];
            entry.blocks.add(row);
            for (int group = 0; group < row.length; group++) {
                row[group] = pool.take();
            }
        }
        join(entry);
        entry.scheduled = count;
        return true;
    }

    void settle(Entry entry, boolean computed) {
        if (computed) {
            int before = entry.computed;
            entry.computed += entry.scheduled;
            for (int i = before / blockSize; i < entry.computed / blockSize && entry.epoch == epoch; i++) {
                register(entry, i);
            }
        }
        boolean isKnown = (entry.computed / blockSize + 1) * blockSize <= entry.tokens.size();
        if (computed && entry.epoch == epoch && (entry.leads != null || isKnown)) {
            lead(entry);
        }
        entry.scheduled = 0;
        dropBlocksBehind(entry, entry.computed, ReleaseHint.KEEP);
        if (entry.closed) {
            remove(entry);
        }
    }

    private void register(Entry entry, int index) {
        for (int group = 0; group < windows.size(); group++) {
            Block block = entry.blocks.get(index)[group];
            if (block != null) {
                Prefix prefix = entry.prefix((index + 1) * blockSize, group);
                pool.register(prefix, block, before(entry, index, group), entry.options, entry.ofOtherClass);
            }
        }
    }

    private static @Nullable Block before(Entry entry, int index, int group) {
        return index == 0 ? null : entry.blocks.get(index - 1)[group];
    }

    void truncate(Entry entry, int length) {
        entry.tokens.subList(length, entry.tokens.size()).clear();
        entry.computed = Math.min(entry.computed, length);
        entry.cached = Math.min(entry.cached, length);
        entry.asked = Math.min(entry.asked, length);
        entry.likelyEnds = IntStream.of(entry.likelyEnds)
                .map(end -> Math.min(end, length / blockSize))
                .toArray();
        entry.leads = null;
        dropBlocksBehind(entry, entry.computed, ReleaseHint.KEEP);
    }

    /** The least length, but 0, that it can be truncated to: all that its next token sees is there. */
    int leastLength(Entry entry) {
        int least = 0;
        for (int group = 0; group < windows.size(); group++) {
            int gone = entry.gone(group);
            least = Math.max(least, gone == 0 ? 0 : gone * blockSize + windows.get(group) - 1);
        }
        return Math.min(least, entry.computed);
    }

    /** What it was when it went away: its tokens, and null in the place of each block, or in that of one that is gone and no row. */
    Entry away(Entry entry) {
        Entry away = new Entry(entry.options);
        away.tokens.addAll(entry.tokens);
        entry.blocks.forEach(row -> away.blocks.add(row.clone()));
        away.computed = entry.computed;
        away.cached = entry.cached;
        away.epoch = entry.epoch;
        away.ofOtherClass = entry.ofOtherClass;
        return away;
    }

    /** Back from where nothing of it was known; null when it does not fit. */
    @Nullable
    Entry restore(Entry away) {
        int known = known(away, away.computed / blockSize);
        int needed = 0;
        for (int index = 0; index < away.blocks.size(); index++) {
            for (int group = 0; group < windows.size(); group++) {
                boolean shared =
                        index < known && index >= away.gone(group) && !pool.cached.contains(find(away, index, group));
                needed += index >= away.gone(group) && !shared ? 1 : 0;
            }
        }
        if (needed > freeBlocks()) {
            return null;
        }
        Entry entry = add(away.options, away.tokens);
        entry.epoch = away.epoch;
        entry.ofOtherClass = away.ofOtherClass;
        for (int index = 0; index < away.blocks.size(); index++) {
            Block[] row = new Block[windows.size()];
            entry.blocks.add(row);
            for (int group = 0; group < row.length; group++) {
                if (index >= away.gone(group) && index < known) {
                    Prefix prefix = away.prefix((index + 1) * blockSize, group);
                    row[group] = pool.use(prefix, before(entry, index, group), away.options);
                } else if (index >= away.gone(group)) {
                    row[group] = pool.take();
                }
            }
        }
        entry.computed = away.computed;
        entry.cached = away.cached;
        for (int i = known; i < entry.computed / blockSize && entry.epoch == epoch; i++) {
            register(entry, i);
        }
        return entry;
    }

    /** From a file: with blocks of its own, as if it had been computed now; null when they do not fit. */
    @Nullable
    Entry restoreOwn(Entry saved, SequenceOptions options) {
        if (blocks(saved.blocks).count() > freeBlocks()) {
            return null;
        }
        Entry entry = add(options, saved.tokens);
        for (Block[] savedRow : saved.blocks) {
            Block[] row = new Block[windows.size()];
            entry.blocks.add(row);
            for (int group = 0; group < row.length; group++) {
                row[group] = savedRow[group] == null ? null : pool.take();
            }
        }
        entry.computed = saved.computed;
        for (int i = 0; i < entry.computed / blockSize; i++) {
            register(entry, i);
        }
        return entry;
    }

    void close(Entry entry, ReleaseHint hint) {
        entry.closed = true;
        entry.hint = hint;
        if (entry.scheduled == 0) {
            remove(entry);
        }
    }

    private void remove(Entry entry) {
        for (int group = 0; group < windows.size() && windows.get(0) == 0; group++) {
            for (int index = 0; index < firstSeenAt(group, entry.computed) && entry.hint == ReleaseHint.KEEP; index++) {
                fallOut(entry, index, group);
            }
        }
        dropBlocksBehind(entry, 0, entry.hint);
        entries.remove(entry);
    }

    private void dropBlocksBehind(Entry entry, int tokens, ReleaseHint hint) {
        while ((entry.blocks.size() - 1) * blockSize >= tokens) {
            giveUpLast(entry.blocks, hint, entry.options.priority().rank());
        }
    }

    /** For other weights: equal prefixes are others than before. */
    void clearPrefixes() {
        clear();
        pool.forgetKeys();
    }

    /** Because scales were set; they are the same ones. */
    void clear() {
        epoch++;
        entries.forEach(entry -> entry.leads = null);
        pool.unregisterAll();
    }

    /** Table entries, pins and copies. */
    int holders(Block block) {
        int count = block == source ? 1 : 0;
        for (Entry entry : entries) {
            count += count(entry.blocks, block);
        }
        for (List<@Nullable Block[]> pin : pins) {
            count += count(pin, block);
        }
        return count;
    }

    private static int count(List<@Nullable Block[]> rows, Block wanted) {
        int count = 0;
        for (Block[] row : rows) {
            for (Block block : row) {
                count += block == wanted ? 1 : 0;
            }
        }
        return count;
    }

    /** Those nobody holds, cached or not. */
    int freeBlocks() {
        Set<Block> held = pinned();
        if (source != null) {
            held.add(source);
        }
        entries.forEach(entry -> blocks(entry.blocks).forEach(held::add));
        return totalBlocks - held.size();
    }

    private static Set<Block> identitySet() {
        return Collections.newSetFromMap(new IdentityHashMap<>());
    }

    CacheStats stats(long poolBytes) {
        long stored = entries.stream().mapToLong(entry -> entry.computed).sum();
        int free = freeBlocks();
        return new CacheStats(
                totalBlocks,
                free,
                pool.cached.size(),
                totalBlocks - free,
                pinned().size(),
                stored,
                entries.size(),
                pool.allocated,
                copied,
                pool.evicted,
                queried,
                hit,
                partlyHit,
                0,
                poolBytes);
    }
}
