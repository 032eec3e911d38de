package dev.kv8.cli;

import dev.kv8.DType;
import dev.kv8.LayerLayout;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * One attention case on disk: its shape and the files beside it, all sizes checked before anything is computed. The
 * format is described in tests/goldens/README.md.
 */
record AttentionCase(
        Path folder,
        String name,
        DType storedType,
        int headSize,
        int queryHeads,
        int kvHeads,
        int blockSize,
        int blocks,
        int sequences,
        int maxBlocksPerSequence,
        int queries,
        int scales,
        float softmaxScale,
        int window,
        float softcap,
        boolean hasSinks,
        boolean hasAlibi) {

    static AttentionCase read(Path folder) throws IOException {
        CaseFields fields = CaseFields.read(folder);
        AttentionCase result = new AttentionCase(
                folder,
                fields.text("name"),
                storedType(fields),
                fields.integer("head_dim", 1),
                fields.integer("num_q_heads", 1),
                fields.integer("num_kv_heads", 1),
                fields.integer("block_size", 1),
                fields.integer("num_blocks", 1),
                fields.integer("num_seqs", 1),
                fields.integer("max_blocks_per_seq", 1),
                fields.integer("total_q", 1),
                fields.integer("num_scales", 1),
                fields.number("softmax_scale"),
                fields.integer("sliding_window", 0),
                fields.number("softcap"),
                fields.integer("has_sinks", 0) != 0,
                fields.integer("has_alibi", 0) != 0);
        if (fields.integer("causal", 0) != 1) {
            throw fields.invalid("causal", "kv8 computes causal attention only, so it must be 1");
        }
        if (result.scales != 1 && result.scales != result.kvHeads) {
            throw fields.invalid("num_scales", "it must be 1 or num_kv_heads = " + result.kvHeads);
        }
        if (result.queryHeads % result.kvHeads != 0) {
            throw fields.invalid("num_q_heads", "it must be a multiple of num_kv_heads = " + result.kvHeads);
        }
        result.checkFiles();
        return result;
    }

    private static DType storedType(CaseFields fields) throws IOException {
        return switch (fields.text("dtype")) {
            case "fp8", "fp8_e4m3" -> DType.E4M3FN;
            case "fp8_e5m2" -> DType.E5M2;
            default -> throw fields.invalid("dtype", "use fp8_e4m3 or fp8_e5m2");
        };
    }

    long blockBytes() {
        return (long) blockSize * kvHeads * headSize;
    }

    /** Bytes of all blocks of K, and of V. */
    long cacheBytes() {
        return blocks * blockBytes();
    }

    /** Bytes of q, and of the result. */
    long rowBytes() {
        return (long) queries * queryHeads * headSize * Float.BYTES;
    }

    long lseBytes() {
        return (long) queries * queryHeads * Float.BYTES;
    }

    /** The files' own order, [block][slot][head][channel]: V's blocks follow K's in one piece of memory. */
    LayerLayout layout() {
        return new LayerLayout(blocks, blockSize, kvHeads, headSize, blockBytes(), side(0), side(cacheBytes()));
    }

    private LayerLayout.Side side(long offset) {
        long slotStride = (long) kvHeads * headSize;
        return new LayerLayout.Side(storedType, offset, headSize, slotStride, LayerLayout.NO_ROW_SCALES, 0);
    }

    Path file(String fileName) {
        return folder.resolve(fileName);
    }

    /** An int32 file in host memory. */
    IntBuffer integers(String fileName) throws IOException {
        return ByteBuffer.wrap(Files.readAllBytes(file(fileName)))
                .order(ByteOrder.LITTLE_ENDIAN)
                .asIntBuffer();
    }

    private void checkFiles() throws IOException {
        checkSize("q.f32", rowBytes(), "[total_q][num_q_heads][head_dim] float32");
        checkSize("q_start.i32", (sequences + 1L) * Integer.BYTES, "[num_seqs + 1] int32");
        checkSize("seq_lens.i32", (long) sequences * Integer.BYTES, "[num_seqs] int32");
        checkSize("k_cache.u8", cacheBytes(), "[num_blocks][block_size][num_kv_heads][head_dim] bytes");
        checkSize("v_cache.u8", cacheBytes(), "[num_blocks][block_size][num_kv_heads][head_dim] bytes");
        checkSize(
                "block_table.i32",
                (long) sequences * maxBlocksPerSequence * Integer.BYTES,
                "[num_seqs][max_blocks_per_seq] int32");
        checkSize("k_scale.f32", (long) scales * Float.BYTES, "[num_scales] float32");
        checkSize("v_scale.f32", (long) scales * Float.BYTES, "[num_scales] float32");
        if (hasSinks) {
            checkSize("sinks.f32", (long) queryHeads * Float.BYTES, "[num_q_heads] float32");
        }
        if (hasAlibi) {
            checkSize("alibi_slopes.f32", (long) queryHeads * Float.BYTES, "[num_q_heads] float32");
        }
        checkSequences();
    }

    private void checkSize(String fileName, long expected, String shape) throws IOException {
        long actual = Files.size(file(fileName));
        if (actual != expected) {
            throw new IOException(
                    file(fileName) + " has " + actual + " bytes; the case's " + shape + " takes " + expected + ".");
        }
    }

    private void checkSequences() throws IOException {
        IntBuffer starts = integers("q_start.i32");
        IntBuffer lengths = integers("seq_lens.i32");
        if (starts.get(0) != 0 || starts.get(sequences) != queries) {
            throw new IOException(file("q_start.i32") + " goes from " + starts.get(0) + " to " + starts.get(sequences)
                    + "; it must go from 0 to total_q = " + queries + ".");
        }
        long capacity = (long) maxBlocksPerSequence * blockSize;
        for (int i = 0; i < sequences; i++) {
            if (starts.get(i + 1) < starts.get(i)) {
                throw new IOException(file("q_start.i32") + " descends after sequence " + i + ".");
            }
            if (lengths.get(i) < 0 || lengths.get(i) > capacity) {
                throw new IOException(file("seq_lens.i32") + " says " + lengths.get(i) + " keys for sequence " + i
                        + "; max_blocks_per_seq blocks hold 0 to " + capacity + ".");
            }
        }
    }
}
