package dev.kv8.natives;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.RopeTable;
import dev.kv8.natives.abi.kv8_embedding_args;
import dev.kv8.natives.abi.kv8_rms_norm_args;
import dev.kv8.natives.abi.kv8_rope_args;
import dev.kv8.natives.abi.kv8_sample_args;
import dev.kv8.natives.abi.kv8_silu_mul_args;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** The reused structs of what an engine needs beside a GEMM; guarded by their backend. */
final class EngineArguments {
    private EngineArguments() {}

    static final class RmsNorm {
        final kv8_rms_norm_args struct = new kv8_rms_norm_args(Struct.zeroed(kv8_rms_norm_args.class));
        private final RowsArgument x = new RowsArgument("x", struct.x());
        private final RowsArgument residual = new RowsArgument("residual", struct.residual());
        private final SpanArgument weight = new SpanArgument("weight", struct.weight());
        private final RowsArgument out = new RowsArgument("out", struct.out());

        RmsNorm() {
            struct.struct_size(struct.sizeof());
        }

        void set(
                HeadRows rows,
                @Nullable HeadRows sum,
                DeviceMemory weights,
                DType weightType,
                float eps,
                HeadRows result,
                int tokens) {
            x.set(rows);
            residual.setOptional(sum, rows.heads(), rows.width());
            weight.set(weights);
            struct.weight_dtype(weightType.code());
            struct.eps(eps);
            out.set(result, rows.heads(), rows.width());
            struct.tokens(tokens);
            struct.heads(rows.heads());
            struct.width(rows.width());
        }
    }

    static final class Rope {
        final kv8_rope_args struct = new kv8_rope_args(Struct.zeroed(kv8_rope_args.class));
        private final RowsArgument x = new RowsArgument("x", struct.x());
        private final RopeArgument rope = new RopeArgument(struct.rope());

        Rope() {
            struct.struct_size(struct.sizeof());
        }

        void set(HeadRows rows, RopeTable table, DeviceMemory positions, int tokens) {
            x.set(rows);
            rope.set(Objects.requireNonNull(table, "table is null."), positions);
            struct.tokens(tokens);
            struct.heads(rows.heads());
            struct.width(rows.width());
        }
    }

    static final class SiluMul {
        final kv8_silu_mul_args struct = new kv8_silu_mul_args(Struct.zeroed(kv8_silu_mul_args.class));
        private final RowsArgument gate = new RowsArgument("gate", struct.gate());
        private final RowsArgument up = new RowsArgument("up", struct.up());
        private final RowsArgument out = new RowsArgument("out", struct.out());

        SiluMul() {
            struct.struct_size(struct.sizeof());
        }

        void set(HeadRows gates, HeadRows ups, HeadRows result, int tokens) {
            gate.set(gates, 1, gates.width());
            up.set(ups, 1, gates.width());
            out.set(result, 1, gates.width());
            struct.tokens(tokens);
            struct.width(gates.width());
        }
    }

    static final class Embedding {
        final kv8_embedding_args struct = new kv8_embedding_args(Struct.zeroed(kv8_embedding_args.class));
        private final SpanArgument table = new SpanArgument("table", struct.table());
        private final SpanArgument ids = new SpanArgument("ids", struct.ids());
        private final RowsArgument out = new RowsArgument("out", struct.out());

        Embedding() {
            struct.struct_size(struct.sizeof());
        }

        void set(
                DeviceMemory rows, DType rowsType, int vocabulary, DeviceMemory tokenIds, HeadRows result, int tokens) {
            table.set(rows);
            struct.table_dtype(rowsType.code());
            struct.vocabulary(vocabulary);
            ids.set(tokenIds);
            out.set(result, 1, result.width());
            struct.tokens(tokens);
            struct.width(result.width());
        }
    }

    static final class Sample {
        final kv8_sample_args struct = new kv8_sample_args(Struct.zeroed(kv8_sample_args.class));
        private final RowsArgument logits = new RowsArgument("logits", struct.logits());
        private final SpanArgument sampling = new SpanArgument("sampling", struct.sampling());
        private final SpanArgument ids = new SpanArgument("ids", struct.ids());

        Sample() {
            struct.struct_size(struct.sizeof());
        }

        void set(HeadRows rows, DeviceMemory parameters, DeviceMemory tokenIds, int tokens) {
            logits.set(rows, 1, rows.width());
            sampling.set(parameters);
            ids.set(tokenIds);
            struct.tokens(tokens);
            struct.vocabulary(rows.width());
        }
    }
}
