package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.Saturation;
import dev.kv8.Sequence;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Turns requests into texts, step by step: each {@link #step} takes in what the {@link Intake} was told, lets the {@link
 * Scheduler} fill a batch, runs the model over it, draws the next tokens and tells who asked. One thread calls {@link #step};
 * what it does depends on the requests, their order and their seeds alone, timeouts apart.
 *
 * <p>A step that fails ends the requests that it computed, and they give their blocks back; the others go on. When the device does
 * not answer any more, all end.
 */
final class Engine implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(LLM.class.getName());

    private final KvBackend backend;
    private final LlamaModel model;
    private final ModelConfig config;
    private final KvCache cache;
    private final RopeTables rope;
    private final Scheduler scheduler;
    private final Intake intake;
    private final TokenDraw draw;
    private final EngineCounters counters;
    private final SaturationWarning saturation = new SaturationWarning();
    private final boolean hasTiers;
    /** Until the first step has set the scales. */
    private @Nullable KvScaleCalculation firstPass;

    /** By id, what has not ended. */
    private final Map<Long, Request> requests = new HashMap<>();

    private final PriorityQueue<Request> deadlines =
            new PriorityQueue<>(Comparator.comparingLong(request -> request.deadline));
    private final List<Request> arrived = new ArrayList<>();
    private final List<Long> cancelled = new ArrayList<>();
    private final List<Request> ended = new ArrayList<>();

    Engine(
            LlamaModel model,
            ModelConfig config,
            KvCache cache,
            RopeTables rope,
            Scheduler scheduler,
            Intake intake,
            TokenDraw draw,
            EngineCounters counters,
            @Nullable KvScaleCalculation firstPass) {
        this.backend = cache.backend();
        this.model = model;
        this.config = config;
        this.cache = cache;
        this.rope = rope;
        this.scheduler = scheduler;
        this.intake = intake;
        this.draw = draw;
        this.counters = counters;
        this.firstPass = firstPass;
        hasTiers = !cache.config().tiers().stores().isEmpty();
    }

    /** What a step came to. */
    enum Progress {
        /** Something has changed. */
        ADVANCED,
        /** Nothing can be done before blocks come from a tier, or go there. */
        TRANSFERRING,
        /** There is nothing to do. */
        IDLE
    }

    /** Does the next step, with one forward pass at most. */
    Progress step() {
        takeIn();
        Progress progress = advance();
        deliver(progress == Progress.IDLE);
        return progress;
    }

    private void takeIn() {
        intake.take(arrived, cancelled);
        for (Request request : arrived) {
            requests.put(request.generation.id(), request);
            scheduler.add(request);
            if (request.deadline != Request.NO_DEADLINE) {
                deadlines.add(request);
            }
        }
        arrived.clear();
        for (Long id : cancelled) {
            Request request = requests.get(id);
            if (request != null && !request.hasEnded()) {
                end(request, FinishReason.CANCELLED);
            }
        }
        cancelled.clear();
        Request next;
        while ((next = deadlines.peek()) != null && next.deadline - System.nanoTime() <= 0) {
            deadlines.remove();
            if (!next.hasEnded()) {
                end(next, FinishReason.TIMEOUT);
            }
        }
    }

    private void end(Request request, FinishReason reason) {
        scheduler.remove(request);
        request.finish(reason);
    }

    private Progress advance() {
        try {
            KvScaleCalculation pending = firstPass;
            if (pending != null && !requests.isEmpty()) {
                cache.clearPrefixes(); // what a failed first pass has stored does not belong to the scales of this one
            }
            switch (scheduler.schedule(pending == null)) {
                case SCHEDULED -> compute(pending);
                case MADE_ROOM -> {}
                case LOADING -> {
                    return Progress.TRANSFERRING;
                }
                case IDLE -> {
                    return hasTiers && cache.poll() ? Progress.TRANSFERRING : Progress.IDLE;
                }
            }
        } catch (Scheduler.RequestException e) {
            scheduler.batch().clear();
            scheduler.remove(e.request);
            e.request.fail(e.reason);
        } catch (RuntimeException e) {
            failStep(e);
        }
        return Progress.ADVANCED;
    }

    private void compute(@Nullable KvScaleCalculation pending) {
        long begin = System.nanoTime();
        Batch batch = scheduler.batch();
        if (pending == null) {
            model.step(cache, batch, rope);
            counters.launched(model.graphs());
            finish(batch, begin);
            return;
        }
        try (ScaleCalculation writer = new ScaleCalculation(backend, cache, rope, config, pending)) {
            model.forward(cache, batch, rope, writer);
            finish(batch, begin);
        }
        firstPass = null;
    }

    private void finish(Batch batch, long begin) {
        int rows = batch.tokens();
        int sequences = batch.sequences();
        chooseDrawing(batch);
        draw.draw(model); // waits for the kernels, so nothing counts as computed that failed
        batch.commit();
        counters.computed(draw.count());
        if (draw.count() > 0) {
            scheduler.prefillRate().add(rows, sequences, System.nanoTime() - begin);
            accept();
        }
    }

    /** A text's next token is drawn when this step computes its last one. */
    private void chooseDrawing(Batch batch) {
        draw.clear();
        int firstRow = 0;
        for (int i = 0; i < batch.sequences(); i++) {
            int lastRow = batch.lastRow(i);
            Sample sample = scheduler.scheduled().get(i);
            Sequence sequence = sample.sequence();
            if (sequence.pendingTokens() == lastRow - firstRow + 1) {
                draw.add(sample, lastRow);
                for (int other = 1; other <= sample.request.unforked(); other++) {
                    draw.add(sample.request.samples().get(other), lastRow);
                }
            }
            firstRow = lastRow + 1;
        }
    }

    private void accept() {
        int longest = rope.maxPositions();
        for (int i = 0; i < draw.count(); i++) {
            Sample sample = draw.sample(i);
            Request request = sample.request;
            if (sample == request.lead() && request.unforked() > 0) {
                request.fork();
                scheduler.addForks(request);
            }
        }
        failUndrawn();
        for (int i = 0; i < draw.count(); i++) {
            Sample sample = draw.sample(i);
            if (sample.request.hasFailed()) {
                continue;
            }
            if (sample == sample.request.lead() && sample.generated() == 0) {
                counters.begun(sample.promptLength(), sample.request.cachedTokens());
            }
            sample.accept(draw.token(i), draw.logprobs(i), longest);
        }
        scheduler.removeFinished();
    }

    /** Logits that are not numbers end the request that has them, and no other of the step. */
    private void failUndrawn() {
        for (int i = 0; i < draw.count(); i++) {
            Request request = draw.sample(i).request;
            if (!draw.isDrawn(i) && !request.hasEnded()) {
                LOG.log(
                        System.Logger.Level.ERROR,
                        "Request {0} failed: the model''s logits of its next token are not numbers.",
                        String.valueOf(request.generation.id()));
                scheduler.remove(request);
                request.fail(new IllegalStateException(
                        "The logits of a text's next token are not numbers, so none can be drawn."));
            }
        }
    }

    /** Whose tokens were in the step that failed does not get a text; blocks may hold anything now. */
    private void failStep(RuntimeException reason) {
        scheduler.batch().clear();
        Set<Request> hit = new LinkedHashSet<>();
        scheduler.scheduled().forEach(sample -> hit.add(sample.request));
        LOG.log(
                System.Logger.Level.ERROR,
                "A step of the engine failed, and with it " + hit.size() + " requests.",
                reason);
        for (Request request : hit) {
            scheduler.remove(request);
            if (!request.hasEnded()) {
                request.fail(reason);
            }
        }
        if (hit.isEmpty() || !answers()) {
            LOG.log(System.Logger.Level.ERROR, "The engine takes no more requests; close its LLM and load it again.");
            die(reason);
        }
    }

    /** Whether the device still works. What an earlier kernel has complained about is reported once, so it is asked twice. */
    private boolean answers() {
        for (int i = 0; i < 2; i++) {
            try {
                backend.synchronize();
                return true;
            } catch (RuntimeException e) {
                LOG.log(System.Logger.Level.WARNING, "The device reports a failure.", e);
            }
        }
        return false;
    }

    /** Ends all requests with an error, and takes no more; whatever else fails meanwhile, who asked is told. */
    void die(Throwable reason) {
        intake.die(reason);
        intake.take(arrived, cancelled);
        arrived.forEach(request -> requests.put(request.generation.id(), request));
        arrived.clear();
        cancelled.clear();
        try {
            scheduler.batch().clear();
        } catch (RuntimeException e) {
            Request.suppress(e, reason);
        }
        for (Request request : List.copyOf(requests.values())) {
            scheduler.remove(request);
            if (!request.hasEnded()) {
                request.fail(reason);
            }
        }
        deliver(true);
    }

    /** Ends all requests as cancelled, or with an error when their blocks can't be given back. */
    void cancelAll() {
        try {
            takeIn();
            for (Request request : List.copyOf(requests.values())) {
                if (!request.hasEnded()) {
                    end(request, FinishReason.CANCELLED);
                }
            }
        } catch (RuntimeException e) {
            die(e);
            return;
        }
        deliver(true);
    }

    /** A request that has ended tells so when the step is over. */
    void ended(Request request) {
        ended.add(request);
    }

    /** @param idle whether nothing is under way, in the tiers neither */
    private void deliver(boolean idle) {
        if (!ended.isEmpty() && !intake.isDead()) {
            readSaturation();
        }
        for (Request request : ended) {
            requests.remove(request.generation.id());
            counters.ended(request);
            if (request.deadline != Request.NO_DEADLINE) {
                deadlines.remove(request);
            }
        }
        counters.tell(scheduler.running(), scheduler.waiting(), scheduler.preemptions());
        intake.tell(scheduler.waiting(), idle && requests.isEmpty());
        ended.forEach(Request::deliver);
        ended.clear();
    }

    private void readSaturation() {
        try {
            Saturation found = cache.saturation();
            saturation.check(cache, found);
        } catch (RuntimeException e) {
            LOG.log(System.Logger.Level.WARNING, "The saturated values can't be counted.", e);
        }
    }

    @Override
    public void close() {
        scheduler.close();
        draw.close();
    }
}
