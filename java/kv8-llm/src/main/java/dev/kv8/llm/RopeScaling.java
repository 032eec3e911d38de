package dev.kv8.llm;

/** How a checkpoint stretches rotary positions beyond those it was first trained on. */
public sealed interface RopeScaling {

    /**
     * The angle per position of a pair after scaling.
     *
     * @param frequency of the pair before, in radians per position
     */
    double scale(double frequency);

    /** Positions as they are. */
    record None() implements RopeScaling {
        @Override
        public double scale(double frequency) {
            return frequency;
        }
    }

    /** All positions divided by {@code factor}. */
    record Linear(double factor) implements RopeScaling {
        @Override
        public double scale(double frequency) {
            return frequency / factor;
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
        public double scale(double frequency) {
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
}
