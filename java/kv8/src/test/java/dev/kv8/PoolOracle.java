package dev.kv8;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.IntSupplier;
import java.util.function.ToIntFunction;
import org.jspecify.annotations.Nullable;

/**
 * Which blocks can be found and who of them makes room, for a {@link CacheOracle}: a prefix is known by its salt and the list of its tokens,
 * and who goes is found by searching among those of the lowest rank, or by an {@link EvictionOracle} among the normal ones.
 */
final class PoolOracle {
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

    /** What a full block is found by: all tokens up to its end, for whom, and of which layers it is. */
    record Prefix(String salt, List<Integer> tokens, int group) {}

    /** The newest is the last. */
    final Map<Prefix, Block> registered = new LinkedHashMap<>();

    /** Registered ones that nobody holds; the one given up, or fallen, longest ago is the first. */
    final List<Block> cached = new ArrayList<>();

    private final int blockSize;
    /** Of each group of layers, 0 for all keys. */
    private final List<Integer> windows;

    private final ToIntFunction<Block> holders;
    private final IntSupplier free;
    private final EvictionOracle policy;
    private final boolean isLru;
    /** What the policy remembers prefixes by, while weights are what they are. */
    private final Map<Prefix, Long> policyKeys = new HashMap<>();

    private long nextPolicyKey;
    private int nextBlock;

    /** In ticks. */
    long now;

    long allocated;
    long evicted;

    /**
     * @param holders says how many hold a block
     * @param free says how many blocks nobody holds, cached or not
     */
    PoolOracle(
            int totalBlocks,
            int blockSize,
            EvictionPolicyKind eviction,
            List<Integer> windows,
            ToIntFunction<Block> holders,
            IntSupplier free) {
        this.blockSize = blockSize;
        this.windows = windows;
        this.holders = holders;
        this.free = free;
        policy = EvictionOracle.of(eviction, totalBlocks);
        isLru = eviction == EvictionPolicyKind.LRU;
    }

    /** One more holds a registered block. */
    void use(Block block, SequenceOptions options) {
        if (block.due <= now) {
            block.fall();
        }
        block.due = NEVER;
        cached.remove(block);
        policy.hit(block.number);
        block.raise(options);
    }

    /** The same of a prefix's block, which comes behind {@code before} where it is held. */
    Block use(Prefix prefix, @Nullable Block before, SequenceOptions options) {
        Block block = Objects.requireNonNull(registered.get(prefix));
        use(block, options);
        excuseBehindCopy(prefix, before);
        return block;
    }

    /** A block that nobody holds; one that is cached only when all are. */
    Block take() {
        allocated++;
        if (free.getAsInt() == cached.size()) {
            evicted++;
            Block worst = evict();
            excuseChildren(worst, worst.mayGoFirst);
            registered.values().remove(worst);
        }
        return new Block(nextBlock++);
    }

    void unregister(Block block) {
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

    /** One less holds the block; what {@code hint} says counts for blocks of {@code rank} and below. */
    void giveUp(Block block, ReleaseHint hint, int rank) {
        if (holders.applyAsInt(block) > 0 || !registered.containsValue(block)) {
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

    /** A cached block of {@code rank} or below is worth no more than room, unless the policy knows better. */
    void demote(Block block, int rank) {
        if (cached.contains(block) && block.rank <= rank && !policy.isUsedOften(block.number)) {
            block.rank = DEMOTED;
            block.limit = NEVER;
            block.due = NEVER;
        }
    }

    /**
     * Registers a full block, or says of the one that is registered already what this one would have.
     *
     * @param before the one before it, where it was registered
     * @param ofOtherClass whether that may be of another class
     */
    void register(Prefix prefix, Block block, @Nullable Block before, SequenceOptions options, boolean ofOtherClass) {
        Block first = registered.putIfAbsent(prefix, block);
        if (first == null) {
            block.rank = DEMOTED;
            block.limit = NEVER;
            block.child = null;
            block.severalChildren = false;
            block.mayBeOrphaned = ofOtherClass;
            block.mayGoFirst = false;
            block.raise(options);
            policy.admit(block.number, policyKeys.computeIfAbsent(prefix, unknown -> nextPolicyKey++));
        } else if (holders.applyAsInt(first) > 0) {
            first.raise(options);
        } else if (first.rank < options.priority().rank()) {
            use(first, options);
            giveUp(first, ReleaseHint.KEEP, NORMAL);
            first.mayBeOrphaned = true; // it comes behind its parent, which was given up just before
        }
        excuseBehindCopy(prefix, before);
        if (prefix.tokens().size() > blockSize) {
            hang(prefix);
        }
    }

    /** Who holds a prefix behind a copy of its parent does not keep that one. */
    private void excuseBehindCopy(Prefix prefix, @Nullable Block before) {
        if (prefix.tokens().size() > blockSize) {
            Block parent = registered.get(parentOf(prefix));
            if (parent == null || parent != before) {
                Objects.requireNonNull(registered.get(prefix)).mayBeOrphaned = true;
            }
        }
    }

    private void hang(Prefix prefix) {
        Block parent = registered.get(parentOf(prefix));
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
                List.copyOf(prefix.tokens().subList(0, prefix.tokens().size() - blockSize)),
                prefix.group());
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
                                windows.get(prefix.group()) == 0) // else its beginning fell out of the window first
                        .filter(prefix ->
                                prefix.tokens().size() > blockSize && !registered.containsKey(parentOf(prefix)))
                        .toList();
    }

    /** For other weights: equal prefixes are others than before. */
    void forgetKeys() {
        policyKeys.clear();
    }

    void unregisterAll() {
        registered.values().forEach(block -> policy.forget(block.number));
        registered.clear();
        cached.clear();
    }
}
