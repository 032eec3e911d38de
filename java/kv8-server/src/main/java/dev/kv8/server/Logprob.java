package dev.kv8.server;

/** Log-probabilities in JSON, which has no word for minus infinity. */
final class Logprob {
    /** OpenAI's value for a token that is not among the likely ones. */
    private static final double LEAST = -9999.0;

    private Logprob() {}

    static double finite(double logprob) {
        return Math.max(LEAST, logprob);
    }
}
