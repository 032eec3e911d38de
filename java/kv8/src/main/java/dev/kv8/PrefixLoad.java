package dev.kv8;

import static java.util.Objects.requireNonNull;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The blocks that a sequence waits for, from the first that the pool lacks: which have arrived, and how many can still come. A block
 * that does not come ends the load before it, because a prefix has no gaps. Tiers fill it from their threads; the writer takes the
 * frames in order. Once it is over, nothing arrives any more, and frames under way go back where they came from.
 *
 * <p>Where every group of layers has blocks of its own, which blocks it waits for is known only when a {@link GroupSearch} has asked
 * all tiers; until it has been planned, none comes and it is not complete.
 */
final class PrefixLoad {
    private final BlockKey first;
    private final @Nullable GroupSearch search;
    private final int[] tokens;
    private final List<Tier> tiers;
    private final BlockFrame form;
    private final long epoch;
    private final long startNanos = System.nanoTime();
    private final long deadlineNanos;
    private final double prefillTokensPerSecond;

    // Guarded by this.
    private List<WantedBlock> wanted = List.of();
    private List<BlockKey> keys = List.of();
    private double tokensPerBlock;
    private List<WantedBlock> cached = List.of();
    private boolean planned;
    private boolean part;
    private @Nullable Frame[] arrived = {};
    private @Nullable Tier[] from = {};
    /** Tiers that do something for this load which nobody has judged yet. */
    private final Set<Tier> unjudged = new HashSet<>();

    private int limit;
    private boolean unsure;
    private long lastArrival = startNanos;
    private boolean over;

    // For the writer thread.
    /** The loaded blocks, held until all who wait have taken them over. */
    final BlockTable holder;

    final List<Sequence> waiting = new ArrayList<>();
    int placed;
    private long[] sought = {};
    private int soughtFrom;

    /**
     * Still without blocks: {@link #plan(List, double)}, {@link #plan(int)} or {@link #planPart} gives them.
     *
     * @param first what sequences that lack the same next block have in common: the key of its tokens
     * @param search what plans it; null when the caller does
     * @param tokens of the prompt, not written any more; none when {@link PrefixCache#loaded} needs none
     * @param deadlineNanos on the clock of {@link System#nanoTime}
     */
    PrefixLoad(
            BlockKey first,
            SequenceOptions options,
            @Nullable GroupSearch search,
            int[] tokens,
            List<Tier> tiers,
            BlockFrame form,
            long epoch,
            long deadlineNanos,
            double prefillTokensPerSecond) {
        this.first = first;
        this.holder = new BlockTable(options);
        this.search = search;
        this.tokens = tokens;
        this.tiers = tiers;
        this.form = form;
        this.epoch = epoch;
        this.deadlineNanos = deadlineNanos;
        this.prefillTokensPerSecond = prefillTokensPerSecond;
    }

    /** It waits for these blocks, each of which spares {@code tokensEach} tokens' computation. */
    void plan(List<WantedBlock> blocks, double tokensEach) {
        plan(blocks, tokensEach, List.of(), false);
    }

    /** It waits for one block, of which the prompt can use {@code common} tokens. */
    void planPart(WantedBlock block, int common) {
        plan(List.of(block), common, List.of(), true);
    }

    /** It waits for what the search has found, once that has asked all tiers. */
    void plan(int blockSize) {
        GroupSearch found = search();
        int end = found.end();
        List<WantedBlock> missing = found.neededFromTiers(end);
        double tokensEach = missing.isEmpty() ? 0 : (double) found.gained(end) * blockSize / missing.size();
        plan(missing, tokensEach, found.neededFromPool(end), false);
    }

    /** Makes everything before it takes the lock, which the writer needs at each poll. */
    private void plan(List<WantedBlock> blocks, double tokensEach, List<WantedBlock> fromPool, boolean isPart) {
        List<WantedBlock> all = List.copyOf(blocks);
        List<BlockKey> allKeys = all.stream().map(WantedBlock::key).toList();
        Frame[] places = new Frame[all.size()];
        Tier[] origins = new Tier[all.size()];
        synchronized (this) {
            wanted = all;
            keys = allKeys;
            tokensPerBlock = tokensEach;
            cached = fromPool;
            part = isPart;
            arrived = places;
            from = origins;
            limit = over ? 0 : allKeys.size();
            planned = true;
        }
    }

    /** Whether it is of one block that only begins as the prompt goes on. */
    synchronized boolean isPart() {
        return part;
    }

    BlockKey first() {
        return first;
    }

    GroupSearch search() {
        return requireNonNull(search, "a load that is planned needs no search");
    }

    /** Whether the tiers were asked for each block before it was planned. */
    boolean isSearched() {
        return search != null;
    }

    synchronized List<BlockKey> keys() {
        return keys;
    }

    synchronized BlockKey key(int index) {
        return keys.get(index);
    }

    synchronized WantedBlock wanted(int index) {
        return wanted.get(index);
    }

    /** What the prompt needs besides and the pool had; each time but the first none. */
    synchronized List<WantedBlock> takeCached() {
        List<WantedBlock> once = cached;
        cached = List.of();
        return once;
    }

    /** Tokens whose computation {@code blocks} of the blocks spare. */
    synchronized double tokensOf(int blocks) {
        return tokensPerBlock * blocks;
    }

    /** Of the prompt; none when {@link PrefixCache#loaded} needs none. */
    int[] tokens() {
        return tokens;
    }

    BlockFrame form() {
        return form;
    }

    long epoch() {
        return epoch;
    }

    /** From the beginning to the last arrival. */
    synchronized long nanosOfArrivals() {
        return lastArrival - startNanos;
    }

    /** On the clock of {@link System#nanoTime}. */
    long deadlineNanos() {
        return deadlineNanos;
    }

    /** 0 when unknown. */
    double prefillTokensPerSecond() {
        return prefillTokensPerSecond;
    }

    /** The tier that is asked after {@code tier}, or first with null; null behind the last. */
    @Nullable
    Tier after(@Nullable Tier tier) {
        int next = tier == null ? 0 : tiers.indexOf(tier) + 1;
        return next < tiers.size() ? tiers.get(next) : null;
    }

    /** The tiers above {@code tier}. */
    List<Tier> fasterThan(Tier tier) {
        return tiers.subList(0, tiers.indexOf(tier));
    }

    // ---- from the tiers' threads

    synchronized boolean isOver() {
        return over;
    }

    /** Blocks that may still come or have come, from the first on. */
    synchronized int limit() {
        return over ? 0 : limit;
    }

    /** Takes a checked frame over; false when it is of no use any more, and stays the caller's. */
    synchronized boolean arrived(int index, Frame frame, Tier tier) {
        if (over || index >= limit) {
            return false;
        }
        arrived[index] = frame;
        from[index] = tier;
        lastArrival = System.nanoTime();
        return true;
    }

    /** The block will not come, so none behind it is of use. */
    synchronized void missing(int index) {
        limit = Math.min(limit, index);
    }

    /** A tier that might have blocks was not asked or did not give them: a block that is missing after this may be there. */
    synchronized void unsure() {
        unsure = true;
    }

    /** The tier's circuit breaker has let an operation through, which has to be judged: also when the load is over before it ends. */
    synchronized void begins(Tier tier) {
        unjudged.add(tier);
    }

    /** The operation has ended; true when it is the tier's to judge, false when it was late and has been judged for that. */
    synchronized boolean ends(Tier tier) {
        return unjudged.remove(tier);
    }

    // ---- for the writer

    /** It is begun for a prompt's blocks from {@code from} to before {@code to}, whose keys are in {@code words}. */
    void seek(long[] words, int from, int to) {
        sought = Arrays.copyOfRange(words, from * PrefixIndex.KEY, to * PrefixIndex.KEY);
        soughtFrom = from;
    }

    /** Whether it was begun for a prompt's block {@code index} too, by its key in {@code words}: not by a shorter prompt. */
    boolean hasSought(long[] words, int index) {
        int at = (index - soughtFrom) * PrefixIndex.KEY;
        int end = at + PrefixIndex.KEY;
        int in = index * PrefixIndex.KEY;
        return at >= 0 && end <= sought.length && Arrays.equals(sought, at, end, words, in, in + PrefixIndex.KEY);
    }

    /** The next block's frame, which is the caller's then; null when it has not arrived. */
    synchronized @Nullable Frame takeNext() {
        if (!planned || placed >= limit) {
            return null;
        }
        Frame frame = arrived[placed];
        arrived[placed] = null;
        return frame;
    }

    /** Where the block came from. */
    synchronized @Nullable Tier origin(int index) {
        return from[index];
    }

    /** Whether all tiers said that they don't have the first block. */
    synchronized boolean isAbsent() {
        return planned && limit == 0 && !unsure;
    }

    synchronized boolean isComplete() {
        return planned && placed >= limit;
    }

    /** Whether tiers are still busy with it. */
    synchronized boolean isUnderWay() {
        return !unjudged.isEmpty();
    }

    /** The tiers that have not finished at the deadline, for the caller to judge. */
    synchronized List<Tier> takeLate() {
        List<Tier> late = List.copyOf(unjudged);
        unjudged.clear();
        return late;
    }

    /** Ends it: frames that arrived go back. */
    synchronized void end() {
        over = true;
        for (int i = 0; i < arrived.length; i++) {
            Frame frame = arrived[i];
            if (frame != null) {
                frame.release();
                arrived[i] = null;
            }
        }
    }
}
