package dev.kv8.llm;

import java.time.Duration;

/**
 * What an {@link LLM} does now and has done since it was loaded.
 *
 * @param running texts that are being written, those whose prompt is being computed included
 * @param waiting requests that have not begun, and texts that gave their blocks back and go on later
 * @param steps forward passes
 * @param promptTokens of all requests that have begun
 * @param generatedTokens drawn
 * @param cachedTokens of the prompts, found in the cache instead of computed
 * @param preemptions how often a text gave its blocks back
 * @param finishedRequests that ended by themselves
 * @param cancelledRequests that were cancelled, or whose time was over
 * @param failedRequests whose step failed
 * @param graphCaptures decode steps captured into a graph of their device; 0 where there are none
 * @param graphLaunches steps launched as a graph
 * @param uptime since the model was loaded
 */
public record EngineStats(
        int running,
        int waiting,
        long steps,
        long promptTokens,
        long generatedTokens,
        long cachedTokens,
        long preemptions,
        long finishedRequests,
        long cancelledRequests,
        long failedRequests,
        long graphCaptures,
        long graphLaunches,
        Duration uptime) {}
