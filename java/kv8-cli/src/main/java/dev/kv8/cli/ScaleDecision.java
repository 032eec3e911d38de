package dev.kv8.cli;

import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.KvScales.Granularity;
import dev.kv8.llm.CacheEvaluation;
import dev.kv8.llm.CacheSetting;
import dev.kv8.llm.Calibration;
import dev.kv8.llm.ScaleSource;
import dev.kv8.llm.SkipChoice;
import dev.kv8.llm.StrategyChoice;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Supplier;

/** Decides on a calibration's granularity and skipped layers: as told, or by what each costs on a text. */
final class ScaleDecision {
    private final Kv8Command command;
    private final Calibration calibration;
    private final Supplier<CacheEvaluation.Builder> evaluation;
    private final double klBudget;
    private final List<String> reasons = new ArrayList<>();

    /** {@code evaluation}: of the model on a text; each measurement begins with a new one. */
    ScaleDecision(
            Kv8Command command,
            Calibration calibration,
            Supplier<CacheEvaluation.Builder> evaluation,
            double klBudget) {
        this.command = command;
        this.calibration = calibration;
        this.evaluation = evaluation;
        this.klBudget = klBudget;
    }

    /**
     * What is written.
     *
     * @param granularity of the scales
     * @param skippedLayers that stay in 16 bits
     * @param reasons in words, where there was a choice
     */
    record Decision(Granularity granularity, KvScales scales, Set<Integer> skippedLayers, List<String> reasons) {}

    /**
     * Decides.
     *
     * @param chooseLayers keep the most sensitive layers in 16 bits too, as few as the budget needs
     * @throws IllegalStateException when no granularity holds the budget and no layers may be chosen
     */
    Decision decide(ScaleStrategy strategy, Set<Integer> skippedLayers, boolean chooseLayers) {
        Granularity granularity =
                strategy == ScaleStrategy.AUTO ? coarsest(skippedLayers, chooseLayers) : strategy.granularity();
        KvScales scales = calibration.scales(granularity);
        Set<Integer> skipped = chooseLayers ? layers(scales, skippedLayers) : skippedLayers;
        return new Decision(granularity, scales, skipped, reasons);
    }

    private Granularity coarsest(Set<Integer> skippedLayers, boolean chooseLayers) {
        Map<Granularity, KvScales> candidates = new EnumMap<>(Granularity.class);
        for (Granularity granularity : List.of(Granularity.TENSOR, Granularity.HEAD, Granularity.CHANNEL)) {
            candidates.put(granularity, calibration.scales(granularity));
        }
        KvScales any = candidates.values().iterator().next();
        StrategyChoice choice;
        try (ProgressLine progress = new ProgressLine(command.err(), "choose strategy")) {
            choice = StrategyChoice.measure(
                    evaluation.get(), setting(any, skippedLayers), candidates, klBudget, progress::update);
        }
        choice.explanation().lines().forEach(reasons::add);
        if (choice.chosen().isEmpty() && !chooseLayers) {
            throw new IllegalStateException(choice.explanation()
                    + " Nothing was written; go on with --resume and a larger --kl-budget, --skip-layers auto or a"
                    + " --strategy.");
        }
        return choice.chosen().map(StrategyChoice.Candidate::granularity).orElse(Granularity.CHANNEL);
    }

    private Set<Integer> layers(KvScales scales, Set<Integer> skippedLayers) {
        try (ProgressLine progress = new ProgressLine(command.err(), "choose layers")) {
            SkipChoice choice =
                    SkipChoice.measure(evaluation.get(), setting(scales, skippedLayers), klBudget, progress::update);
            choice.explanation().lines().forEach(reasons::add);
            return new TreeSet<>(choice.layers());
        }
    }

    private static CacheSetting setting(KvScales scales, Set<Integer> skippedLayers) {
        return CacheSetting.of(KvCacheDType.FP8_E4M3, new ScaleSource.Given("calibrated", scales))
                .withSkippedLayers(List.copyOf(skippedLayers));
    }
}
