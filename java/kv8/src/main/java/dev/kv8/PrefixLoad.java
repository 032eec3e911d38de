package dev.kv8;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The blocks that a sequence waits for, from the first that the pool lacks: which have arrived, and how many can still come. A block
 * that does not come ends the load before it, because a prefix has no gaps. Tiers fill it from their threads; the writer takes the
 * frames in order. Once it is over, nothing arrives any more, and frames under way go back where they came from.
 */
final class PrefixLoad {
    private final List<BlockKey> keys;
    private final @Nullable LoadText text;
    private final List<Tier> tiers;
    private final BlockFrame form;
    private final long epoch;
    private final long startNanos = System.nanoTime();
    private final long deadlineNanos;
    private final double prefillTokensPerSecond;

    // Guarded by this.
    private final @Nullable Frame[] arrived;
    private final @Nullable Tier[] from;
    private final Set<Tier> busy = new HashSet<>();
    private int limit;
    private long lastArrival = startNanos;
    private boolean over;

    // For the writer thread.
    /** The loaded blocks, held until all who wait have taken them over. */
    final BlockTable holder;

    final List<Sequence> waiting = new ArrayList<>();
    int placed;

    PrefixLoad(
            List<BlockKey> keys,
            SequenceOptions options,
            @Nullable LoadText text,
            List<Tier> tiers,
            BlockFrame form,
            long epoch,
            long deadlineNanos,
            double prefillTokensPerSecond) {
        this.keys = List.copyOf(keys);
        this.holder = new BlockTable(options);
        this.text = text;
        this.tiers = tiers;
        this.form = form;
        this.epoch = epoch;
        this.deadlineNanos = startNanos + deadlineNanos;
        this.prefillTokensPerSecond = prefillTokensPerSecond;
        this.limit = keys.size();
        this.arrived = new Frame[keys.size()];
        this.from = new Tier[keys.size()];
    }

    List<BlockKey> keys() {
        return keys;
    }

    BlockKey key(int index) {
        return keys.get(index);
    }

    /** Null when nobody listens to the cache. */
    @Nullable
    LoadText text() {
        return text;
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

    synchronized void begins(Tier tier) {
        busy.add(tier);
    }

    /** The tier's part has ended; false when the load was over before. */
    synchronized boolean ends(Tier tier) {
        busy.remove(tier);
        return !over;
    }

    // ---- for the writer

    /** The next block's frame, which is the caller's then; null when it has not arrived. */
    synchronized @Nullable Frame takeNext() {
        if (placed >= limit) {
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

    synchronized boolean isComplete() {
        return placed >= limit;
    }

    /** Ends it: frames that arrived go back. Returns the tiers that had not finished. */
    synchronized List<Tier> end() {
        over = true;
        for (int i = 0; i < arrived.length; i++) {
            Frame frame = arrived[i];
            if (frame != null) {
                frame.release();
                arrived[i] = null;
            }
        }
        return List.copyOf(busy);
    }
}
