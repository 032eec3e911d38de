package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.KvCache;
import dev.kv8.PreemptionPolicy;
import dev.kv8.RopeTable;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.List;

/**
 * Continuous batching: every step computes one token of each running request and fills the rest of its room with chunks of
 * prompts, the oldest first; a finished request makes place for a waiting one at once. Of requests that begin alike the oldest
 * computes what they have in common, and the others take it over.
 *
 * <p>When blocks run out, the requests that fit run, which may finish some. When none fits, one gives its blocks back, chosen by the
 * {@link PreemptionPolicy} as is whether they are moved to host memory or computed again, when there is room for all of it. It
 * draws the same tokens as if nothing had happened.
 */
final class GenerationLoop implements AutoCloseable {
    private final LlamaModel model;
    private final KvCache cache;
    private final RopeTable rope;
    private final int maxBatchTokens;
    private final PreemptionPolicy preemption;
    private final PrefillRate prefill = new PrefillRate();
    private final Batch batch;
    private final Sampler sampler;
    private final KvWriter usualWriter;

    /** By age, the oldest first. */
    private final List<Request> running = new ArrayList<>();

    private final Deque<Request> waiting = new ArrayDeque<>();
    /** The requests whose next token this step draws, and the rows of their last tokens. */
    private final List<Request> drawing = new ArrayList<>();

    private final List<Request> scheduled = new ArrayList<>();
    private int[] rows = new int[16];
    private int steps;
    private int preemptions;

    GenerationLoop(LlamaModel model, KvCache cache, RopeTable rope, int maxBatchTokens, PreemptionPolicy preemption) {
        this.model = model;
        this.cache = cache;
        this.rope = rope;
        this.maxBatchTokens = maxBatchTokens;
        this.preemption = preemption;
        this.batch = cache.batch();
        this.sampler = new Sampler(cache.backend(), maxBatchTokens);
        this.usualWriter = LlamaModel.writer(cache, rope);
    }

    /**
     * Runs requests to their end. When a step fails, all of them give their blocks back.
     *
     * @param firstWriter stores K and V in the first step, for instance to calculate scales
     */
    void run(Collection<Request> requests, KvWriter firstWriter) {
        steps = 0;
        preemptions = 0;
        waiting.addAll(requests);
        try {
            KvWriter writer = firstWriter;
            while (!running.isEmpty() || !waiting.isEmpty()) {
                schedule(writer == usualWriter); // another writer is to see every prompt's K and V
                if (batch.sequences() > 0) {
                    step(writer);
                    writer = usualWriter;
                }
            }
        } finally {
            batch.clear();
            running.forEach(Request::release);
            waiting.forEach(Request::release);
            running.clear();
            waiting.clear();
        }
    }

    void runUsual(Collection<Request> requests) {
        run(requests, usualWriter);
    }

    int steps() {
        return steps;
    }

    int preemptions() {
        return preemptions;
    }

    private void schedule(boolean together) {
        scheduled.clear();
        boolean allFit = true;
        for (Request request : running) {
            allFit &= isAwaiting(request, together) || add(request);
        }
        while (allFit
                && batch.tokens() < maxBatchTokens
                && !waiting.isEmpty()
                && waiting.peekFirst().fits(cache)) {
            Request request = waiting.removeFirst();
            request.open(cache);
            running.add(request);
            allFit = isAwaiting(request, together) || add(request);
        }
        if (batch.sequences() == 0 && allFit) {
            running.forEach(this::add); // what they wait for is computed by nobody in here
        }
        if (batch.sequences() == 0) {
            makeRoom();
        }
    }

    /** Whether another sequence is computing what the request needs next. */
    private boolean isAwaiting(Request request, boolean together) {
        return together && !request.catchUp();
    }

    /** Adds what the step has room for; false when the blocks are not there. */
    private boolean add(Request request) {
        int room = Math.min(request.sequence().pendingTokens(), maxBatchTokens - batch.tokens());
        if (room == 0) {
            return true;
        }
        if (!batch.add(request.sequence(), room)) {
            return false;
        }
        scheduled.add(request);
        return true;
    }

    private void makeRoom() {
        if (running.size() > 1) {
            preempt(running.remove(
                    preemption.victim(running.stream().map(Request::sequence).toList())));
        } else if (running.size() == 1) {
            running.remove(0).finish(FinishReason.LENGTH);
        } else {
            throw new IllegalStateException("No request runs, but the cache has only "
                    + cache.stats().freeBlocks() + " free blocks of "
                    + cache.config().blocks()
                    + ". Close sequences that were opened on this cache elsewhere.");
        }
    }

    private void preempt(Request victim) {
        int tokens = victim.sequence().computedTokens();
        int blockSize = cache.config().blockSize();
        long bytes = (tokens + blockSize - 1L) / blockSize * cache.config().blockBytes();
        PreemptionPolicy.Cost cost =
                new PreemptionPolicy.Cost(tokens, bytes, cache.swapBytesPerSecond(), prefill.tokensPerSecond());
        switch (preemption.choose(cost)) {
            case SWAP -> victim.swapOut(cache);
            case RECOMPUTE -> victim.release();
        }
        waiting.addFirst(victim);
        preemptions++;
    }

    private void step(KvWriter writer) {
        long begin = System.nanoTime();
        int rowsOfStep = batch.tokens();
        int sequences = batch.sequences();
        model.forward(cache, batch, rope, writer);
        collectDrawing();
        batch.commit();
        steps++;
        if (!drawing.isEmpty()) {
            draw();
            prefill.add(rowsOfStep, sequences, System.nanoTime() - begin); // drawing has waited for the kernels
        }
        running.removeIf(Request::isFinished);
    }

    /** A request draws when this step computes its last token. */
    private void collectDrawing() {
        drawing.clear();
        if (rows.length < batch.sequences()) {
            rows = new int[2 * batch.sequences()];
        }
        int firstRow = 0;
        for (int i = 0; i < batch.sequences(); i++) {
            int lastRow = batch.lastRow(i);
            Request request = scheduled.get(i);
            if (request.sequence().pendingTokens() == lastRow - firstRow + 1) {
                rows[drawing.size()] = lastRow;
                drawing.add(request);
            }
            firstRow = lastRow + 1;
        }
    }

    private void draw() {
        for (int i = 0; i < drawing.size(); i++) {
            Request request = drawing.get(i);
            sampler.set(i, request.sampling, request.seed, request.generated());
        }
        sampler.draw(model.logits(rows, drawing.size()), drawing.size());
        int longest = Math.toIntExact(rope.maxPositions());
        for (int i = 0; i < drawing.size(); i++) {
            drawing.get(i).accept(sampler.token(i), longest);
        }
    }

    @Override
    public void close() {
        batch.close();
        sampler.close();
    }
}
