package dev.kv8;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What the manager should do, as naively as it can be said: a block is an object, a sequence a list of them, who shares what is
 * found by looking at everybody, a prefix is known by its salt and the list of its tokens, reserving walks token by token, and
 * who makes room is found by searching among those of the lowest rank, or by an {@link EvictionOracle} among the normal ones.
 */
final class CacheOracle {
    private static final int DEMOTED = 0;
    private static final int NORMAL = CachePriority.NORMAL.rank();
    private static final long NEVER = Long.MAX_VALUE;

    /** A block; what is said of its worth counts while it is registered. */
    static final class Block {
        /** By which the policy knows it. */
        final int number;

        int rank;
        long limit;
        /** When it loses its rank, while nobody holds it. */
        long due = NEVER;
        /** The only one that hangs on it, as far as was registered since it is. */
        @Nullable
        Prefix child;

        boolean severalChildren;
        /** It is known why its parent may go before it. */
        boolean mayBeOrphaned;
        /** It lost its class by time, or was used again while those that hang on it were not. */
        boolean mayGoFirst;

        Block(int number) {
            this.number = number;
        }

        void raise(SequenceOptions options) {
            int asked = options.priority().rank();
            limit = asked < rank ? limit : asked > rank ? options.limitTicks() : Math.max(limit, options.limitTicks());
            rank = Math.max(rank, asked);
        }

        void fall() {
            rank = rank > NORMAL ? NORMAL : DEMOTED;
            limit = NEVER;
            due = NEVER;
            mayGoFirst = true;
        }
    }

    /** What a full block is found by: all tokens up to its end, and for whom. */
    record Prefix(String salt, List<Integer> tokens) {}

    /** A sequence: its tokens and, for those computed or scheduled, its blocks. */
    static final class Entry {
        final SequenceOptions options;
        final List<Integer> tokens = new ArrayList<>();
        final List<Block> blocks = new ArrayList<>();
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

        boolean closed;
        ReleaseHint hint = ReleaseHint.KEEP;

        Entry(SequenceOptions options) {
            this.options = options;
        }

        /** All that moves between the sequences of a beam. */
        void exchange(Entry other) {
            exchange(tokens, other.tokens);
            exchange(blocks, other.blocks);
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

        private static <T> void exchange(List<T> one, List<T> other) {
            List<T> copy = List.copyOf(one);
            one.clear();
            one.addAll(other);
            other.clear();
            other.addAll(copy);
        }

        Prefix prefix(int length) {
            return new Prefix(options.salt(), List.copyOf(tokens.subList(0, length)));
        }
    }

    final int totalBlocks;
    final int blockSize;
    /** Sequences that hold blocks: open ones, and closed ones that are in a batch. */
    final List<Entry> entries = new ArrayList<>();

    /** The blocks of each open pin. */
    final List<List<Block>> pins = new ArrayList<>();

    /** The newest is the last. */
    final Map<Prefix, Block> registered = new LinkedHashMap<>();

    /** Registered ones that nobody holds; the one given up, or fallen, longest ago is the first. */
    final List<Block> cached = new ArrayList<>();

    /** What is being copied. */
    @Nullable
    private Block source;

    private final boolean partialReuse;
    private final EvictionOracle policy;
    private final boolean isLru;
    /** What the policy remembers prefixes by, while weights are what they are. */
    private final Map<Prefix, Long> policyKeys = new HashMap<>();

    private long nextPolicyKey;
    private int nextBlock;

    /** In ticks. */
    long now;

    int epoch;
    long allocated;
    long copied;
    long evicted;
    long queried;
    long hit;
    long partlyHit;

    CacheOracle(int totalBlocks, int blockSize, EvictionPolicyKind eviction, boolean partialReuse) {
        this.partialReuse = partialReuse;
        this.totalBlocks = totalBlocks;
        this.blockSize = blockSize;
        policy = EvictionOracle.of(eviction, totalBlocks);
        isLru = eviction == EvictionPolicyKind.LRU;
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
        for (int index = entry.computed / blockSize; (index + 1) * blockSize < entry.tokens.size(); index++) {
            Block block = registered.get(entry.prefix((index + 1) * blockSize));
            if (block == null) {
                break;
            }
            use(block, entry.options);
            if (index == entry.blocks.size()) {
                entry.blocks.add(block);
            } else {
                giveUp(entry.blocks.set(index, block), ReleaseHint.KEEP, NORMAL);
            }
            int found = (index + 1) * blockSize - entry.computed;
            entry.computed += found;
            entry.cached += found;
            hit += found;
        }
        if (!lead(entry)) {
            return false;
        }
        if (partialReuse && entry.computed % blockSize == 0) {
            copyPart(entry);
        }
        return true;
    }

    /** Copies the block that goes on with the most of its tokens, where that is worth it. */
    private void copyPart(Entry entry) {
        int best = Math.min(8, blockSize / 2);
        Block found = null;
        for (Map.Entry<Prefix, Block> one : registered.entrySet()) {
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
        use(found, entry.options);
        source = found;
        if (freeBlocks() > 0) {
            entry.blocks.add(take());
            entry.computed += best;
            entry.cached += best;
            hit += best;
            partlyHit += best;
        }
        source = null;
        giveUp(found, ReleaseHint.KEEP, NORMAL);
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
        Prefix next = entry.prefix(end);
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

    private void use(Block block, SequenceOptions options) {
        if (block.due <= now) {
            block.fall();
        }
        block.due = NEVER;
        cached.remove(block);
        policy.hit(block.number);
        block.raise(options);
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
        entry.blocks.addAll(from.blocks);
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
                && from.blocks.get(common) == to.blocks.get(common)) {
            common++;
        }
        dropBlocksBehind(to, common * blockSize, ReleaseHint.KEEP);
        to.blocks.addAll(from.blocks.subList(common, from.blocks.size()));
        to.tokens.clear();
        to.tokens.addAll(from.tokens);
        to.computed = from.computed;
        to.cached = 0;
        to.asked = 0;
        to.epoch = from.epoch;
    }

    /** The blocks that a pin of the first {@code tokens} tokens would hold. */
    List<Block> pinnable(Entry entry, int tokens) {
        List<Block> found = new ArrayList<>();
        for (int end = blockSize; end <= tokens && entry.epoch == epoch; end += blockSize) {
            Block block = registered.get(entry.prefix(end));
            if (block == null) {
                break;
            }
            found.add(block);
        }
        return found;
    }

    Set<Block> pinned() {
        Set<Block> pinned = identitySet();
        pins.forEach(pinned::addAll);
        return pinned;
    }

    List<Block> pin(Entry entry, int tokens) {
        List<Block> found = pinnable(entry, tokens);
        found.forEach(block -> use(block, entry.options));
        pins.add(found);
        return found;
    }

    void unpin(List<Block> pin) {
        pins.removeIf(one -> one == pin);
        for (int i = pin.size() - 1; i >= 0; i--) {
            giveUp(pin.get(i), ReleaseHint.KEEP, NORMAL);
        }
    }

    Admission canAdmit(SequenceOptions options, List<Integer> tokens, int maxNew, int watermark) {
        int whole = (tokens.size() + maxNew + blockSize - 1) / blockSize;
        if (whole > totalBlocks) {
            return new Admission(Admission.Answer.NEVER, whole - totalBlocks);
        }
        Entry asked = new Entry(options);
        asked.tokens.addAll(tokens);
        int needed = (tokens.size() + blockSize - 1) / blockSize;
        for (int end = blockSize; end < tokens.size(); end += blockSize) {
            Block block = registered.get(asked.prefix(end));
            if (block == null) {
                break;
            }
            needed -= cached.contains(block) ? 0 : 1;
        }
        int missing = needed - freeBlocks() + (entries.isEmpty() ? 0 : watermark);
        return missing <= 0 ? new Admission(Admission.Answer.NOW, 0) : new Admission(Admission.Answer.LATER, missing);
    }

    boolean reserve(Entry entry, int count) {
        int created = 0;
        boolean copy = false;
        for (int position = entry.computed; position < entry.computed + count; position++) {
            int index = position / blockSize;
            if (index >= entry.blocks.size() + created) {
                created++;
            } else if (index < entry.blocks.size()) {
                Block begun = entry.blocks.get(index);
                copy = holders(begun) > 1 || registered.containsValue(begun);
            }
        }
        Block begun = copy ? entry.blocks.get(entry.computed / blockSize) : null;
        if (created + (copy ? 1 : 0) > freeBlocks()) {
            if (begun == null || created > freeBlocks() || holders(begun) > 1) {
                return false;
            }
            unregister(begun);
            begun = null;
        }
        if (begun != null) {
            entry.blocks.set(entry.computed / blockSize, take());
            giveUp(begun, ReleaseHint.KEEP, NORMAL);
            copied++;
        }
        for (int i = 0; i < created; i++) {
            entry.blocks.add(take());
        }
        join(entry);
        entry.scheduled = count;
        return true;
    }

    private Block take() {
        allocated++;
        if (freeBlocks() == cached.size()) {
            evicted++;
            Block worst = evict();
            excuseChildren(worst, worst.mayGoFirst);
            registered.values().remove(worst);
        }
        return new Block(nextBlock++);
    }

    private void unregister(Block block) {
        excuseChildren(block, true);
        registered.values().remove(block);
        policy.forget(block.number);
    }

    private Block evict() {
        while (true) {
            Block first = null;
            for (Block block : cached) {
                if (block.due <= now && (first == null || block.due < first.due)) {
                    first = block;
                }
            }
            if (first == null) {
                break;
            }
            first.fall();
            cached.remove(first);
            cached.add(first);
        }
        int lowest = cached.stream().mapToInt(block -> block.rank).min().orElseThrow();
        List<Integer> candidates = cached.stream()
                .filter(block -> block.rank == lowest)
                .map(block -> block.number)
                .toList();
        int number = candidates.get(0);
        if (lowest == NORMAL) {
            number = policy.evict(candidates);
        } else {
            policy.forget(number);
        }
        for (Block block : cached) {
            if (block.number == number) {
                cached.remove(block);
                return block;
            }
        }
        throw new AssertionError("The policy chose a block that was no candidate.");
    }

    private void giveUp(Block block, ReleaseHint hint, int rank) {
        if (holders(block) > 0 || !registered.containsValue(block)) {
            return;
        }
        boolean hinted = block.rank <= rank;
        if (hinted && hint == ReleaseHint.DISCARD) {
            unregister(block);
            return;
        }
        if (hinted && hint == ReleaseHint.DEMOTE && !isNeeded(block)) {
            block.rank = DEMOTED;
            block.limit = NEVER;
        }
        block.due = block.limit == NEVER ? NEVER : now + block.limit;
        cached.add(block);
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
        Block block = entry.blocks.get(index);
        Block first = registered.putIfAbsent(entry.prefix((index + 1) * blockSize), block);
        if (first == null) {
            block.rank = DEMOTED;
            block.limit = NEVER;
            block.child = null;
            block.severalChildren = false;
            block.mayBeOrphaned = entry.ofOtherClass;
            block.mayGoFirst = false;
            block.raise(entry.options);
            Prefix prefix = entry.prefix((index + 1) * blockSize);
            policy.admit(block.number, policyKeys.computeIfAbsent(prefix, unknown -> nextPolicyKey++));
        } else if (holders(first) > 0) {
            first.raise(entry.options);
        } else if (first.rank < entry.options.priority().rank()) {
            use(first, entry.options);
            giveUp(first, ReleaseHint.KEEP, NORMAL);
            first.mayBeOrphaned = true; // it comes behind its parent, which was given up just before
        }
        if (index > 0) {
            hang(entry, index);
        }
    }

    private void hang(Entry entry, int index) {
        Prefix prefix = entry.prefix((index + 1) * blockSize);
        Block parent = registered.get(entry.prefix(index * blockSize));
        if (parent == null || parent != entry.blocks.get(index - 1)) {
            Objects.requireNonNull(registered.get(prefix)).mayBeOrphaned =
                    true; // who registered it holds a copy of its parent
        }
        if (parent != null && !prefix.equals(parent.child) && !parent.severalChildren) {
            parent.severalChildren = parent.child != null && registered.containsKey(parent.child);
            parent.child = prefix;
        }
    }

    private boolean isNeeded(Block block) {
        Block child = registered.get(block.child);
        return block.severalChildren || (child != null && child.rank > DEMOTED);
    }

    /** What hangs on {@code parent}, which is to be found no more. */
    private void excuseChildren(Block parent, boolean all) {
        registered.forEach((prefix, block) -> {
            if (all && prefix.tokens().size() > blockSize && registered.get(parentOf(prefix)) == parent) {
                block.mayBeOrphaned = true;
            }
        });
    }

    private Prefix parentOf(Prefix prefix) {
        return new Prefix(
                prefix.salt(),
                List.copyOf(prefix.tokens().subList(0, prefix.tokens().size() - blockSize)));
    }

    /**
     * Cached prefixes that nobody would find, because the block before is not cached, and nothing says why. An adaptive policy may say
     * why: it evicted the end of a chain too early before, and keeps it now.
     */
    List<Prefix> orphans() {
        return !isLru
                ? List.of()
                : registered.entrySet().stream()
                        .filter(entry -> !entry.getValue().mayBeOrphaned)
                        .map(Map.Entry::getKey)
                        .filter(prefix ->
                                prefix.tokens().size() > blockSize && !registered.containsKey(parentOf(prefix)))
                        .toList();
    }

    void truncate(Entry entry, int length) {
        entry.tokens.subList(length, entry.tokens.size()).clear();
        entry.computed = Math.min(entry.computed, length);
        entry.cached = Math.min(entry.cached, length);
        entry.asked = Math.min(entry.asked, length);
        entry.leads = null;
        dropBlocksBehind(entry, entry.computed, ReleaseHint.KEEP);
    }

    /** Back from where nothing of it was known; null when it does not fit. */
    @Nullable
    Entry restore(Entry away) {
        int blocks = (away.computed + blockSize - 1) / blockSize;
        List<Block> found = pinnable(away, away.computed);
        long held = found.stream().filter(block -> !cached.contains(block)).count();
        if (blocks - held > freeBlocks()) {
            return null;
        }
        Entry entry = add(away.options, away.tokens);
        entry.epoch = away.epoch;
        found.forEach(block -> {
            use(block, away.options);
            entry.blocks.add(block);
        });
        while (entry.blocks.size() < blocks) {
            entry.blocks.add(take());
        }
        entry.computed = away.computed;
        entry.cached = away.cached;
        for (int i = found.size(); i < entry.computed / blockSize && entry.epoch == epoch; i++) {
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
        dropBlocksBehind(entry, 0, entry.hint);
        entries.remove(entry);
    }

    private void dropBlocksBehind(Entry entry, int tokens, ReleaseHint hint) {
        while ((entry.blocks.size() - 1) * blockSize >= tokens) {
            Block last = entry.blocks.remove(entry.blocks.size() - 1);
            giveUp(last, hint, entry.options.priority().rank());
        }
    }

    /** For other weights: equal prefixes are others than before. */
    void clearPrefixes() {
        clear();
        policyKeys.clear();
    }

    /** Because scales were set; they are the same ones. */
    void clear() {
        epoch++;
        entries.forEach(entry -> entry.leads = null);
        registered.values().forEach(block -> policy.forget(block.number));
        registered.clear();
        cached.clear();
    }

    /** Table entries, pins and copies. */
    int holders(Block block) {
        int count = block == source ? 1 : 0;
        for (Entry entry : entries) {
            count += count(entry.blocks, block);
        }
        for (List<Block> pin : pins) {
            count += count(pin, block);
        }
        return count;
    }

    private static int count(List<Block> blocks, Block wanted) {
        int count = 0;
        for (Block block : blocks) {
            count += block == wanted ? 1 : 0;
        }
        return count;
    }

    /** Those nobody holds, cached or not. */
    int freeBlocks() {
        Set<Block> held = pinned();
        if (source != null) {
            held.add(source);
        }
        entries.forEach(entry -> held.addAll(entry.blocks));
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
                cached.size(),
                totalBlocks - free,
                pinned().size(),
                stored,
                entries.size(),
                allocated,
                copied,
                evicted,
                queried,
                hit,
                partlyHit,
                0,
                poolBytes);
    }
}
