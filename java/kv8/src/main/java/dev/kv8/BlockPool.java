package dev.kv8;

import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Which blocks are free, which are cached, and how many tables hold each of the others. Decision: flat int arrays, a stack of
 * free blocks and a policy over the cached ones, so handing one out or taking it back is a few memory accesses; no object per
 * block.
 *
 * <p>A block is in one of three states: free (on the stack), held (by one table or several), or cached: held by nobody, but
 * registered under the key of its content, to be shared again until its space is needed. A registered block is never written.
 *
 * <p>A fresh pool hands out block 0 first, and cached blocks only when none is free, in the order of {@link RankedEviction}.
 * Tables give their blocks back tail first, so the next taker gets them in ascending order again, and of a cached chain the tail
 * goes before what it hangs on. For the writer thread only.
 */
final class BlockPool {
    /** What the tables can address that remember four evicted keys for each block. */
    static final int MAX_BLOCKS = 1 << 26;

    /** What else knows registered blocks. */
    interface Unregistered {
        /** A block is no longer registered. */
        void remove(int block);

        /** Reads what that will read; see {@link ReadAhead}. */
        long read(int block);
    }

    private final int[] references;
    private final int[] freeStack;
    private final PrefixIndex index;
    private final RankedEviction cached;
    private final int[] pins;
    private final ReadAhead ahead = new ReadAhead();
    private Unregistered unregistered = new Unregistered() {
        @Override
        public void remove(int block) {}

        @Override
        public long read(int block) {
            return 0;
        }
    };
    private @Nullable CacheNews news;
    private int pinned;
    private int free;
    private long allocated;
    private long evicted;
    private long generation;

    /** At most {@link #MAX_BLOCKS}. */
    BlockPool(int blocks, EvictionPolicyKind eviction, LongSupplier clock) {
        this(blocks, eviction, clock, Integer.SIZE);
    }

    /** See {@link PrefixIndex#PrefixIndex(int, int)} for {@code hashBits}. */
    BlockPool(int blocks, EvictionPolicyKind eviction, LongSupplier clock, int hashBits) {
        references = new int[blocks];
        freeStack = new int[blocks];
        index = new PrefixIndex(blocks, hashBits);
        cached = new RankedEviction(eviction.create(blocks, index::fingerprint), blocks, clock);
        pins = new int[blocks];
        free = blocks;
        for (int i = 0; i < blocks; i++) {
            freeStack[i] = blocks - 1 - i;
        }
    }

    void tell(@Nullable CacheNews listener) {
        news = listener;
    }

    /** A block with one reference; {@link #available} must be above 0. */
    int allocate() {
        int block = free > 0 ? freeStack[--free] : evict();
        references[block] = 1;
        allocated++;
        return block;
    }

    private int evict() {
        int block = cached.evict();
        index.remove(block);
        unregistered.remove(block);
        evicted++;
        tellRemoved(block);
        return block;
    }

    /** One more table holds {@code block}, which another one holds. */
    void share(int block) {
        if (references[block] < 1) {
            throw new IllegalStateException("Block " + block + " is held by no table; it can't be shared.");
        }
        references[block]++;
    }

    /** One table less holds {@code block}; the last one caches it when it is registered, else frees it. */
    void release(int block) {
        release(block, ReleaseHint.KEEP, CachePriority.NORMAL.rank());
    }

    /** As {@link #release(int)}; {@code hint} is for blocks of {@code rank} and below. */
    void release(int block, ReleaseHint hint, int rank) {
        if (references[block] < 1) {
            throw new IllegalStateException("Block " + block + " is free; it can't be given back twice.");
        }
        if (--references[block] > 0) {
            return;
        }
        if (!index.contains(block)) {
            free(block);
        } else if (hint == ReleaseHint.KEEP || cached.rank(block) > rank) {
            cached.release(block);
        } else if (hint == ReleaseHint.DEMOTE) {
            if (isNeeded(block)) {
                cached.release(block);
            } else {
                cached.releaseDemoted(block);
            }
        } else {
            unregister(block);
            free(block);
        }
    }

    /** As {@link #release(int)}; a block of {@code rank} and below makes room first, whatever hangs on it, unless it is used often. */
    void releaseDemoted(int block, int rank) {
        if (references[block] == 1
                && index.contains(block)
                && cached.rank(block) <= rank
                && !cached.isUsedOften(block)) {
            references[block] = 0;
            cached.releaseDemoted(block);
        } else {
            release(block);
        }
    }

    private void free(int block) {
        freeStack[free++] = block;
        if (free == references.length) {
            generation++;
        }
    }

    // ---- prefixes

    /** The block registered under a key; -1 when there is none. */
    int find(long[] key, int at) {
        return index.find(key, at);
    }

    /**
     * One more table holds the block registered under a key, held or cached until now, and it matters as much as {@code options}
     * says; -1 when there is none.
     */
    int take(long[] key, int at, SequenceOptions options) {
        int block = index.find(key, at);
        if (block >= 0) {
            take(block, options);
        }
        return block;
    }

    /** As {@link #take(long[], int, SequenceOptions)}, for a registered block that was found. */
    void take(int block, SequenceOptions options) {
        cached.hit(block, options.priority().rank(), options.limitTicks());
        references[block]++;
    }

    /**
     * Registers a held block under the key of its content. It must not be written after. When another one has the same content,
     * that one stays, and matters as much as this one would.
     *
     * @return whether it is registered now
     */
    boolean register(int block, long[] key, int at, SequenceOptions options) {
        int rank = options.priority().rank();
        long limit = options.limitTicks();
        if (index.add(block, key, at)) {
            cached.admit(block, rank, limit);
            return true;
        }
        int other = index.find(key, at);
        if (references[other] > 0) {
            cached.raise(other, rank, limit);
        } else if (cached.rank(other) < rank) {
            cached.hit(other, rank, limit);
            cached.release(other);
        }
        return false;
    }

    /**
     * A registered block hangs on the registered {@code parent}; {@code key} begins its key. Of a parent the only child is remembered by 28
     * bits, or that there were several at once: enough to tell the end of a conversation from a prefix that others go on from, without a list
     * of children or a look at the parent of what is evicted.
     */
    void hang(int parent, long key) {
        int child = (int) key & RankedEviction.SEVERAL;
        int known = cached.child(parent);
        if (known == child || known == RankedEviction.SEVERAL) {
            return;
        }
        boolean first = known == RankedEviction.CHILDLESS || child(known) < 0;
        cached.setChild(parent, first && child != RankedEviction.CHILDLESS ? child : RankedEviction.SEVERAL);
    }

    private int child(int known) {
        return index.find(known, RankedEviction.SEVERAL);
    }

    /** Whether a block that is not demoted hangs on this one, as far as is known: without it nobody would find that one. */
    private boolean isNeeded(int block) {
        int known = cached.child(block);
        if (known == RankedEviction.CHILDLESS || known == RankedEviction.SEVERAL) {
            return known == RankedEviction.SEVERAL;
        }
        int child = child(known);
        return child >= 0 && cached.rank(child) > RankedEviction.DEMOTED;
    }

    /** {@code listener} hears of every block that is no longer registered. */
    void whenUnregistered(Unregistered listener) {
        unregistered = listener;
    }

    /** A registered block is held once more, by a pin. */
    void pin(int block, SequenceOptions options) {
        take(block, options);
        if (pins[block]++ == 0) {
            pinned++;
        }
    }

    void unpin(int block) {
        if (pins[block] < 1) {
            throw new IllegalStateException("Block " + block + " is not pinned.");
        }
        if (--pins[block] == 0) {
            pinned--;
        }
        release(block);
    }

    boolean isPinned(int block) {
        return pins[block] > 0;
    }

    /** Blocks held by one pin or several. */
    int pinned() {
        return pinned;
    }

    /** The key under which the block is registered, or was last. */
    BlockKey key(int block) {
        return index.key(block);
    }

    boolean isRegistered(int block) {
        return index.contains(block);
    }

    /** Forgets the key of a registered block; a held one may be written then. */
    void unregister(int block) {
        drop(block);
        tellRemoved(block);
    }

    private void drop(int block) {
        index.remove(block);
        unregistered.remove(block);
        cached.forget(block);
    }

    private void tellRemoved(int block) {
        if (news != null) {
            news.removed(key(block));
        }
    }

    /** Forgets all keys: cached blocks become free. */
    void unregisterAll() {
        for (int block = 0; index.size() > 0; block++) {
            if (index.contains(block)) {
                drop(block);
                if (references[block] == 0) {
                    free(block);
                }
            }
        }
        if (news != null) {
            news.cleared();
        }
    }

    // ---- before many of the same operations; see ReadAhead

    /** Before {@code count} times {@link #allocate}; reads for {@link ReadAhead#BLOCKS} of them at most. */
    void readForAllocations(int count) {
        int[] blocks = ahead.blocks;
        int most = Math.min(ReadAhead.BLOCKS, count - free);
        if (most <= 0) {
            return;
        }
        int chosen = cached.readEvictions(ahead, most);
        long sum = 0;
        for (int i = 0; i < chosen; i++) {
            sum += index.read(blocks[i]) + references[blocks[i]] + unregistered.read(blocks[i]);
        }
        ahead.add(sum);
    }

    /** Before {@link #register} of {@code block} under a key; without waiting for others like it. */
    void readForRegistration(int block, long[] key, int at) {
        ahead.add(index.read(key, at) + index.readKey(block) + cached.readAdmission(block, key[at]));
    }

    /** What others read ahead. */
    void haveRead(long sum) {
        ahead.add(sum);
    }

    /** Before {@link #take} of the {@code count} keys from {@code at} on, {@link ReadAhead#BLOCKS} at most. */
    void readForTaking(long[] keys, int at, int count) {
        int[] blocks = ahead.blocks;
        long sum = 0;
        for (int i = 0; i < count; i++) {
            sum += index.read(keys, at + i * PrefixIndex.KEY);
        }
        for (int i = 0; i < count; i++) {
            int block = index.candidate(keys, at + i * PrefixIndex.KEY);
            blocks[i] = block;
            sum += index.readKey(block) + references[block];
        }
        ahead.add(sum + cached.readUses(blocks, count));
    }

    /** Before {@link #release} of the blocks from {@code from} to {@code to}, {@link ReadAhead#BLOCKS} at most, {@link BlockTable#GONE} among them. */
    void readForReleases(int[] held, int from, int to) {
        int[] blocks = ahead.blocks;
        long sum = 0;
        for (int i = from; i < to; i++) {
            int block = Math.max(0, held[i]);
            blocks[i - from] = block;
            sum += references[block] + (index.contains(block) ? 1 : 0);
        }
        ahead.add(sum + cached.readUses(blocks, to - from));
    }

    // ---- what there is

    int references(int block) {
        return references[block];
    }

    /** Blocks that {@link #allocate} can hand out: free and cached ones. */
    int available() {
        return free + cached.idle();
    }

    int cached() {
        return cached.idle();
    }

    int total() {
        return references.length;
    }

    /** Blocks ever handed out. */
    long allocated() {
        return allocated;
    }

    /** Cached blocks ever handed out. */
    long evicted() {
        return evicted;
    }

    /** Counts how often the pool became wholly free: nothing stored in an earlier generation exists any more. */
    long generation() {
        return generation;
    }

    /**
     * Checks that every block is in one state: on the free stack, once and not registered, or cached and registered, or
     * referenced; and that the policy counts as many cached ones.
     *
     * @throws IllegalStateException naming the block that is not
     */
    void checkInvariants() {
        boolean[] seen = new boolean[references.length];
        for (int i = 0; i < free; i++) {
            int block = freeStack[i];
            if (seen[block]) {
                throw new IllegalStateException("Block " + block + " is on the free stack twice.");
            }
            seen[block] = true;
        }
        int unreferenced = 0;
        int pinnedOnce = 0;
        for (int block = 0; block < references.length; block++) {
            if (pins[block] > references[block]) {
                throw new IllegalStateException(
                        "Block " + block + " has " + pins[block] + " pins among " + references[block] + " references.");
            }
            pinnedOnce += pins[block] > 0 ? 1 : 0;
            if (seen[block] && (references[block] > 0 || index.contains(block))) {
                throw new IllegalStateException("Block " + block + " is on the free stack, has " + references[block]
                        + " references and is " + (index.contains(block) ? "" : "not ") + "registered.");
            }
            if (references[block] == 0) {
                unreferenced++;
                if (!seen[block] && !index.contains(block)) {
                    throw new IllegalStateException("Block " + block + " is neither free, nor cached, nor held.");
                }
            }
        }
        cached.checkInvariants();
        if (pinnedOnce != pinned) {
            throw new IllegalStateException(pinnedOnce + " blocks are pinned, " + pinned + " are counted.");
        }
        if (unreferenced != available()) {
            throw new IllegalStateException(
                    unreferenced + " blocks have no reference, but " + available() + " can be handed out.");
        }
    }
}
