package dev.kv8.llm;

/**
 * How well a cache setting predicts a text, and how far it is from a cache of the model's own type ({@code auto}). Standard
 * errors take tokens as independent draws, which the tokens of one text only nearly are.
 *
 * @param tokens scored
 * @param perplexity of them
 * @param perplexitySe its standard error over texts like this one, by the delta method; it is shared by all settings, so it
 *     says nothing about their difference
 * @param nllDelta mean negative log-likelihood less {@code auto}'s, in nats a token: what ranks settings
 * @param nllDeltaSe its standard error, from the differences token by token
 * @param klMean mean KL divergence of {@code auto}'s predictions from the setting's, in nats a token
 * @param klMeanSe its standard error
 * @param klMax the largest KL divergence
 * @param top1Agreement the part of tokens for which both predict the same, 0 to 1
 * @param top1Se its standard error, binomial
 */
public record PredictionQuality(
        long tokens,
        double perplexity,
        double perplexitySe,
        double nllDelta,
        double nllDeltaSe,
        double klMean,
        double klMeanSe,
        double klMax,
        double top1Agreement,
        double top1Se) {
    /** Standard errors that a mean must stay clear of a budget by. */
    private static final double MARGIN = 2;

    /** Whether the mean KL divergence holds a budget with two standard errors to spare. */
    public boolean klWithin(double budget) {
        return klMean + MARGIN * klMeanSe <= budget;
    }
}
