package dev.kv8.llm;

import java.util.List;
import java.util.Locale;

/**
 * How well cache settings let a model find statements hidden in a text.
 *
 * @param reference what the cache of the model's own type ({@code auto}) gave
 * @param results of the settings, in their order
 */
public record NeedleReport(Found reference, List<Found> results) {
    /** Standard errors by which a mean must differ from 0 to count. */
    private static final double CLEAR = 2;

    private static final double MOST = 0.5;

    public NeedleReport {
        results = List.copyOf(results);
    }

    /**
     * One hidden statement.
     *
     * @param context tokens of the prompt, the answer included
     * @param depth where the statement stands, 0 at the filler's begin to 1 at its end
     * @param retrieved whether greedy decoding gives the answer
     * @param logProbability of the whole answer, in nats
     * @param control the same when the text states another number: what guessing gives
     */
    public record Needle(int context, double depth, boolean retrieved, double logProbability, double control) {
        /** What reading the statement adds to the answer's log-probability, in nats. */
        public double lift() {
            return logProbability - control;
        }
    }

    /**
     * All statements with one setting.
     *
     * @param setting the cache
     * @param needles by context, then by depth
     */
    public record Found(CacheSetting setting, List<Needle> needles) {
        public Found {
            needles = List.copyOf(needles);
        }

        /** The part of statements that were retrieved, 0 to 1. */
        public double retrieved() {
            return needles.stream()
                    .mapToInt(needle -> needle.retrieved() ? 1 : 0)
                    .average()
                    .orElse(0);
        }

        /** Mean of {@link Needle#lift}. */
        public double lift() {
            return needles.stream().mapToDouble(Needle::lift).average().orElse(0);
        }

        /** Standard error of {@link #lift}; NaN for a single statement. */
        public double liftSe() {
            double mean = lift();
            double squares = needles.stream()
                    .mapToDouble(needle -> (needle.lift() - mean) * (needle.lift() - mean))
                    .sum();
            return Math.sqrt(squares / (needles.size() - 1) / needles.size());
        }
    }

    /** What a model can do with a 16-bit cache, so what the check can say about others. */
    public enum Ability {
        /** It retrieves most statements: count what others retrieve. */
        RETRIEVES,
        /** It retrieves few, but reading a statement clearly makes its answer likelier: compare the lifts. */
        NOTICES,
        /** Neither: nothing can be said. */
        NEITHER
    }

    public Ability ability() {
        if (reference.retrieved() >= MOST) {
            return Ability.RETRIEVES;
        }
        return reference.lift() > CLEAR * reference.liftSe() ? Ability.NOTICES : Ability.NEITHER;
    }

    /** One sentence on what the results are worth. */
    public String explanation() {
        String found = String.format(
                Locale.ROOT,
                "With its own cache type the model retrieves %.0f %% of %d statements, and reading one makes its answer %.2f ±"
                        + " %.2f nats likelier",
                100 * reference.retrieved(),
                reference.needles().size(),
                reference.lift(),
                reference.liftSe());
        return found
                + switch (ability()) {
                    case RETRIEVES -> ": compare what the settings retrieve.";
                    case NOTICES -> ": too few to count, but the settings' lifts can be compared.";
                    case NEITHER ->
                        ". It can't retrieve whatever the cache, so this check says nothing about the settings.";
                };
    }
}
