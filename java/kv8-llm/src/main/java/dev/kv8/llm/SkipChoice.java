package dev.kv8.llm;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The layers to keep in the model's own type so that the others' FP8 holds a budget: the most sensitive ones, as few as
 * suffice.
 *
 * @param klBudget nats a token that the mean KL divergence may take, two standard errors included
 * @param byLayer what the cache costs with only that layer in FP8
 * @param layers the chosen ones, ascending; empty when nothing need be kept
 * @param before with every layer in FP8 that the setting does not skip itself
 * @param after with the chosen layers kept: measured, not extrapolated
 */
public record SkipChoice(
        double klBudget,
        List<PredictionQuality> byLayer,
        List<Integer> layers,
        PredictionQuality before,
        PredictionQuality after) {
    public SkipChoice {
        byLayer = List.copyOf(byLayer);
        layers = List.copyOf(layers);
    }

    /**
     * Measures each layer's sensitivity in one pass over the text, then bisects how many of the most sensitive ones must be
     * kept, with a pass for each step.
     *
     * @param evaluation the model, the text and the windows; its settings are not looked at
     * @param setting the cache's types and scales; layers that it skips itself stay skipped and are part of the choice
     * @param klBudget more than 0
     * @throws IllegalArgumentException when the budget is not positive, or the setting stores no FP8
     */
    public static SkipChoice measure(
            CacheEvaluation.Builder evaluation,
            CacheSetting setting,
            double klBudget,
            CacheEvaluation.Progress progress) {
        KlBudget.check(klBudget, setting);
        return evaluation.buildWithoutSettings().withPass(pass -> choose(pass, setting, klBudget, progress));
    }

    private static SkipChoice choose(
            EvaluationPass pass, CacheSetting setting, double klBudget, CacheEvaluation.Progress progress) {
        List<Integer> all = IntStream.range(0, pass.config().layers()).boxed().toList();
        List<CacheSetting> settings = new ArrayList<>();
        settings.add(setting);
        for (int layer : all) {
            settings.add(setting.withSkippedLayers(
                    all.stream().filter(other -> other != layer).toList()));
        }
        List<PredictionQuality> measured = pass.run(settings, progress).stream()
                .map(CacheEvaluation.Result::quality)
                .toList();
        PredictionQuality before = measured.get(0);
        List<PredictionQuality> byLayer = measured.subList(1, measured.size());
        List<Integer> mostSensitive = all.stream()
                .filter(layer -> !setting.skippedLayers().contains(layer))
                .sorted(Comparator.comparingDouble(
                        (Integer layer) -> -byLayer.get(layer).klMean()))
                .toList();
        if (before.klWithin(klBudget)) {
            return new SkipChoice(klBudget, byLayer, setting.skippedLayers(), before, before);
        }
        int fails = 0;
        // With all of them kept nothing is left in FP8, so nothing is lost.
        int holds = mostSensitive.size();
        while (holds - fails > 1) {
            int keep = (fails + holds) / 2;
            if (quality(pass, skipping(setting, mostSensitive, keep), progress).klWithin(klBudget)) {
                holds = keep;
            } else {
                fails = keep;
            }
        }
        CacheSetting chosen = skipping(setting, mostSensitive, holds);
        return new SkipChoice(klBudget, byLayer, chosen.skippedLayers(), before, quality(pass, chosen, progress));
    }

    private static CacheSetting skipping(CacheSetting setting, List<Integer> mostSensitive, int keep) {
        List<Integer> layers = new ArrayList<>(setting.skippedLayers());
        layers.addAll(mostSensitive.subList(0, keep));
        return setting.withSkippedLayers(layers);
    }

    private static PredictionQuality quality(
            EvaluationPass pass, CacheSetting setting, CacheEvaluation.Progress progress) {
        return pass.run(List.of(setting), progress).get(0).quality();
    }

    /** What was found, in a line for each layer, and why the choice. */
    public String explanation() {
        StringBuilder text = new StringBuilder();
        for (int layer = 0; layer < byLayer.size(); layer++) {
            text.append(String.format(
                    Locale.ROOT,
                    "only layer %d in FP8: KL %.2g ± %.1g%s\n",
                    layer,
                    byLayer.get(layer).klMean(),
                    byLayer.get(layer).klMeanSe(),
                    layers.contains(layer) ? ", kept in 16 bits" : ""));
        }
        text.append("as given: ").append(KlBudget.compare(before, klBudget));
        if (!layers.isEmpty()) {
            text.append("\nwithout layers ")
                    .append(layers.stream().map(String::valueOf).collect(Collectors.joining(", ")))
                    .append(" in FP8: ")
                    .append(KlBudget.compare(after, klBudget));
        }
        if (layers.size() == byLayer.size()) {
            text.append("\nThat keeps every layer, so it saves nothing: use finer scales instead.");
        }
        return text.toString();
    }
}
