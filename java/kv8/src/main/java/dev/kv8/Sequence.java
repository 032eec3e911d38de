package dev.kv8;

import java.lang.ref.Cleaner;
import java.nio.IntBuffer;
import java.util.Objects;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * The tokens of one conversation and their place in a {@link KvCache}: the first {@link #computedTokens} have K and V stored,
 * the rest is pending until a {@link Batch} computes it.
 *
 * <p>Driven by the cache's writer thread; {@link #close} and {@link #cancel} may be called from any thread. After either, all
 * that needs the cache's blocks is refused with {@link IllegalStateException}; token ids can still be read.
 */
public final class Sequence implements AutoCloseable {
    private static final long WAIT_NANOS = 50_000;

    private static final int ALL = Integer.MAX_VALUE;

    final KvCache cache;
    final BlockTable table;
    private final BlockLedger ledger;
    private final Cleaner.Cleanable abandoned;
    private int cachedTokens;
    private int[] tokens;
    private int length;

    /**
     * How many places at the front of {@link #tokens} other sequences may read, so that they must not be written: {@link #ALL} where another
     * one may write to those behind. A fork takes its parent's array over; who has to write where it must not gets an array of its own.
     */
    private int shared;

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
     * Adds one token that is not computed yet. It takes no block before a batch schedules it.
     *
     * @throws IllegalArgumentException when it is negative
     * @throws IllegalStateException when this sequence is closed
     */
    public void append(int token) {
        ledger.check();
        checkOpen();
        checkToken(token);
        makeRoom(length + 1);
        tokens[length++] = token;
    }

    /**
     * Adds tokens that are not computed yet.
     *
     * @throws IllegalArgumentException when one is negative; none is added then
     */
    public void append(int... ids) {
        ledger.check();
        checkOpen();
        checkTokens(ids);
        makeRoom(length + ids.length);
        System.arraycopy(ids, 0, tokens, length, ids.length);
        length += ids.length;
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

    /** Lets the places from {@link #length} up to {@code needed} be written. */
    private void makeRoom(int needed) {
        if (needed > tokens.length || length < shared || needed < 0) {
            grow(needed);
        }
    }

    private void grow(int needed) {
        if (needed < 0) {
            throw new IllegalStateException("A sequence holds at most " + Integer.MAX_VALUE + " tokens.");
        }
        int[] own = new int[(int) Math.min(Integer.MAX_VALUE - 8, Math.max(needed, 2L * length))];
        System.arraycopy(tokens, 0, own, 0, length);
        tokens = own;
        shared = 0;
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

    /**
     * The id of token {@code i}, from 0.
     *
     * @throws IndexOutOfBoundsException when there are not so many
     */
    public int token(int i) {
        return tokens[Objects.checkIndex(i, length)];
    }

    /**
     * Tokens that were found stored when the sequence was opened or {@linkplain #catchUp caught up}, or came while it {@link
     * #isLoading}, and so were not computed for it: those of shared blocks, and of a copied part of one ({@link
     * KvCacheConfig#partialReuse}). What {@link #truncate} drops no longer counts, as far as there are fewer tokens left. 0 for a fork and for
     * a restored sequence until they catch up.
     */
    public int cachedTokens() {
        return cachedTokens;
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
     * KvCache#poll} does, unless that was done just now: many sequences that wait cost a step little more than one. False for
     * a fork, and without tiers.
     */
    public boolean isLoading() {
        ledger.enter();
        try {
            if (loading != null) {
                cache.pollTiersInTurn();
            }
            return loading != null && !isClosed();
        } finally {
            ledger.exit();
        }
    }

    /**
     * Waits while it {@link #isLoading}, at most until {@link Tiers#loadDeadline}. Other sequences can be closed meanwhile. An interrupted thread
     * waits no longer and stays interrupted: the sequence may be loading still.
     */
    public void awaitLoaded() {
        while (isLoadingAfterPoll() && !Thread.currentThread().isInterrupted()) {
            LockSupport.parkNanos(WAIT_NANOS);
        }
    }

    private boolean isLoadingAfterPoll() {
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

    /**
     * Takes over what has been stored for its pending tokens since it was opened, and says whether to compute the rest now: false
     * while another sequence, opened or advanced before, is about to compute the very block that this one needs next, and while
     * this one {@link #isLoading}. So of many sequences with one new prompt only one computes it, when an engine asks before each
     * step:
     *
     * <pre>{@code
     * if (sequence.catchUp()) {
     *     batch.add(sequence);
     * } // else leave it out of this step and ask again before the next one; it costs a lookup
     * }</pre>
     *
     * <p>It is advice and binds nobody. A sequence that is added all the same computes its tokens itself. Nobody is woken and no
     * thread waits: what another one has committed is there at the next call, and when that one is closed, cancelled or truncated, the first
     * to ask computes in its place. Only an engine that never runs the other one waits for ever, so one whose step would be
     * empty adds those that wait.
     *
     * @return true when it is up to this sequence to compute its pending tokens; always true without {@link
     *     KvCacheConfig#prefixCaching}
     * @throws IllegalStateException when this sequence is closed or in an open batch
     * @throws DeviceException when the copy of a part fails; it keeps what it had
     */
    public boolean catchUp() {
        ledger.enter();
        try {
            checkOpen();
            checkNotScheduled("caught up");
            if (loading != null) {
                cache.pollTiersInTurn();
            }
            return follow();
        } finally {
            ledger.exit();
        }
    }

    /** What {@link #catchUp} does inside the ledger. While it loads, it computes nothing, so nobody is to wait for it either. */
    boolean follow() {
        if (loading != null) {
            return false;
        }
        int before = table.computed;
        try {
            return ledger.catchUp(table, tokens, length);
        } finally {
            cachedTokens += table.computed - before;
        }
    }

    /** Takes over the whole blocks that are stored for it, such as those that it {@link #isLoading}. */
    void takeOver() {
        int before = table.computed;
        ledger.takeOver(table, tokens, length);
        cachedTokens += table.computed - before;
    }

    /** It is to be computed now, as it is: it waits for no tier, and others may wait for it. */
    void stopLoading() {
        if (loading != null) {
            cache.stopLoading(this);
            ledger.goOn(table, tokens, length);
        }
    }

    /** Nobody waits for its next block any more. */
    void stopLeading() {
        ledger.stopLeading(table);
    }

    /**
     * A sequence with the same tokens that shares the computed blocks. Whoever writes to a shared block first gets a copy of
     * it, so neither sees what the other adds. It costs no block before that, and copies no token: the token ids are shared too,
     * until the new sequence appends, or this one after {@link #truncate}.
     *
     * @throws IllegalStateException when this sequence is closed or in an open batch
     */
    public Sequence fork() {
        ledger.enter();
        try {
            checkOpen();
            checkNotScheduled("forked");
            Sequence fork = new Sequence(cache, ledger.fork(table), tokens, length, 0);
            fork.shared = ALL;
            shared = Math.max(shared, length);
            return fork;
        } finally {
            ledger.exit();
        }
    }

    /**
     * Drops the tokens behind the first {@code newLength}, with the blocks that only they needed. Of computed tokens none is pending
     * afterwards: to draw the next token anew, truncate one more and append that one again.
     *
     * @throws IllegalArgumentException when {@code newLength} is negative or above {@link #length}, or when the next token would
     *     see tokens that fell out of the {@linkplain KvCacheConfig#window window} before the last step
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
            if (newLength != 0 && newLength < Math.min(table.computed, ledger.leastLength(table))) {
                throw new IllegalArgumentException("This sequence can't be truncated to " + newLength
                        + " tokens: what the next one sees has been given back. Give 0, or "
                        + ledger.leastLength(table) + " to " + length + ".");
            }
            length = newLength;
            cachedTokens = Math.min(cachedTokens, newLength);
            ledger.truncate(table, newLength);
        } finally {
            ledger.exit();
        }
    }

    /** Exchanges tokens and their place with {@code other}. */
    void swap(Sequence other) {
        int[] ownTokens = tokens;
        tokens = other.tokens;
        other.tokens = ownTokens;
        int ownLength = length;
        length = other.length;
        other.length = ownLength;
        int ownCached = cachedTokens;
        cachedTokens = other.cachedTokens;
        other.cachedTokens = ownCached;
        int ownShared = shared;
        shared = other.shared;
        other.shared = ownShared;
        table.swap(other.table);
    }

    /** Becomes what a {@link #fork} of {@code source} would be. */
    void become(Sequence source) {
        length = 0;
        makeRoom(source.length);
        System.arraycopy(source.tokens, 0, tokens, 0, source.length);
        length = source.length;
        cachedTokens = 0;
        ledger.replace(table, source.table);
    }

    /** Pins all full blocks of the computed tokens; see {@link #pin(int)}. */
    public PinnedPrefix pin() {
        return pin(table.computed);
    }

    /**
     * Keeps the full blocks of the first {@code tokenCount} tokens cached until the result is closed, also after this sequence has
     * been. Several pins may hold a block.
     *
     * @return the longest run of leading blocks that are cached; it may be shorter than asked for by the begun last block
     * @throws IllegalArgumentException when fewer tokens are computed
     * @throws IllegalStateException when this sequence is closed, when there is no full block or it is not cached ({@link
     *     KvCacheConfig#prefixCaching}), or when more than {@link KvCacheConfig#pinnedShare} of the pool would be pinned; nothing
     *     is pinned then
     */
    public PinnedPrefix pin(int tokenCount) {
        ledger.enter();
        try {
            checkOpen();
            if (tokenCount < 0 || tokenCount > table.computed) {
                throw new IllegalArgumentException("This sequence has " + table.computed + " computed tokens; "
                        + tokenCount + " can't be pinned.");
            }
            return new PinnedPrefix(
                    ledger, ledger.pin(table, tokenCount), cache.config().blockSize());
        } finally {
            ledger.exit();
        }
    }

    /** What it was opened with; a fork has its parent's. */
    public SequenceOptions options() {
        return table.options();
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
            throw new IllegalStateException("This sequence of " + length + " tokens has been "
                    + (table.isCancelled() ? "cancelled." : "closed."));
        }
    }

    void checkNotScheduled(String what) {
        if (table.scheduled > 0) {
            throw new IllegalStateException("This sequence is in an open batch with " + table.scheduled
                    + " tokens; commit or clear the batch before the sequence is " + what + ".");
        }
    }

    /** Whether it was closed or cancelled; any thread. */
    public boolean isClosed() {
        return table.isClosed();
    }

    /** Whether {@link #cancel} ended it, before {@link #close} could; any thread. */
    public boolean isCancelled() {
        return table.isCancelled();
    }

    /**
     * Ends the sequence because nobody wants its result any more: for the thread that learns of it, a server's for one, while
     * another one runs the engine. Blocks go back as by {@link #close}, without waiting for anybody. The engine finds out
     * by {@link #isCancelled}, or because what it asks next of the sequence is refused as cancelled; a step under way ends as
     * usual, and what it completes can be reused by others. Cancelling twice, or after close, does nothing.
     */
    public void cancel() {
        if (table.cancel()) {
            released();
        }
    }

    /**
     * Gives the blocks back, from any thread: at once when nobody is inside the cache, else when the writer's call ends or
     * its next one begins, and for a sequence in an open batch when that is committed or cleared. Closing twice does
     * nothing.
     */
    @Override
    public void close() {
        close(ReleaseHint.KEEP);
    }

    /**
     * As {@link #close()}, and says what is worth keeping of what it stored. Of several calls the first counts.
     *
     * @param hint about the blocks that nobody else holds when this sequence gives them back
     */
    public void close(ReleaseHint hint) {
        closeFirst(hint);
    }

    /** As {@link #close(ReleaseHint)}; whether no other call came before. */
    boolean closeFirst(ReleaseHint hint) {
        boolean first = table.close(hint);
        if (first) {
            released();
        }
        return first;
    }

    private void released() {
        ledger.requestRelease(table);
        abandoned.clean();
    }
}
