package dev.kv8.llm;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/** What the engine counts, for {@link EngineStats}; written by its thread, read by any. */
final class EngineCounters {
    private final long startNanos = System.nanoTime();
    private int running;
    private int waiting;
    private long steps;
    private long promptTokens;
    private long generatedTokens;
    private long cachedTokens;
    private long preemptions;
    private long finished;
    private long cancelled;
    private long failed;
    private long graphCaptures;
    private long graphLaunches;

    synchronized void computed(int drawn) {
        steps++;
        generatedTokens += drawn;
    }

    /** @param graphs null where there are none */
    synchronized void launched(@Nullable DecodeGraphs graphs) {
        if (graphs != null) {
            graphCaptures = graphs.captures();
            graphLaunches = graphs.launches();
        }
    }

    synchronized void begun(int prompt, int cached) {
        promptTokens += prompt;
        cachedTokens += cached;
    }

    synchronized void ended(Request request) {
        if (request.hasFailed()) {
            failed++;
        } else if (request.wasCutShort()) {
            cancelled++;
        } else {
            finished++;
        }
    }

    synchronized void tell(int nowRunning, int nowWaiting, long preemptionsSoFar) {
        running = nowRunning;
        waiting = nowWaiting;
        preemptions = preemptionsSoFar;
    }

    /** @param arrivals that the engine has not taken in yet */
    synchronized EngineStats stats(int arrivals) {
        return new EngineStats(
                running,
                waiting + arrivals,
                steps,
                promptTokens,
                generatedTokens,
                cachedTokens,
                preemptions,
                finished,
                cancelled,
                failed,
                graphCaptures,
                graphLaunches,
                Duration.ofNanos(System.nanoTime() - startNanos));
    }
}
