package dev.kv8;

import java.lang.ref.Cleaner;
import java.nio.IntBuffer;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of one conversation and their place in a {@link KvCache}: the first {@link #computedTokens} have K and V stored,
 * the rest is pending until a {@link Batch} computes it.
 *
 * <p>Driven by the cache's writer thread; {@link #close} may be called from any thread. After close, all that needs the
 * cache's blocks is refused with {@link IllegalStateException}; token ids can still be read.
 */
public final class Sequence implements AutoCloseable {
    private static final long WAIT_NANOS = 50_000;

    final KvCache cache;
    final BlockTable table;
    private final BlockLedger ledger;
    private final Cleaner.Cleanable abandoned;
    private int cachedTokens;
    private int[] tokens;
    private int length;

    /** What it waits for from the tiers; for whoever is inside the cache. */
    @Nullable
    PrefixLoad loading;

    /** Takes {@code tokens} over; for a caller inside the ledger. */
    Sequence(KvCache cache, BlockTable table, int[] tokens, int length, int cachedTokens) {
        this.cache = cache;
        this.table = table;
        this.tokens = tokens;
        this.length = length;
        this.cachedTokens = cachedTokens;
        this.ledger = cache.ledger();
        ledger.open(table);
        this.abandoned = Abandoned.watchSequence(this, ledger, table);
    }

    /**
     * Adds one token that is not computed yet.
     *
     * @throws IllegalArgumentException when it is negative
     */
    public void append(int token) {
        ledger.enter();
        try {
            checkOpen();
            checkToken(token);
            ensureCapacity(length + 1);
            tokens[length++] = token;
        } finally {
            ledger.exit();
        }
    }

    /**
     * Adds tokens that are not computed yet.
     *
     * @throws IllegalArgumentException when one is negative; none is added then
     */
    public void append(int... ids) {
        ledger.enter();
        try {
            checkOpen();
            checkTokens(ids);
            ensureCapacity(length + ids.length);
            System.arraycopy(ids, 0, tokens, length, ids.length);
            length += ids.length;
        } finally {
            ledger.exit();
        }
    }

    static void checkTokens(int[] ids) {
        for (int id : ids) {
            checkToken(id);
        }
    }

    private static void checkToken(int id) {
        if (id < 0) {
            throw new IllegalArgumentException("Token id " + id + " is negative.");
        }
    }

    private void ensureCapacity(int needed) {
        if (needed < 0) {
            throw new IllegalStateException("A sequence holds at most " + Integer.MAX_VALUE + " tokens.");
        }
        if (needed > tokens.length) {
            tokens = Arrays.copyOf(tokens, (int) Math.min(Integer.MAX_VALUE - 8, Math.max(needed, 2L * tokens.length)));
        }
    }

    /** Tokens, computed and pending. */
    public int length() {
        return length;
    }

    /** Tokens whose K and V are stored. */
    public int computedTokens() {
        return table.computed;
    }

    /** Tokens that batches have still to compute; those of an open batch count until it is committed. */
    public int pendingTokens() {
        return length - table.computed;
    }

    /** The id of token {@code i}. */
    public int token(int i) {
        return tokens[Objects.checkIndex(i, length)];
    }

    /**
     * Tokens that were found stored when the sequence was opened, and so were not computed for it: whole blocks, and never all
     * of its tokens. 0 for a fork. It may grow while the sequence {@link #isLoading}.
     */
    public int cachedTokens() {
        return cachedTokens;
    }

    /** More of its prompt is stored than was when it was opened. */
    void took(int more) {
        cachedTokens += more;
    }

    /**
     * Whether blocks of its prompt are on their way from a tier. They count as computed when this turns false, which it does at the
     * latest at {@link Tiers#loadDeadline}. Until then an engine does well to let others run and ask again at the next step:
     *
     * <pre>{@code
     * if (!seq.isLoading()) { batch.add(seq); }
     * }</pre>
     *
     * <p>A sequence that is added to a batch all the same is computed from what it has, and no longer waits. Asking does what {@link
     * KvCache#poll} does. False for a fork, and without tiers.
     */
    public boolean isLoading() {
        ledger.enter();
        try {
            if (loading != null) {
                cache.pollTiers();
            }
            return loading != null && !isClosed();
        } finally {
            ledger.exit();
        }
    }

    /** Waits while it {@link #isLoading}, at most until {@link Tiers#loadDeadline}. Other sequences can be closed meanwhile. */
    public void awaitLoaded() {
        while (isLoading()) {
            LockSupport.parkNanos(WAIT_NANOS);
        }
    }

    /**
     * A sequence with the same tokens that shares the computed blocks. Whoever writes to a shared block first gets a copy of
     * it, so neither sees what the other adds. It costs no block before that.
     *
     * @throws IllegalStateException when this sequence is closed or in an open batch
     */
    public Sequence fork() {
        ledger.enter();
        try {
            checkOpen();
            checkNotScheduled("forked");
            return new Sequence(cache, ledger.fork(table), tokens.clone(), length, 0);
        } finally {
            ledger.exit();
        }
    }

    /**
     * Drops the tokens behind the first {@code newLength}, with the blocks that only they needed.
     *
     * @throws IllegalArgumentException when {@code newLength} is negative or above {@link #length}
     * @throws IllegalStateException when this sequence is closed or in an open batch
     */
    public void truncate(int newLength) {
        ledger.enter();
        try {
            checkOpen();
            checkNotScheduled("truncated");
            if (newLength < 0 || newLength > length) {
                throw new IllegalArgumentException(
                        "This sequence has " + length + " tokens; it can't be truncated to " + newLength + ".");
            }
            length = newLength;
            ledger.truncate(table, newLength);
        } finally {
            ledger.exit();
        }
    }

    /** At least {@link #length} ids; for reading. */
    int[] tokenIds() {
        return tokens;
    }

    void copyTokens(int from, int count, IntBuffer target, int targetIndex) {
        target.put(targetIndex, tokens, from, count);
    }

    void checkOpen() {
        if (table.isClosed()) {
            throw new IllegalStateException("This sequence of " + length + " tokens has been closed.");
        }
    }

    private void checkNotScheduled(String what) {
        if (table.scheduled > 0) {
            throw new IllegalStateException("This sequence is in an open batch with " + table.scheduled
                    + " tokens; commit or clear the batch before the sequence is " + what + ".");
        }
    }

    public boolean isClosed() {
        return table.isClosed();
    }

    /**
     * Gives the blocks back, from any thread: at once when nobody is inside the cache, else when the writer's call ends or
     * its next one begins, and for a sequence in an open batch when that is committed or cleared. Closing twice does
     * nothing.
     */
    @Override
    public void close() {
        if (table.close()) {
            ledger.requestRelease(table);
            abandoned.clean();
        }
    }
}
