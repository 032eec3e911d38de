package dev.kv8;

/**
 * Rows of a mixed batch in device memory: {@code [tokens][heads][width]}, the width contiguous. Queries, keys, values,
 * attention outputs; with one head also hidden states. The number of tokens is the batch's.
 *
 * @param memory where the rows are
 * @param offset of token 0, head 0, in bytes
 * @param dtype float32, float16 or bfloat16
 * @param heads rows of a token
 * @param width elements of a row
 * @param tokenStride bytes between tokens
 * @param headStride bytes between heads
 */
public record HeadRows(
        DeviceMemory memory, long offset, DType dtype, int heads, int width, long tokenStride, long headStride) {

    public HeadRows {
        if (dtype.isFp8()) {
            throw new IllegalArgumentException("Rows are float32, float16 or bfloat16, not " + dtype + ".");
        }
        if (heads < 1 || width < 1) {
            throw new IllegalArgumentException(
                    "Rows need at least one head and one element, not " + heads + " heads of " + width + ".");
        }
        memory.checkRange(offset, 0);
    }

    /** Rows without gaps from the start of {@code memory}. */
    public static HeadRows of(DeviceMemory memory, DType dtype, int heads, int width) {
        long headStride = (long) width * dtype.bytes();
        return new HeadRows(memory, 0, dtype, heads, width, heads * headStride, headStride);
    }

    /**
     * A part of each token's row, for instance K in a fused QKV projection: {@code heads} heads of {@code width} elements
     * that begin {@code elements} elements after token's first.
     */
    public HeadRows columns(long elements, int newHeads, int newWidth) {
        return new HeadRows(
                memory,
                offset + elements * dtype.bytes(),
                dtype,
                newHeads,
                newWidth,
                tokenStride,
                (long) newWidth * dtype.bytes());
    }
}
