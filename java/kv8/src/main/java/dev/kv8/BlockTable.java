package dev.kv8;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a sequence holds in the pool: the blocks in token order, how many tokens are stored in them, and whether it may be
 * released. It is apart from {@link Sequence} so that it outlives a sequence that was closed in the middle of a step, or
 * dropped without close.
 *
 * <p>Outside of a batch it has exactly the blocks that {@code computed} tokens need; in one, those of {@code computed +
 * scheduled}. With a window, blocks before it are {@link #GONE}. All but {@code end} is for the writer thread only.
 *
 * <p>Of several {@linkplain LayerGroups groups of layers} each has a block for the same tokens; they lie beside each other. Methods that
 * name no group are for tables with one.
 */
final class BlockTable {
    private static final VarHandle END;

    /** How a table ended, and what that says of its blocks. */
    private enum End {
        KEPT(ReleaseHint.KEEP),
        DEMOTED(ReleaseHint.DEMOTE),
        DISCARDED(ReleaseHint.DISCARD),
        CANCELLED(ReleaseHint.KEEP);

        final ReleaseHint hint;

        End(ReleaseHint hint) {
            this.hint = hint;
        }

        static End of(ReleaseHint hint) {
            return switch (hint) {
                case KEEP -> KEPT;
                case DEMOTE -> DEMOTED;
                case DISCARD -> DISCARDED;
            };
        }
    }

    static {
        try {
            END = MethodHandles.lookup().findVarHandle(BlockTable.class, "end", End.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private static final int ALL = Integer.MAX_VALUE;
    private static final int LEAST_BLOCKS = 8;

    /** Instead of a block that was given back. */
    static final int GONE = -1;

    private final int groups;
    /** {@code [size][groups]}. */
    private int[] blocks = {};

    private int size;

    /** By group: blocks at the front that were given back because they fell out of the window; their entries are {@link #GONE}. */
    private int[] gone;

    private LikelyEnds ends = new LikelyEnds();

    /** The keys of the first {@link #keyCount} full blocks, {@link PrefixIndex#KEY} longs each. */
    private long[] keys = {};

    /** How many keys at the front other tables may read; {@link #ALL} where another one may write those behind. */
    private int sharedKeys;

    /** Blocks whose keys are known; those of blocks not computed yet can be. */
    int keyCount;

    /** The {@link PrefixCache} epoch that the content and the keys belong to. */
    long epoch;

    /** Tokens whose K and V are stored. */
    int computed;

    /** Tokens at the front that count as asked for; those computed do without being counted here. */
    int queried;

    /** Tokens of the open batch that this table is in; 0 when it is in none. */
    int scheduled;

    /** Whether it is in {@link PrefixLeaders}, and by which first 64 bits of a key. */
    boolean leads;

    long ledFingerprint;

    /** Its blocks have been given back; happens once. */
    boolean released;

    /** The next in {@link ReleaseQueue}; a table enters it once. */
    @Nullable
    BlockTable nextReleased;

    /** Null while open; by END. */
    @SuppressWarnings("UnusedVariable")
    private volatile @Nullable End end;

    private final SequenceOptions options;
    private final boolean pin;

    /** Of a sequence opened with {@code options}, in a cache whose blocks have all layers. */
    BlockTable(SequenceOptions options) {
        this(options, 1);
    }

    /** Of a sequence opened with {@code options}. */
    BlockTable(SequenceOptions options, int groups) {
        this(options, groups, false);
    }

    private BlockTable(SequenceOptions options, int groups, boolean pin) {
        this.options = options;
        this.groups = groups;
        this.pin = pin;
        gone = new int[groups];
    }

    /** Of a pin, whose blocks are pinned and given back as such. */
    static BlockTable ofPin(SequenceOptions options, int groups) {
        return new BlockTable(options, groups, true);
    }

    SequenceOptions options() {
        return options;
    }

    boolean isPin() {
        return pin;
    }

    int groups() {
        return groups;
    }

    /** Blocks of one group, those that are gone included. */
    int size() {
        return size;
    }

    /** Blocks of all groups that are not gone. */
    int held() {
        int held = size * groups;
        for (int count : gone) {
            held -= count;
        }
        return held;
    }

    int block(int index) {
        return blocks[index];
    }

    int block(int index, int group) {
        return blocks[index * groups + group];
    }

    /** {@code [size][groups]}. */
    int[] blocks() {
        return blocks;
    }

    /** Makes room for {@code capacity} blocks of each group. */
    void ensureCapacity(int capacity) {
        int entries = Math.multiplyExact(capacity, groups);
        if (entries > blocks.length) {
            blocks = Arrays.copyOf(blocks, Math.max(Math.max(entries, LEAST_BLOCKS), 2 * blocks.length));
        }
    }

    long[] keys() {
        return keys;
    }

    /** Makes room for the keys of {@code count} blocks, and lets those that are not known yet be written. */
    void ensureKeys(int count) {
        int longs = count * PrefixIndex.KEY;
        if (longs > keys.length || (count > keyCount && keyCount < sharedKeys)) {
            long[] own = new long[Math.max(longs, 2 * keyCount * PrefixIndex.KEY)];
            System.arraycopy(keys, 0, own, 0, keyCount * PrefixIndex.KEY);
            keys = own;
            sharedKeys = 0;
        }
    }

    /** Capacity must have been ensured. */
    void add(int block) {
        blocks[size++] = block;
    }

    /**
     * Adds new blocks of each group, but where they are gone, until it has {@code newSize} of them. Capacity must have been ensured, and
     * the pool have them. A cached chain is evicted from its tail on, and is made to ascend again, as it did when it was written:
     * neighbours in the table are neighbours in memory then, which may be copied together.
     */
    void grow(int newSize, BlockPool pool) {
        int begin = size;
        int most = Math.max(1, ReadAhead.BLOCKS / groups);
        for (; size < newSize; size++) {
            if ((size - begin) % most == 0 && newSize - size > 1) {
                pool.readForAllocations(Math.min(most, newSize - size) * groups);
            }
            for (int group = 0; group < groups; group++) {
                replace(size, group, size < gone[group] ? GONE : pool.allocate());
            }
        }
        for (int group = 0; group < groups; group++) {
            turnDescents(Math.max(begin, gone[group]), group);
        }
    }

    /** Reverses each run of descending blocks of a group, from {@code first} on; all of them are new. */
    private void turnDescents(int first, int group) {
        for (int from = first; from < size; ) {
            int end = from + 1;
            while (end < size && block(end, group) < block(end - 1, group)) {
                end++;
            }
            for (int low = from, high = end - 1; low < high; low++, high--) {
                int block = block(low, group);
                replace(low, group, block(high, group));
                replace(high, group, block);
            }
            from = end;
        }
    }

    void replace(int index, int block) {
        blocks[index] = block;
    }

    void replace(int index, int group, int block) {
        blocks[index * groups + group] = block;
    }

    /** Gives back the blocks behind the first {@code kept} of each group, the last one first. */
    void shrink(int kept, BlockPool pool) {
        while (size > kept) {
            size--;
            for (int group = 0; group < groups; group++) {
                if (size >= gone[group]) {
                    pool.release(block(size, group));
                }
            }
        }
        for (int group = 0; group < groups; group++) {
            gone[group] = Math.min(gone[group], size);
        }
    }

    int gone() {
        return gone[0];
    }

    int gone(int group) {
        return gone[group];
    }

    /** By group; a copy. */
    int[] goneByGroup() {
        return gone.clone();
    }

    /** The first {@code count} blocks of a table without blocks were given back before. */
    void beginWithGone(int count) {
        addGone(count);
        gone[0] = count;
    }

    /** Lets a table have {@code newSize} blocks of each group; the caller gives blocks to those that are not gone, and says which are. */
    void addGone(int newSize) {
        ensureCapacity(newSize);
        Arrays.fill(blocks, size * groups, newSize * groups, GONE);
        size = newSize;
    }

    /** The first {@code count} blocks of a group are gone. */
    void setGone(int group, int count) {
        gone[group] = count;
    }

    LikelyEnds ends() {
        return ends;
    }

    /** Gives back those of the first {@code count} blocks of a group that are still there. */
    void giveBackFront(int group, int count, LayerGroups layers, BlockPool pool) {
        for (; gone[group] < count; gone[group]++) {
            int block = block(gone[group], group);
            if (layers.hasLikelyEnds(group) && !ends.need(layers, group, gone[group])) {
                pool.releaseDemoted(block, options.priority().rank());
            } else {
                pool.release(block);
            }
            replace(gone[group], group, GONE);
        }
    }

    /** Gives back everything at its end, the last block first. */
    void releaseAll(BlockPool pool) {
        ReleaseHint hint = hint();
        int rank = options.priority().rank();
        int most = Math.max(1, ReadAhead.BLOCKS / groups);
        for (int end = size; size > 0; ) {
            if ((end - size) % most == 0 && size > 1) {
                pool.readForReleases(blocks, Math.max(0, size - most) * groups, size * groups);
            }
            size--;
            for (int group = 0; group < groups; group++) {
                int block = block(size, group);
                if (block == GONE) {
                    continue;
                }
                if (pin) {
                    pool.unpin(block);
                } else {
                    pool.release(block, hint, rank);
                }
            }
        }
        Arrays.fill(gone, 0);
    }

    /** Holds what {@code other} holds, instead of its own. What both have at the front stays, so no count of it moves. */
    void copy(BlockTable other, BlockPool pool) {
        copyBlocks(other, pool);
        keyCount = 0;
        ensureKeys(other.keyCount);
        System.arraycopy(other.keys, 0, keys, 0, other.keyCount * PrefixIndex.KEY);
        keyCount = other.keyCount;
    }

    /** As {@link #copy}, of a new table, which shares the array of keys until one of both writes where the other reads. */
    void fork(BlockTable other, BlockPool pool) {
        copyBlocks(other, pool);
        keys = other.keys;
        keyCount = other.keyCount;
        sharedKeys = ALL;
        other.sharedKeys = Math.max(other.sharedKeys, other.keyCount);
    }

    private void copyBlocks(BlockTable other, BlockPool pool) {
        int most = Math.min(size, other.size) * groups;
        int common = Arrays.mismatch(blocks, 0, most, other.blocks, 0, most);
        shrink((common < 0 ? most : common) / groups, pool);
        ensureCapacity(other.size);
        int end = other.size * groups;
        for (int at = size * groups; at < end; at++) {
            int block = other.blocks[at];
            if (block != GONE) {
                pool.share(block);
            }
            blocks[at] = block;
        }
        size = other.size;
        System.arraycopy(other.gone, 0, gone, 0, groups);
        ends.copy(other.ends);
        computed = other.computed;
        queried = 0; // it will ask for what it goes on with by itself
        epoch = other.epoch;
    }

    /**
     * The end of the leading blocks, {@code most} at most, that it shares with {@code other} in the first group, which sees most. Where one has
     * given its block back, what they share behind it says that the text is the same.
     */
    int commonBlocks(BlockTable other, int most) {
        int end = 0;
        for (int i = 0; i < Math.min(most, Math.min(size, other.size)); i++) {
            int own = block(i, 0);
            int others = other.block(i, 0);
            if (own == others && own != GONE) {
                end = i + 1;
            } else if (own != GONE && others != GONE) {
                break;
            }
        }
        return end;
    }

    /** Exchanges what it holds with {@code other}; neither may be in a batch, released, or lead a block, and both have one salt. */
    void swap(BlockTable other) {
        int[] ownBlocks = blocks;
        blocks = other.blocks;
        other.blocks = ownBlocks;
        int ownSize = size;
        size = other.size;
        other.size = ownSize;
        long[] ownKeys = keys;
        keys = other.keys;
        other.keys = ownKeys;
        int ownKeyCount = keyCount;
        keyCount = other.keyCount;
        other.keyCount = ownKeyCount;
        int ownSharedKeys = sharedKeys;
        sharedKeys = other.sharedKeys;
        other.sharedKeys = ownSharedKeys;
        long ownEpoch = epoch;
        epoch = other.epoch;
        other.epoch = ownEpoch;
        int[] ownGone = gone;
        gone = other.gone;
        other.gone = ownGone;
        LikelyEnds ownEnds = ends;
        ends = other.ends;
        other.ends = ownEnds;
        int ownComputed = computed;
        computed = other.computed;
        other.computed = ownComputed;
        int ownQueried = queried;
        queried = other.queried;
        other.queried = ownQueried;
    }

    /** What the end of a closed table says of its blocks. */
    ReleaseHint hint() {
        return Objects.requireNonNull(end, "an open table keeps its blocks").hint;
    }

    boolean isClosed() {
        return end != null;
    }

    boolean isCancelled() {
        return end == End.CANCELLED;
    }

    /** Marks it closed, from any thread; true for the first caller of this or {@link #cancel} only, whose hint counts. */
    boolean close(ReleaseHint hint) {
        return END.compareAndSet(this, null, End.of(hint));
    }

    /** {@link #close} that is told apart, and keeps what is cached. */
    boolean cancel() {
        return END.compareAndSet(this, null, End.CANCELLED);
    }
}
