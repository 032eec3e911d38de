package dev.kv8.llm;

/**
 * The quality of the predictions of tokens at some positions of their windows: 0 to 127, then up to each power of two.
 *
 * @param firstPosition of the predicted tokens; a window's first token, 0, is never predicted
 * @param lastPosition inclusive
 * @param quality of their predictions
 */
public record PositionBucket(int firstPosition, int lastPosition, PredictionQuality quality) {
    private static final int FIRST_SIZE = 128;

    static int index(int position) {
        return position < FIRST_SIZE
                ? 0
                : 1 + Integer.numberOfTrailingZeros(Integer.highestOneBit(position / FIRST_SIZE));
    }

    static PositionBucket of(int index, int context, PredictionQuality quality) {
        int first = index == 0 ? 0 : FIRST_SIZE << (index - 1);
        return new PositionBucket(first, Math.min(FIRST_SIZE << index, context) - 1, quality);
    }
}
