package dev.kv8;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.stream.Stream;

/**
 * Where everything lies inside a block. Decision: all layers of a block lie together, so one copy moves a block to a tier or
 * to a fork. Of {@linkplain LayerGroups several groups} a block has the layers of one, and is as large as the largest one's. Each
 * layer's part is K as {@code [kv_head][slot][head_size]}, then V, then row scales.
 *
 * <p>Head sizes are multiples of 16 and block sizes of 8, so rows start at multiples of 16 bytes by themselves. Parts are
 * multiples of 64 bytes but for the row scales of one side alone, hence rounding a block up to 64 costs 32 bytes at most.
 */
final class PoolLayout {
    private static final int BLOCK_ALIGNMENT = 64;

    private final int blockSize;
    private final int kvHeads;
    private final int headSize;
    private final LayerGroups groups;
    /** By group: where the parts of its layers end. */
    private final long[] ends;

    private final LayerLayout.Side[] k;
    private final LayerLayout.Side[] v;
    private final long blockBytes;

    /** @throws IllegalArgumentException when a block has more bytes than a long holds */
    PoolLayout(
            LayerGroups groups,
            int blockSize,
            int kvHeads,
            int headSize,
            DType[] kDtypes,
            DType[] vDtypes,
            boolean[] kRowScales,
            boolean[] vRowScales) {
        this.groups = groups;
        this.blockSize = blockSize;
        this.kvHeads = kvHeads;
        this.headSize = headSize;
        int layers = kDtypes.length;
        k = new LayerLayout.Side[layers];
        v = new LayerLayout.Side[layers];
        ends = new long[groups.count()];
        try {
            for (int layer = 0; layer < layers; layer++) {
                long offset = ends[groups.of(layer)];
                long vOffset = Math.addExact(offset, rowBytes(kDtypes[layer]));
                long kRowOffset = Math.addExact(vOffset, rowBytes(vDtypes[layer]));
                long vRowOffset = Math.addExact(kRowOffset, kRowScales[layer] ? rowScaleBytes() : 0);
                k[layer] = side(kDtypes[layer], offset, kRowScales[layer], kRowOffset);
                v[layer] = side(vDtypes[layer], vOffset, vRowScales[layer], vRowOffset);
                ends[groups.of(layer)] = Math.addExact(vRowOffset, vRowScales[layer] ? rowScaleBytes() : 0);
            }
            long most = Arrays.stream(ends).max().orElseThrow();
            blockBytes = Math.addExact(most, BLOCK_ALIGNMENT - 1) / BLOCK_ALIGNMENT * BLOCK_ALIGNMENT;
        } catch (ArithmeticException e) {
            throw new IllegalArgumentException(
                    "A block of " + blockSize + " tokens with " + layers + " layers and " + kvHeads + " KV heads of "
                            + headSize + " has more bytes than an address space holds.",
                    e);
        }
    }

    /** At most 2^48. */
    private long rowBytes(DType dtype) {
        return (long) kvHeads * blockSize * headSize * dtype.bytes();
    }

    private long rowScaleBytes() {
        return (long) kvHeads * blockSize * Float.BYTES;
    }

    private LayerLayout.Side side(DType dtype, long offset, boolean rowScales, long rowScaleOffset) {
        long slotStride = (long) headSize * dtype.bytes();
        return new LayerLayout.Side(
                dtype,
                offset,
                blockSize * slotStride,
                slotStride,
                rowScales ? rowScaleOffset : LayerLayout.NO_ROW_SCALES,
                rowScales ? (long) blockSize * Float.BYTES : 0);
    }

    long blockBytes() {
        return blockBytes;
    }

    /** Of these, row scales; of a block of the group with most of them. */
    long rowScaleBytesOfBlock() {
        long most = 0;
        for (int group = 0; group < groups.count(); group++) {
            long sides = 0;
            for (int layer = 0; layer < k.length; layer++) {
                if (groups.of(layer) == group) {
                    sides += (k[layer].hasRowScales() ? 1 : 0) + (v[layer].hasRowScales() ? 1 : 0);
                }
            }
            most = Math.max(most, sides * rowScaleBytes());
        }
        return most;
    }

    int groups() {
        return groups.count();
    }

    /** Of which group a block has the layer. */
    int group(int layer) {
        return groups.of(layer);
    }

    int layers() {
        return k.length;
    }

    DType kDtype(int layer) {
        return k[layer].dtype();
    }

    DType vDtype(int layer) {
        return v[layer].dtype();
    }

    LayerLayout layer(int layer, int blocks) {
        return new LayerLayout(blocks, blockSize, kvHeads, headSize, blockBytes, k[layer], v[layer]);
    }

    /** Sets to zero what is behind the first {@code tokens} tokens of a block of {@code group}, and what belongs to no token. */
    void clearBehind(ByteBuffer block, int tokens, int group) {
        for (int layer = 0; layer < k.length; layer++) {
            if (groups.of(layer) == group) {
                clear(block, k[layer], tokens);
                clear(block, v[layer], tokens);
            }
        }
        clearUnused(block, group);
    }

    /** Sets to zero what belongs to no layer in a block of {@code group}. */
    void clearUnused(ByteBuffer block, int group) {
        fillZero(block, Math.toIntExact(ends[group]), Math.toIntExact(blockBytes));
    }

    private void clear(ByteBuffer block, LayerLayout.Side side, int tokens) {
        for (int head = 0; head < kvHeads; head++) {
            int rows = Math.toIntExact(side.offset() + head * side.headStride());
            fillZero(
                    block,
                    rows + Math.toIntExact(tokens * side.slotStride()),
                    rows + Math.toIntExact(side.headStride()));
        }
        for (int head = 0; head < kvHeads && side.hasRowScales(); head++) {
            int scales = Math.toIntExact(side.rowScaleOffset() + head * side.rowScaleHeadStride());
            fillZero(block, scales + tokens * Float.BYTES, scales + blockSize * Float.BYTES);
        }
    }

    private static void fillZero(ByteBuffer block, int from, int to) {
        for (int i = from; i < to; i++) {
            block.put(i, (byte) 0);
        }
    }

    /** Every stored type, each once. */
    DType[] dtypes() {
        return Stream.concat(Arrays.stream(k), Arrays.stream(v))
                .map(LayerLayout.Side::dtype)
                .distinct()
                .toArray(DType[]::new);
    }
}
