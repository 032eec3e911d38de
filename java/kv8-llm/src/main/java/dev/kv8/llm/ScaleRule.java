package dev.kv8.llm;

import java.util.Locale;

/** How a calibrated scale follows from the magnitudes that were observed. */
public sealed interface ScaleRule {
    /** The largest magnitude becomes the format's largest value. */
    record MinMax() implements ScaleRule {
        @Override
        public String toString() {
            return "minmax";
        }
    }

    /**
     * The magnitude that {@code percent} of the values do not exceed becomes the format's largest value; what is beyond
     * saturates.
     *
     * @param percent above 50, at most 100
     */
    record Percentile(double percent) implements ScaleRule {
        public Percentile {
            if (!(percent > 50 && percent <= 100)) {
                throw new IllegalArgumentException(
                        "percentile is " + percent + "; it must be above 50 and at most 100, for instance 99.99.");
            }
        }

        @Override
        public String toString() {
            return "percentile " + percent;
        }
    }

    /** The scale, at most the one of {@link MinMax}, with the smallest expected squared error. */
    record Mse() implements ScaleRule {
        @Override
        public String toString() {
            return "mse";
        }
    }

    /**
     * Reads an observer's name.
     *
     * @param name minmax, percentile or mse, in any case
     * @param percent for percentile
     * @throws IllegalArgumentException when there is no such rule, or the percentile is out of range
     */
    static ScaleRule parse(String name, double percent) {
        return switch (name.strip().toLowerCase(Locale.ROOT)) {
            case "minmax" -> new MinMax();
            case "percentile" -> new Percentile(percent);
            case "mse" -> new Mse();
            default ->
                throw new IllegalArgumentException(
                        "\"" + name + "\" is not an observer; the allowed ones are minmax, percentile and mse.");
        };
    }
}
