package dev.kv8;

/**
 * Rotary embedding angles on the device: float32 {@code [maxPositions][rotarySize]}, half of a row cosines, half sines.
 * The first {@code rotarySize} elements of a head are rotated.
 *
 * @param values the table
 * @param rotarySize even, at most the head size
 * @param style which elements form a pair
 */
public record RopeTable(DeviceMemory values, int rotarySize, Style style) {

    /** Which elements are rotated together. */
    public enum Style {
        /** (i, i + rotarySize/2): Llama and Hugging Face's "rotate half". */
        HALF,
        /** (2i, 2i + 1): GPT-J. */
        INTERLEAVED
    }

    /** How many positions the table holds. */
    public long maxPositions() {
        return values.bytes() / (4L * rotarySize);
    }
}
