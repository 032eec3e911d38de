package dev.kv8.llm;

import java.util.Locale;

/** What choices share: a mean KL divergence that a cache may cost, in nats a token. */
final class KlBudget {
    private KlBudget() {}

    static void check(double budget, CacheSetting setting) {
        if (!(budget > 0) || Double.isInfinite(budget)) {
            throw new IllegalArgumentException("The KL budget is " + budget
                    + "; it must be a positive number of nats a token, 0.003 for instance.");
        }
        if (!setting.isFp8()) {
            throw new IllegalArgumentException(setting.dtypeLabel()
                    + " has no scales and costs next to nothing, so there is nothing to choose; give an FP8 dtype.");
        }
    }

    static String compare(PredictionQuality quality, double budget) {
        return String.format(
                Locale.ROOT,
                "KL %.2g ± %.1g %s %.2g",
                quality.klMean(),
                quality.klMeanSe(),
                quality.klWithin(budget) ? "holds" : "exceeds",
                budget);
    }
}
