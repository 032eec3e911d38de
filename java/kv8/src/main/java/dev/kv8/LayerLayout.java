package dev.kv8;

/**
 * Where one layer's K and V lie in a paged cache: block {@code b} begins at {@code b * blockStride}, everything else
 * counts in bytes from there.
 *
 * @param blocks number of blocks
 * @param blockSize tokens in a block
 * @param kvHeads heads of K and of V
 * @param headSize elements of a row: 64, 80, 96, 112, 128, 192 or 256
 * @param blockStride bytes between blocks
 * @param k where K is inside a block
 * @param v where V is inside a block
 */
public record LayerLayout(int blocks, int blockSize, int kvHeads, int headSize, long blockStride, Side k, Side v) {

    /** {@link Side#rowScaleOffset} of a side without row scales. */
    public static final long NO_ROW_SCALES = -1;

    /**
     * K or V inside a block.
     *
     * @param dtype the stored type
     * @param offset of head 0, slot 0
     * @param headStride bytes between heads
     * @param slotStride bytes between the tokens of a block
     * @param rowScaleOffset of the float32 scale of head 0, slot 0, or {@link #NO_ROW_SCALES}
     * @param rowScaleHeadStride bytes between heads' row scales; those of one head are 4 bytes apart
     */
    public record Side(
            DType dtype, long offset, long headStride, long slotStride, long rowScaleOffset, long rowScaleHeadStride) {

        public boolean hasRowScales() {
            return rowScaleOffset != NO_ROW_SCALES;
        }

        /** The same places with elements of another type of the same size. */
        Side withDtype(DType other) {
            return new Side(other, offset, headStride, slotStride, rowScaleOffset, rowScaleHeadStride);
        }
    }
}
