package dev.kv8.llm;

/** Sums over scored tokens from which {@link PredictionQuality} follows; those of parts add up to those of the whole. */
final class QualitySums {
    private long tokens;
    private double nll;
    private double nllSquares;
    private double delta;
    private double deltaSquares;
    private double kl;
    private double klSquares;
    private double klMax;
    private long agreements;

    /**
     * Takes in one token.
     *
     * @param tokenNll its negative log-likelihood
     * @param referenceNll the same with the reference's cache
     * @param tokenKl divergence of the reference's prediction, at least 0
     * @param agrees whether both find the same token most probable
     */
    void add(double tokenNll, double referenceNll, double tokenKl, boolean agrees) {
        double difference = tokenNll - referenceNll;
        tokens++;
        nll += tokenNll;
        nllSquares += tokenNll * tokenNll;
        delta += difference;
        deltaSquares += difference * difference;
        kl += tokenKl;
        klSquares += tokenKl * tokenKl;
        klMax = Math.max(klMax, tokenKl);
        agreements += agrees ? 1 : 0;
    }

    void add(QualitySums part) {
        tokens += part.tokens;
        nll += part.nll;
        nllSquares += part.nllSquares;
        delta += part.delta;
        deltaSquares += part.deltaSquares;
        kl += part.kl;
        klSquares += part.klSquares;
        klMax = Math.max(klMax, part.klMax);
        agreements += part.agreements;
    }

    long tokens() {
        return tokens;
    }

    PredictionQuality quality() {
        double perplexity = Math.exp(nll / tokens);
        double agreement = (double) agreements / tokens;
        return new PredictionQuality(
                tokens,
                perplexity,
                perplexity * standardError(nll, nllSquares),
                delta / tokens,
                standardError(delta, deltaSquares),
                kl / tokens,
                standardError(kl, klSquares),
                klMax,
                agreement,
                Math.sqrt(agreement * (1 - agreement) / tokens));
    }

    /** Of the mean; NaN for a single token. */
    private double standardError(double sum, double squares) {
        double spread = Math.max(0, squares - sum * sum / tokens);
        return Math.sqrt(spread / (tokens - 1) / tokens);
    }
}
