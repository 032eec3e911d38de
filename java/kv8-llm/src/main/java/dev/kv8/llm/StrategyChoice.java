package dev.kv8.llm;

import dev.kv8.KvScales;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/**
 * The coarsest granularity of scales whose cost holds a budget, and what each candidate costs. Dynamic scales, which take
 * memory and time at each write, are a last resort.
 *
 * @param klBudget nats a token that the mean KL divergence may take, two standard errors included
 * @param candidates measured, from coarse to fine
 */
public record StrategyChoice(double klBudget, List<Candidate> candidates) {
    /**
     * Scales and what they cost.
     *
     * @param granularity of the scales
     * @param scales as given
     * @param quality that they gave
     */
    public record Candidate(KvScales.Granularity granularity, KvScales scales, PredictionQuality quality) {}

    public StrategyChoice {
        candidates = List.copyOf(candidates);
    }

    /**
     * Measures all candidates in one pass over the text.
     *
     * @param evaluation the model, the text and the windows; its settings are not looked at
     * @param setting the cache's types and skipped layers; its scales are replaced by each candidate
     * @param scales the candidates by granularity
     * @param klBudget more than 0
     * @throws IllegalArgumentException when there is no candidate, the budget is not positive, or the setting stores no FP8
     */
    public static StrategyChoice measure(
            CacheEvaluation.Builder evaluation,
            CacheSetting setting,
            Map<KvScales.Granularity, KvScales> scales,
            double klBudget,
            CacheEvaluation.Progress progress) {
        KlBudget.check(klBudget, setting);
        if (scales.isEmpty()) {
            throw new IllegalArgumentException("There are no scales to choose from; give at least one granularity.");
        }
        // The enum's order is from coarse to fine, dynamic last.
        Map<KvScales.Granularity, KvScales> ordered = new EnumMap<>(scales);
        List<CacheSetting> settings = new ArrayList<>();
        ordered.forEach((granularity, candidate) ->
                settings.add(setting.withScales(new ScaleSource.Given(label(granularity), candidate))));
        List<CacheEvaluation.Result> results =
                evaluation.buildWithoutSettings().withPass(pass -> pass.run(settings, progress));
        List<Candidate> candidates = new ArrayList<>();
        ordered.forEach((granularity, candidate) -> candidates.add(new Candidate(
                granularity, candidate, results.get(candidates.size()).quality())));
        return new StrategyChoice(klBudget, candidates);
    }

    /** The coarsest candidate that holds the budget; empty when none does. */
    public Optional<Candidate> chosen() {
        return candidates.stream()
                .filter(candidate -> candidate.quality().klWithin(klBudget))
                .findFirst();
    }

    /** A line for each candidate, and one for the choice. */
    public String explanation() {
        StringBuilder text = new StringBuilder();
        for (Candidate candidate : candidates) {
            text.append(label(candidate.granularity()))
                    .append(": ")
                    .append(KlBudget.compare(candidate.quality(), klBudget))
                    .append('\n');
        }
        return text.append(chosen().map(candidate ->
                                label(candidate.granularity()) + " is the coarsest granularity within the budget.")
                        .orElse(
                                "No granularity holds the budget; allow more, keep layers in 16 bits, or use E4M3 if this is"
                                        + " E5M2."))
                .toString();
    }

    private static String label(KvScales.Granularity granularity) {
        return granularity.name().toLowerCase(Locale.ROOT);
    }
}
