package dev.kv8.cli;

import java.util.Arrays;

/**
 * Durations of one thing in rounds that it shares with others, so that what a noisy machine does to a round it does to all.
 */
final class Timings {
    private final long[] nanoseconds;

    Timings(int rounds) {
        nanoseconds = new long[rounds];
    }

    void time(int round, Runnable work) {
        long start = System.nanoTime();
        work.run();
        nanoseconds[round] = System.nanoTime() - start;
    }

    /** The mean of so many repetitions. */
    void time(int round, int repetitions, Runnable work) {
        long start = System.nanoTime();
        for (int i = 0; i < repetitions; i++) {
            work.run();
        }
        nanoseconds[round] = (System.nanoTime() - start) / repetitions;
    }

    double medianSeconds() {
        return median(Arrays.stream(nanoseconds).asDoubleStream().toArray()) * 1e-9;
    }

    /** The median over rounds of this one's time divided by the other's in the same round. */
    double relativeTo(Timings other) {
        double[] ratios = new double[nanoseconds.length];
        for (int i = 0; i < ratios.length; i++) {
            ratios[i] = (double) nanoseconds[i] / other.nanoseconds[i];
        }
        return median(ratios);
    }

    private static double median(double[] values) {
        Arrays.sort(values);
        int middle = values.length / 2;
        return values.length % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    }
}
