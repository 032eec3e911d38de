package dev.kv8.llm;

import java.util.function.DoubleUnaryOperator;

/**
 * How a checkpoint stretches rotary positions beyond those it was first trained on: Hugging Face's {@code rope_type}. Formulas as in
 * its {@code modeling_rope_utils}.
 */
public sealed interface RopeScaling {

    /**
     * The angles per position of a head's pairs, in radians: {@code theta^(-2 pair / headSize)}, scaled.
     *
     * @param theta base of the frequencies
     * @param headSize elements that are rotated; there are half as many pairs
     */
    double[] frequencies(double theta, int headSize);

    /** Multiplies cosines and sines, and so q and k. */
    default double magnitude() {
        return 1;
    }

    private static double[] frequencies(double theta, int headSize, DoubleUnaryOperator scale) {
        double[] frequencies = new double[headSize / 2];
        for (int pair = 0; pair < frequencies.length; pair++) {
            frequencies[pair] = scale.applyAsDouble(Math.pow(theta, -2.0 * pair / headSize));
        }
        return frequencies;
    }

    /** Positions as they are. */
    record None() implements RopeScaling {
        @Override
        public double[] frequencies(double theta, int headSize) {
            return RopeScaling.frequencies(theta, headSize, frequency -> frequency);
        }
    }

    /** All positions divided by {@code factor}. */
    record Linear(double factor) implements RopeScaling {
        @Override
        public double[] frequencies(double theta, int headSize) {
            return RopeScaling.frequencies(theta, headSize, frequency -> frequency / factor);
        }
    }

    /**
     * Llama 3.1's: pairs that turn often within the original context stay, those that turn seldom are divided by {@code
     * factor}, and between the two it goes over smoothly.
     *
     * @param lowTurns below which a pair is divided by the whole factor ({@code low_freq_factor})
     * @param highTurns above which a pair stays ({@code high_freq_factor})
     * @param originalPositions context before stretching
     */
    record Llama3(double factor, double lowTurns, double highTurns, int originalPositions) implements RopeScaling {
        @Override
        public double[] frequencies(double theta, int headSize) {
            return RopeScaling.frequencies(theta, headSize, this::scale);
        }

        private double scale(double frequency) {
            double turns = originalPositions * frequency / (2 * Math.PI);
            if (turns < lowTurns) {
                return frequency / factor;
            }
            if (turns > highTurns) {
                return frequency;
            }
            double kept = (turns - lowTurns) / (highTurns - lowTurns);
            return (1 - kept) * frequency / factor + kept * frequency;
        }
    }

    /**
     * YaRN (arXiv 2309.00071): pairs that turn more than {@code fastTurns} times within the original context stay, those that turn
     * less than {@code slowTurns} times are divided by {@code factor}, and between the two it goes over linearly by the pair's
     * number. Queries and keys grow by {@code magnitude}.
     *
     * @param fastTurns {@code beta_fast}
     * @param slowTurns {@code beta_slow}
     * @param originalPositions context before stretching
     * @param magnitude {@code attention_factor}
     * @param wholePairs whether the two bounds are rounded outwards to whole pairs ({@code truncate})
     */
    record Yarn(
            double factor,
            double fastTurns,
            double slowTurns,
            int originalPositions,
            double magnitude,
            boolean wholePairs)
            implements RopeScaling {

        /** What {@code attention_factor} is when a checkpoint does not say. */
        static double usualMagnitude(double factor) {
            return magnitude(factor, 1);
        }

        /** {@code 0.1 mscale ln(factor) + 1}. */
        static double magnitude(double factor, double mscale) {
            return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
        }

        @Override
        public double[] frequencies(double theta, int headSize) {
            double[] frequencies = RopeScaling.frequencies(theta, headSize, frequency -> frequency);
            double first = pairThatTurns(fastTurns, theta, headSize);
            double last = pairThatTurns(slowTurns, theta, headSize);
            if (wholePairs) {
                first = Math.floor(first);
                last = Math.ceil(last);
            }
            first = Math.max(first, 0);
            last = Math.min(last, headSize - 1);
            double width = first == last ? 0.001 : last - first;
            for (int pair = 0; pair < frequencies.length; pair++) {
                double stretched = Math.min(1, Math.max(0, (pair - first) / width));
                frequencies[pair] *= stretched / factor + (1 - stretched);
            }
            return frequencies;
        }

        /** The number, not whole, of the pair that turns so often within the original context. */
        private double pairThatTurns(double turns, double theta, int headSize) {
            return headSize * Math.log(originalPositions / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
        }
    }
}
