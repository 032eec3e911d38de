package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.CachePriority;
import dev.kv8.DeviceException;
import dev.kv8.KvCache;
import dev.kv8.PreemptionPolicy;
import dev.kv8.Sequence;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;
import java.util.function.Predicate;

/**
 * Continuous batching: fills each step's batch with one token of each text that is being written, and what room is left with
 * chunks of prompts, higher classes and then the oldest first; whatever ends makes place for who waits at once. Of requests that
 * begin alike the oldest computes what they have in common, and the others take it over.
 *
 * <p>Who waits begins in the order of {@link Request#rank}, when the blocks for all its tokens are free; nobody overtakes the first one
 * because he is smaller. When blocks run out for one, another that the batch does not have yet, or itself, gives its blocks back: the
 * {@link PreemptionPolicy} chooses whose, and whether they are moved to host memory or computed again. Who gave them waits until
 * there is room for all of it, and then draws the same tokens as if nothing had happened.
 */
final class Scheduler implements AutoCloseable {
    private static final Comparator<Sample> BY_ARRIVAL = Comparator.<Sample>comparingLong(
                    sample -> sample.request.generation.id())
            .thenComparingInt(sample -> sample.index);
    /** In which they are served, and those behind give their blocks for those before. */
    private static final Comparator<Sample> BY_CLASS = Comparator.<Sample, CachePriority>comparing(
                    sample -> sample.request.options.priority())
            .reversed()
            .thenComparing(BY_ARRIVAL);

    private static final Comparator<Sample> BY_RANK =
            Comparator.<Sample>comparingLong(sample -> sample.request.rank()).thenComparing(BY_ARRIVAL);

    private final KvCache cache;
    private final int maxBatchTokens;
    private final int maxSequences;
    private final PreemptionPolicy preemption;
    /** Whether any layer has a window. */
    private final boolean forgets;

    private final PrefillRate prefill = new PrefillRate();
    private final Batch batch;

    /** By class. */
    private final List<Sample> running = new ArrayList<>();

    private final PriorityQueue<Sample> waiting = new PriorityQueue<>(BY_RANK);
    /** What the batch computes, in its order. */
    private final List<Sample> scheduled = new ArrayList<>();

    private long preemptions;

    Scheduler(KvCache cache, int maxBatchTokens, int maxSequences, PreemptionPolicy preemption) {
        this.cache = cache;
        this.maxBatchTokens = maxBatchTokens;
        this.maxSequences = maxSequences;
        this.preemption = preemption;
        forgets = cache.config().layerGroups() > 1 || cache.config().window() > 0;
        batch = cache.batch();
    }

    /** What {@link #schedule} came to. */
    enum Outcome {
        /** The batch has something to compute. */
        SCHEDULED,
        /** Nothing can be computed before blocks come from a tier. */
        LOADING,
        /** Blocks were made free; the next call finds them. */
        MADE_ROOM,
        /** Nothing runs and nothing waits. */
        IDLE
    }

    void add(Request request) {
        waiting.add(request.lead());
    }

    Batch batch() {
        return batch;
    }

    List<Sample> scheduled() {
        return scheduled;
    }

    int running() {
        return running.size();
    }

    int waiting() {
        return waiting.size();
    }

    long preemptions() {
        return preemptions;
    }

    PrefillRate prefillRate() {
        return prefill;
    }

    /**
     * Fills the batch.
     *
     * @param together whether requests may take over what others compute; false when someone is to see every prompt's K and V
     */
    Outcome schedule(boolean together) {
        scheduled.clear();
        long before = preemptions;
        boolean allFit = placeRunning(sample -> sample.sequence().pendingTokens() == 1)
                && placeRunning(sample -> sample.sequence().pendingTokens() > 1 && !isAwaiting(sample, together));
        boolean preempted = preemptions > before;
        if (allFit && !preempted) {
            allFit = admit(together);
        }
        if (batch.sequences() > 0) {
            return Outcome.SCHEDULED;
        }
        if (preempted) {
            return Outcome.MADE_ROOM;
        }
        if (running.isEmpty() && waiting.isEmpty()) {
            return Outcome.IDLE;
        }
        if (allFit && !running.isEmpty()) {
            return scheduleThoseThatWait();
        }
        return running.isEmpty() ? beginAfterPoll(together) : madeRoom();
    }

    /** Blocks that a tier has brought for a request that ended meanwhile are held until the cache is polled. */
    private Outcome beginAfterPoll(boolean together) {
        if (cache.poll()) {
            return Outcome.LOADING;
        }
        admit(together);
        if (batch.sequences() > 0) {
            return Outcome.SCHEDULED;
        }
        return running.isEmpty() ? madeRoom() : Outcome.MADE_ROOM;
    }

    /** Places those that are meant, in place of others where blocks are missing; false when one runs alone and has none. */
    private boolean placeRunning(Predicate<Sample> isMeant) {
        int next = 0;
        while (next < running.size()) {
            Sample sample = running.get(next);
            if (!isMeant.test(sample) || place(sample)) {
                next++;
            } else if (running.size() == 1) {
                return false;
            } else if (preemptUnscheduled() < next) {
                next--;
            }
        }
        return true;
    }

    /** One that the batch does not have gives its blocks back; there is one. Returns where it was among those that run. */
    private int preemptUnscheduled() {
        List<Sample> candidates =
                running.stream().filter(sample -> !scheduled.contains(sample)).toList();
        Sample victim = candidates.get(
                preemption.victim(candidates.stream().map(Sample::sequence).toList()));
        int at = running.indexOf(victim);
        preempt(running.remove(at));
        return at;
    }

    /** What they wait for comes from a tier, or is computed by nobody in here. */
    private Outcome scheduleThoseThatWait() {
        for (Sample sample : running) {
            if (sample.sequence().isLoading()) {
                return Outcome.LOADING;
            }
        }
        boolean any = false;
        for (Sample sample : running) {
            any |= place(sample);
        }
        return any && batch.sequences() > 0 ? Outcome.SCHEDULED : Outcome.MADE_ROOM;
    }

    /** Lets in who waits while there is room; false when someone was let in whose first chunk did not fit. */
    private boolean admit(boolean together) {
        int places = maxSequences;
        for (Sample sample : running) {
            places -= 1 + sample.request.unforked();
        }
        while (batch.tokens() < maxBatchTokens) {
            Sample next = waiting.peek();
            if (next == null) {
                return true;
            }
            int needed = 1 + next.request.unforked();
            if (needed > places || !next.fits(cache)) {
                return true;
            }
            if (!isOpened(next)) {
                return true;
            }
            waiting.remove();
            places -= needed;
            run(next);
            if (!isAwaiting(next, together) && !place(next)) {
                return false;
            }
        }
        return true;
    }

    private boolean isOpened(Sample next) {
        try {
            return next.open(cache);
        } catch (RuntimeException e) { // only this one suffers from it
            throw new RequestException(next.request, e);
        }
    }

    private void run(Sample sample) {
        int at = running.size();
        while (at > 0 && BY_CLASS.compare(running.get(at - 1), sample) > 0) {
            at--;
        }
        running.add(at, sample);
    }

    /** The samples that were forked from a lead run from now on. */
    void addForks(Request request) {
        for (int i = 1; i < request.samples().size(); i++) {
            run(request.samples().get(i));
        }
    }

    /** Whether another sequence is computing what the sample needs next, or a tier is bringing it. */
    private static boolean isAwaiting(Sample sample, boolean together) {
        return together && !sample.catchUp();
    }

    /**
     * Adds what the step has room for; false when the blocks are not there. Where layers forget, less may fit where more does not,
     * because what it lets fall out of a window makes room for the next.
     */
    private boolean place(Sample sample) {
        Sequence sequence = sample.sequence();
        int room = Math.min(sequence.pendingTokens(), maxBatchTokens - batch.tokens());
        if (room == 0) {
            return true;
        }
        while (!batch.add(sequence, room)) {
            if (room <= cache.config().blockSize() || !forgets) {
                return false;
            }
            room /= 2;
        }
        sample.countCached();
        scheduled.add(sample);
        return true;
    }

    private Outcome madeRoom() {
        if (running.size() > 1) {
            preemptUnscheduled();
        } else if (running.size() == 1) {
            endAlone(running.remove(0));
        } else {
            Sample first = waiting.remove();
            throw new RequestException(
                    first.request,
                    new IllegalStateException("No request runs, but the cache has only "
                            + cache.stats().freeBlocks() + " free blocks of "
                            + cache.config().blocks()
                            + ". Close sequences that were opened on this cache elsewhere."));
        }
        return Outcome.MADE_ROOM;
    }

    /** It has the whole cache, so that is how long it can become. */
    private static void endAlone(Sample last) {
        if (last.request.unforked() > 0) {
            last.request.finish(FinishReason.LENGTH);
        } else {
            last.finish(FinishReason.LENGTH);
        }
    }

    private void preempt(Sample victim) {
        int tokens = victim.sequence().computedTokens();
        int blockSize = cache.config().blockSize();
        long bytes = (long) ((tokens + blockSize - 1L)
                / blockSize
                * blockSize
                * cache.config().bytesPerToken());
        PreemptionPolicy.Cost cost =
                new PreemptionPolicy.Cost(tokens, bytes, cache.swapBytesPerSecond(), prefill.tokensPerSecond());
        switch (preemption.choose(cost)) {
            case SWAP -> swapOut(victim);
            case RECOMPUTE -> victim.release();
        }
        waiting.add(victim);
        preemptions++;
    }

    private void swapOut(Sample victim) {
        try {
            victim.swapOut(cache);
        } catch (DeviceException e) { // no host memory for it
            victim.release();
        }
    }

    /** Forgets what has ended. */
    void removeFinished() {
        running.removeIf(Sample::isFinished);
    }

    /** Forgets a request that ends before its time. */
    void remove(Request request) {
        running.removeIf(sample -> sample.request == request);
        waiting.removeIf(sample -> sample.request == request);
    }

    @Override
    public void close() {
        batch.close();
    }

    /** Something that only one request suffers from. */
    static final class RequestException extends RuntimeException {
        private static final long serialVersionUID = 1;
        final transient Request request;
        final RuntimeException reason;

        RequestException(Request request, RuntimeException reason) {
            super(reason);
            this.request = request;
            this.reason = reason;
        }
    }
}
