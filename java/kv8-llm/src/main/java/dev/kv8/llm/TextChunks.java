package dev.kv8.llm;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import org.jspecify.annotations.Nullable;

/**
 * The chunks of one {@link Generation}. The engine adds text and never waits; a subscriber gets chunks on the executor, one call
 * at a time, as many as it requested. What it has not requested yet is joined into one chunk for each index, so memory is
 * bounded by the text.
 */
final class TextChunks implements Flow.Publisher<TextChunk> {
    private static final System.Logger LOG = System.getLogger(LLM.class.getName());

    private final Executor executor;
    private final Pending[] samples;
    /** Those with something to tell, the longest waiting first. */
    private final Deque<Pending> ready = new ArrayDeque<>();

    private Flow.@Nullable Subscriber<? super TextChunk> subscriber;
    private long requested;
    private boolean ended;
    private @Nullable Throwable failure;
    /** The subscriber has asked for something that is not allowed. */
    private @Nullable IllegalArgumentException refusal;
    /** Nothing is delivered any more. */
    private boolean done;
    /** Somebody is calling the subscriber. */
    private boolean delivering;

    /** What one index has to tell. */
    private static final class Pending {
        final int index;
        final StringBuilder text = new StringBuilder();
        List<TokenLogprobs> logprobs = new ArrayList<>();

        @Nullable
        FinishReason finishReason;

        boolean isReady;

        Pending(int index) {
            this.index = index;
        }

        TextChunk take() {
            TextChunk chunk = new TextChunk(index, text.toString(), logprobs, finishReason);
            text.setLength(0);
            logprobs = new ArrayList<>();
            isReady = false;
            return chunk;
        }
    }

    TextChunks(int samples, Executor executor) {
        this.executor = executor;
        this.samples = new Pending[samples];
        for (int i = 0; i < samples; i++) {
            this.samples[i] = new Pending(i);
        }
    }

    /** Adds to the text of an index; with a reason it was the last of it. */
    void add(
            int index,
            CharSequence text,
            int from,
            int to,
            @Nullable TokenLogprobs logprobs,
            @Nullable FinishReason reason) {
        synchronized (this) {
            if (done) {
                return;
            }
            Pending pending = samples[index];
            pending.text.append(text, from, to);
            if (logprobs != null) {
                pending.logprobs.add(logprobs);
            }
            pending.finishReason = reason;
            boolean tells = from < to || logprobs != null || reason != null;
            if (tells && !pending.isReady) {
                pending.isReady = true;
                ready.add(pending);
            }
        }
        deliverSoon();
    }

    /** Ends the chunks, after those that are ready, with an error if there was one. */
    void end(@Nullable Throwable error) {
        synchronized (this) {
            ended = true;
            failure = error;
        }
        deliverSoon();
    }

    @Override
    public void subscribe(Flow.Subscriber<? super TextChunk> given) {
        boolean first;
        synchronized (this) {
            first = subscriber == null;
            if (first) {
                subscriber = given;
                delivering = true; // until onSubscribe has returned
            }
        }
        if (!first) {
            given.onSubscribe(NOTHING);
            given.onError(new IllegalStateException("These chunks have a subscriber already; there can be only one."));
            return;
        }
        given.onSubscribe(new Flow.Subscription() {
            @Override
            public void request(long count) {
                more(count);
            }

            @Override
            public void cancel() {
                stop();
            }
        });
        synchronized (this) {
            delivering = false;
        }
        deliverSoon();
    }

    private static final Flow.Subscription NOTHING = new Flow.Subscription() {
        @Override
        public void request(long count) {}

        @Override
        public void cancel() {}
    };

    private void more(long count) {
        synchronized (this) {
            if (count < 1) {
                refusal = new IllegalArgumentException(
                        "The subscriber requested " + count + " chunks; a request is for 1 or more.");
            } else {
                requested = requested + count < 0 ? Long.MAX_VALUE : requested + count;
            }
        }
        deliverSoon();
    }

    private synchronized void stop() {
        done = true;
        ready.clear();
    }

    private void deliverSoon() {
        synchronized (this) {
            boolean due = refusal != null || (ready.isEmpty() ? ended : requested > 0);
            if (subscriber == null || done || delivering || !due) {
                return;
            }
            delivering = true;
        }
        executor.execute(this::deliver);
    }

    private void deliver() {
        Flow.Subscriber<? super TextChunk> to;
        synchronized (this) {
            to = subscriber;
        }
        if (to == null) {
            return;
        }
        try {
            while (deliverNext(to)) {
                // until nothing is due
            }
        } catch (RuntimeException e) {
            LOG.log(System.Logger.Level.WARNING, "A subscriber of text chunks failed; it gets no more of them.", e);
            stop();
            synchronized (this) {
                delivering = false;
            }
        }
    }

    /** Makes one call; false when none is due. */
    private boolean deliverNext(Flow.Subscriber<? super TextChunk> to) {
        TextChunk chunk = null;
        Throwable error;
        synchronized (this) {
            error = refusal != null ? refusal : failure;
            Pending next = refusal == null && requested > 0 ? ready.poll() : null;
            boolean last = refusal != null || (next == null && ready.isEmpty() && ended);
            if (done || (next == null && !last)) {
                delivering = false;
                return false;
            }
            if (next != null) {
                chunk = next.take();
                requested--;
            } else {
                done = true;
            }
        }
        if (chunk != null) {
            to.onNext(chunk);
        } else if (error != null) {
            to.onError(error);
        } else {
            to.onComplete();
        }
        return true;
    }
}
