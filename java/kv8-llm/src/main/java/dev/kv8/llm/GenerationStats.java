package dev.kv8.llm;

/**
 * What one call of {@link LLM#generate} did.
 *
 * @param promptTokens of all prompts
 * @param tokens drawn
 * @param seconds of wall time, tokenization included
 * @param steps forward passes
 * @param preemptions sequences that gave their blocks back and were computed again later
 * @param saturatedValues of K and V that the cache's scales could not hold, see {@link dev.kv8.KvCache#saturation}
 */
public record GenerationStats(
        int promptTokens, int tokens, double seconds, int steps, int preemptions, long saturatedValues) {
    /** Drawn tokens per second of wall time. */
    public double tokensPerSecond() {
        return seconds > 0 ? tokens / seconds : 0;
    }
}
