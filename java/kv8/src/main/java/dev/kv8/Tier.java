package dev.kv8;

import dev.kv8.TierCounters.Kind;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * One store as a cache uses it: a thread for each direction, bounded queues before them, a circuit breaker, counters and the rate
 * at which loads arrive. Decision: threads are few and end when idle; a store that can have many transfers under way returns at once and
 * completes them from threads of its own.
 */
final class Tier implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger("dev.kv8");
    private static final int WAITING_LOADS = 256;
    private static final int WRITES_UNDER_WAY = 4;
    /** One in so many loads that would be slower than computing runs all the same, so that the rate stays measured. */
    private static final int PROBE = 32;

    private final BlockStore store;
    private final StoredCodes codes;
    private final FramePool loadFrames;
    private final long storeDeadlineNanos;
    private final int blockSize;
    private final CircuitBreaker breaker = new CircuitBreaker(System::nanoTime);
    private final TierCounters counters;
    private final MeasuredRate rate = new MeasuredRate();
    private final MeasuredRate partRate = new MeasuredRate();
    private final AtomicInteger declined = new AtomicInteger();
    private final ThreadPoolExecutor loads;
    private final ThreadPoolExecutor stores;
    private final ArrayBlockingQueue<Frame> writes;
    private final int mostWrites;
    /** Frames that it holds to write them, waiting or under way. */
    private final AtomicInteger heldWrites = new AtomicInteger();

    private final AtomicBoolean writing = new AtomicBoolean();
    private final Semaphore writePermits = new Semaphore(WRITES_UNDER_WAY);
    private final Queue<TierWrite> underWay = new ConcurrentLinkedQueue<>();
    private volatile boolean closed;

    /** @param mostWrites frames that may wait to be written or be under way */
    Tier(
            BlockStore store,
            StoredCodes codes,
            FramePool loadFrames,
            int mostWrites,
            Duration storeDeadline,
            int blockSize) {
        this.store = store;
        this.codes = codes;
        this.loadFrames = loadFrames;
        this.storeDeadlineNanos = storeDeadline.toNanos();
        this.blockSize = blockSize;
        this.counters = new TierCounters(store.name());
        this.loads = thread("load", WAITING_LOADS);
        this.stores = thread("store", 2);
        this.mostWrites = mostWrites;
        this.writes = new ArrayBlockingQueue<>(mostWrites);
    }

    private ThreadPoolExecutor thread(String direction, int queue) {
        String name = "kv8-" + store.name() + "-" + direction;
        ThreadPoolExecutor one =
                new ThreadPoolExecutor(1, 1, 10, TimeUnit.SECONDS, new ArrayBlockingQueue<>(queue), task -> {
                    Thread thread = new Thread(task, name);
                    thread.setDaemon(true);
                    return thread;
                });
        one.allowCoreThreadTimeOut(true);
        return one;
    }

    BlockStore store() {
        return store;
    }

    StoredCodes codes() {
        return codes;
    }

    FramePool loadFrames() {
        return loadFrames;
    }

    TierCounters counters() {
        return counters;
    }

    MeasuredRate rate() {
        return rate;
    }

    /** Of loads of one block of which only a part is of use: most of their time is the way, not the bytes. */
    MeasuredRate partRate() {
        return partRate;
    }

    boolean isOpen() {
        return breaker.isOpen();
    }

    TierStats stats() {
        return counters.stats(rate.perSecond(), breaker.isOpen());
    }

    /** An operation that the breaker allowed has ended. */
    void judge(boolean good) {
        if (good) {
            breaker.succeeded();
        } else if (breaker.failed()) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "Tier \"" + store.name() + "\" failed three times in a row and is left alone for a while.");
        }
    }

    // ---- loads

    /** Brings the blocks from {@code from} on, as far as this tier has them, and asks the next one for the rest. Never waits. */
    void load(PrefixLoad load, int from) {
        try {
            loads.execute(() -> lookUp(load, from));
        } catch (RejectedExecutionException e) {
            load.unsure();
            passOn(load, from);
        }
    }

    /** Finds out which of the blocks that a load might need this tier has, and asks the next one for the rest; then the load begins. Never waits. */
    void search(PrefixLoad load) {
        try {
            loads.execute(() -> searchHere(load));
        } catch (RejectedExecutionException e) {
            searchOn(load);
        }
    }

    private void searchHere(PrefixLoad load) {
        if (load.isOver()) {
            return;
        }
        if (breaker.allows()) {
            load.begins(this);
            boolean answered = false;
            try {
                List<BlockKey> wanted = load.search().unknownKeys();
                BitSet found = store.present(wanted, load.deadlineNanos());
                counters.add(Kind.ABSENT, Math.max(0, wanted.size() - found.cardinality()));
                load.search().found(found);
                answered = true;
            } catch (IOException | RuntimeException e) {
                counters.trouble(Kind.FAILED, 1, "it can't be asked for blocks: ", e.toString());
            }
            if (load.ends(this)) {
                judge(answered);
            }
        }
        searchOn(load);
    }

    private void searchOn(PrefixLoad load) {
        Tier next = load.after(this);
        if (next != null) {
            next.search(load);
            return;
        }
        load.plan(blockSize);
        Tier first = load.after(null);
        if (first != null) {
            first.load(load, 0);
        }
    }

    private void passOn(PrefixLoad load, int from) {
        Tier next = load.after(this);
        if (next == null || from >= load.keys().size()) {
            load.missing(from);
        } else {
            next.load(load, from);
        }
    }

    private void lookUp(PrefixLoad load, int from) {
        if (from >= load.limit()) {
            return; // its deadline has passed, or a block before is missing
        }
        if (!breaker.allows()) {
            load.unsure();
            passOn(load, from);
            return;
        }
        load.begins(this);
        int found;
        try {
            found = found(load, from);
        } catch (IOException | RuntimeException e) {
            counters.trouble(Kind.FAILED, 1, "it can't be asked for blocks: ", e.toString());
            if (load.ends(this)) {
                judge(false);
            }
            load.unsure();
            passOn(load, from);
            return;
        }
        if (!load.isSearched()) { // else it was counted when it was asked
            counters.add(Kind.ABSENT, load.keys().size() - from - found);
        }
        if (found > 0 && !isWorthIt(load, found)) {
            counters.add(Kind.RECOMPUTED, found);
            load.unsure();
            found = 0;
        }
        try {
            new TierLoad(this, load).run(from, found);
            passOn(load, from + found);
        } catch (InterruptedException e) {
            load.unsure();
            load.missing(from);
            Thread.currentThread().interrupt();
        }
    }

    private int found(PrefixLoad load, int from) throws IOException {
        List<BlockKey> wanted = load.keys().subList(from, load.keys().size());
        int found = store.lookup(wanted, load.deadlineNanos());
        if (found < 0 || found > wanted.size()) {
            throw new IOException("it says to have " + found + " of " + wanted.size() + " blocks");
        }
        return found;
    }

    /** Fetch or recompute: whichever took less time per block lately. */
    private boolean isWorthIt(PrefixLoad load, int blocks) {
        double fetched = (load.isPart() ? partRate : rate).perSecond();
        double computed = load.prefillTokensPerSecond();
        if (fetched == 0 || computed == 0) {
            return true;
        }
        double fetchSeconds = (double) blocks * load.form().frameBytes() / fetched;
        double computeSeconds = load.tokensOf(blocks) / computed;
        return fetchSeconds <= computeSeconds || declined.incrementAndGet() % PROBE == 0;
    }

    /** What came under the key was no good. */
    void forget(BlockKey key) {
        try {
            store.forget(key);
        } catch (RuntimeException e) { // closed meanwhile
            counters.trouble(Kind.FAILED, 1, "it can't forget a block: ", e.toString());
        }
    }

    /** The load's deadline passed while it waited for this tier. */
    void late() {
        counters.trouble(Kind.LATE, 1, "a load was not done at its deadline", "");
        judge(false);
    }

    // ---- writes

    /** Takes a held frame over to write it; false, and it stays the caller's, when the tier is failing or behind. */
    boolean offer(Frame frame) {
        if (!takesWrites()) {
            counters.add(Kind.DROPPED, 1);
            return false;
        }
        heldWrites.incrementAndGet(); // only the writer adds, so there is still room
        writes.add(frame);
        wake();
        return true;
    }

    boolean takesWrites() {
        return !closed && !breaker.isOpen() && heldWrites.get() < mostWrites;
    }

    /** Whether it only needs time to take more; one that has not written in time what it holds is not waited for. */
    boolean isBehind() {
        return !closed
                && !breaker.isOpen()
                && heldWrites.get() >= mostWrites
                && underWay.stream().noneMatch(TierWrite::isLate);
    }

    /** A frame that was offered has been written, or will not be. */
    void letGo(Frame frame) {
        heldWrites.decrementAndGet();
        frame.release();
    }

    private void wake() {
        if (writing.compareAndSet(false, true)) {
            try {
                stores.execute(this::write);
            } catch (RejectedExecutionException e) { // closed
                writing.set(false);
                dropWrites();
            }
        }
    }

    private void write() {
        try {
            List<Frame> batch = nextBatch();
            while (!batch.isEmpty()) {
                writeBatch(batch);
                batch = nextBatch();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            writing.set(false);
            if (closed) {
                dropWrites();
            } else if (!writes.isEmpty()) {
                wake();
            }
        }
    }

    private List<Frame> nextBatch() {
        List<Frame> batch = new ArrayList<>();
        long bytes = 0;
        Frame next = writes.poll();
        while (next != null) {
            batch.add(next);
            bytes += next.whole().capacity();
            boolean more = bytes + next.whole().capacity() <= store.transferBytes();
            next = more ? writes.poll() : null;
        }
        return batch;
    }

    private void writeBatch(List<Frame> batch) throws InterruptedException {
        boolean permitted = false;
        try {
            permitted = writePermits.tryAcquire(storeDeadlineNanos, TimeUnit.NANOSECONDS);
        } finally {
            if (!permitted) {
                drop(batch);
            }
        }
        if (!permitted) {
            return;
        }
        if (closed || !breaker.allows()) {
            writePermits.release();
            drop(batch);
            return;
        }
        TierWrite write = new TierWrite(this, batch, System.nanoTime() + storeDeadlineNanos);
        underWay.add(write);
        write.run();
    }

    /** Every block of it has been completed. */
    void written(TierWrite write) {
        if (underWay.remove(write)) {
            writePermits.release();
        }
    }

    private void dropWrites() {
        List<Frame> rest = new ArrayList<>();
        writes.drainTo(rest);
        drop(rest);
    }

    private void drop(List<Frame> frames) {
        counters.add(Kind.DROPPED, frames.size());
        frames.forEach(this::letGo);
    }

    /** Counts writes whose deadline has passed. */
    void checkDeadlines() {
        if (!underWay.isEmpty()) {
            long now = System.nanoTime();
            underWay.forEach(write -> write.checkDeadline(now));
        }
    }

    boolean isWriting() {
        return writing.get() || !writes.isEmpty() || !underWay.isEmpty();
    }

    /** Drops what has not begun and waits a moment for what has; the store stays open. */
    @Override
    public void close() {
        closed = true;
        loads.shutdownNow();
        stores.shutdownNow();
        if (writing.compareAndSet(false, true)) {
            dropWrites();
        }
        try {
            boolean ended = loads.awaitTermination(1, TimeUnit.SECONDS) && stores.awaitTermination(1, TimeUnit.SECONDS);
            if (!ended) {
                LOG.log(System.Logger.Level.WARNING, "Tier \"" + store.name() + "\" still works on a transfer.");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
