package dev.kv8.cli;

import dev.kv8.llm.EngineStats;
import dev.kv8.llm.Generation;
import dev.kv8.llm.GenerationRequest;
import dev.kv8.llm.LLM;
import dev.kv8.llm.TextChunk;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.locks.LockSupport;

/**
 * Sends a load to an engine and watches what becomes of it.
 *
 * @param bytesPerToken of the cache
 * @param rate offered, in requests per second
 * @param seconds from the first request to the last text's end
 * @param requests that were written
 * @param outputTokens of all of them
 * @param crowded mean number of texts with blocks in the cache while others waited; NaN when none ever did
 * @param mostResident texts with blocks in the cache at the same time
 * @param firstToken seconds from a request to its first text, ascending
 * @param latency seconds from a request to its last token, ascending
 * @param preemptions texts that gave their blocks back
 */
record ServeRun(
        double bytesPerToken,
        double rate,
        double seconds,
        int requests,
        long outputTokens,
        double crowded,
        int mostResident,
        Quantiles firstToken,
        Quantiles latency,
        long preemptions) {
    private static final long SAMPLE_NANOS = TimeUnit.MILLISECONDS.toNanos(2);

    /** Waits until all is written. */
    static ServeRun of(LLM llm, ServeLoad load) {
        Watch watch = new Watch(load.requests());
        EngineStats before = llm.stats();
        GenerationRequest[] prompts = load.prompts(llm.config().vocabularySize());
        double[] arrivals = load.arrivals();
        CompletableFuture<?>[] ends = new CompletableFuture<?>[prompts.length];
        Residency residency = new Residency();
        long begin = System.nanoTime();
        for (int i = 0; i < prompts.length; i++) {
            long due = begin + (long) (arrivals[i] * 1e9);
            for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                LockSupport.parkNanos(Math.min(left, SAMPLE_NANOS));
                residency.sample(llm.stats());
            }
            ends[i] = watch.submit(llm, prompts[i], i, due);
        }
        CompletableFuture<Void> all = CompletableFuture.allOf(ends);
        while (!all.isDone()) {
            LockSupport.parkNanos(SAMPLE_NANOS);
            residency.sample(llm.stats());
        }
        all.join();
        EngineStats after = llm.stats();
        return new ServeRun(
                llm.cache().config().bytesPerToken(),
                load.rate(),
                (watch.lastEnd() - begin) / 1e9,
                load.requests(),
                after.generatedTokens() - before.generatedTokens(),
                residency.crowded(),
                residency.most,
                watch.firstToken(),
                watch.latency(),
                after.preemptions() - before.preemptions());
    }

    double tokensPerSecond() {
        return outputTokens / seconds;
    }

    double requestsPerSecond() {
        return requests / seconds;
    }

    /** How many texts were in the cache, sampled. */
    private static final class Residency {
        private long samples;
        private double sum;
        private int most;

        void sample(EngineStats stats) {
            most = Math.max(most, stats.running());
            if (stats.waiting() > 0 && stats.running() > 0) {
                samples++;
                sum += stats.running();
            }
        }

        double crowded() {
            return samples == 0 ? Double.NaN : sum / samples;
        }
    }

    /** When each request was due, first said something and ended, in nanoseconds. */
    private static final class Watch {
        private final long[] due;
        private final AtomicLongArray first;
        private final AtomicLongArray end;

        Watch(int requests) {
            due = new long[requests];
            first = new AtomicLongArray(requests);
            end = new AtomicLongArray(requests);
        }

        CompletableFuture<?> submit(LLM llm, GenerationRequest request, int index, long when) {
            due[index] = when;
            Generation generation = llm.submit(request);
            generation.chunks().subscribe(new FirstChunk(() -> first.compareAndSet(index, 0, System.nanoTime())));
            return generation.completions().thenAccept(texts -> end.set(index, System.nanoTime()));
        }

        long lastEnd() {
            long last = end.get(0);
            for (int i = 1; i < due.length; i++) {
                last = Math.max(last, end.get(i));
            }
            return last;
        }

        Quantiles firstToken() {
            return since(first);
        }

        Quantiles latency() {
            return since(end);
        }

        private Quantiles since(AtomicLongArray times) {
            double[] seconds = new double[due.length];
            for (int i = 0; i < seconds.length; i++) {
                seconds[i] = (times.get(i) - due[i]) / 1e9;
            }
            return new Quantiles(seconds);
        }
    }

    /** Runs something at the first chunk, and wants no other. */
    private static final class FirstChunk implements Flow.Subscriber<TextChunk> {
        private final Runnable told;

        FirstChunk(Runnable told) {
            this.told = told;
        }

        @Override
        public void onSubscribe(Flow.Subscription subscription) {
            subscription.request(1);
        }

        @Override
        public void onNext(TextChunk chunk) {
            told.run();
        }

        @Override
        public void onError(Throwable error) {
            // The future of the completions tells it.
        }

        @Override
        public void onComplete() {
            // Nothing more is wanted.
        }
    }
}
