package dev.kv8.cli;

import java.util.Arrays;

/** Times in ascending order, in seconds. */
final class Quantiles {
    private final double[] ascending;

    Quantiles(double[] values) {
        ascending = values.clone();
        Arrays.sort(ascending);
    }

    /** The smallest value that at least this part of all does not exceed. */
    double at(double part) {
        int rank = (int) Math.ceil(part * ascending.length);
        return ascending[Math.max(0, rank - 1)];
    }
}
