package dev.kv8.cli;

import dev.kv8.llm.GenerationRequest;
import dev.kv8.llm.SamplingParams;
import java.util.SplittableRandom;

/**
 * Requests that come by themselves: a Poisson process, whose gaps are exponential, or all at once. Prompts are random tokens, so that none
 * has a prefix of another, and every text has exactly the wanted length. The same seed gives the same requests at the same times.
 *
 * @param requests in all
 * @param promptTokens of each
 * @param outputTokens of each
 * @param rate requests per second on average; infinite for all at once
 * @param seed of everything random
 */
record ServeLoad(int requests, int promptTokens, int outputTokens, double rate, long seed) {
    /** Seconds from the beginning to each request, ascending. */
    double[] arrivals() {
        double[] result = new double[requests];
        if (rate != Double.POSITIVE_INFINITY) {
            SplittableRandom random = new SplittableRandom(seed);
            double time = 0;
            for (int i = 0; i < requests; i++) {
                result[i] = time;
                time -= Math.log(1 - random.nextDouble()) / rate;
            }
        }
        return result;
    }

    /** The requests in their order, for a model with that many tokens in its vocabulary. */
    GenerationRequest[] prompts(int vocabulary) {
        SplittableRandom random = new SplittableRandom(seed + 1);
        SamplingParams sampling = SamplingParams.builder()
                .temperature(0)
                .maxTokens(outputTokens)
                .ignoreEos(true)
                .build();
        GenerationRequest[] result = new GenerationRequest[requests];
        for (int i = 0; i < requests; i++) {
            int[] tokens = random.ints(promptTokens, 0, vocabulary).toArray();
            result[i] = GenerationRequest.builder()
                    .promptTokenIds(tokens)
                    .sampling(sampling)
                    .build();
        }
        return result;
    }
}
