package dev.kv8.natives;

import dev.kv8.Activation;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.RopeTable;
import dev.kv8.natives.abi.kv8_embedding_args;
import dev.kv8.natives.abi.kv8_gate_mul_args;
import dev.kv8.natives.abi.kv8_matmul_args;
import dev.kv8.natives.abi.kv8_rms_norm_args;
import dev.kv8.natives.abi.kv8_rope_args;
import dev.kv8.natives.abi.kv8_sample_args;
import dev.kv8.natives.abi.kv8_softcap_args;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** The reused structs of what an engine needs beside the cache; guarded by their backend. */
final class EngineArguments {
    private final GivenMemory given;

    EngineArguments(GivenMemory given) {
        this.given = given;
    }

    final class Matmul {
        final kv8_matmul_args struct = new kv8_matmul_args(Struct.zeroed(kv8_matmul_args.class));
        private final RowsArgument x = new RowsArgument("x", struct.x(), given);
        private final RowsArgument y = new RowsArgument("y", struct.y(), given);
        private final SpanArgument weights = new SpanArgument("weights", struct.weights(), given);
        private final SpanArgument bias = new SpanArgument("bias", struct.bias(), given);

        Matmul() {
            struct.struct_size(struct.sizeof());
        }

        void set(
                HeadRows rows,
                DeviceMemory matrix,
                DType matrixType,
                @Nullable DeviceMemory offset,
                HeadRows result,
                int tokens,
                int sumLength) {
            x.set(rows, 1, rows.width());
            y.set(result, 1, result.width());
            weights.set(matrix);
            bias.setOptional(offset);
            struct.tokens(tokens);
            struct.outputs(result.width());
            struct.inputs(rows.width());
            struct.weights_dtype(matrixType.code());
            struct.sum_length(sumLength);
        }
    }

    final class RmsNorm {
        final kv8_rms_norm_args struct = new kv8_rms_norm_args(Struct.zeroed(kv8_rms_norm_args.class));
        private final RowsArgument x = new RowsArgument("x", struct.x(), given);
        private final RowsArgument residual = new RowsArgument("residual", struct.residual(), given);
        private final SpanArgument weight = new SpanArgument("weight", struct.weight(), given);
        private final RowsArgument out = new RowsArgument("out", struct.out(), given);

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

    final class Rope {
        final kv8_rope_args struct = new kv8_rope_args(Struct.zeroed(kv8_rope_args.class));
        private final RowsArgument x = new RowsArgument("x", struct.x(), given);
        private final RopeArgument rope = new RopeArgument(struct.rope(), given);

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

    final class GateMul {
        final kv8_gate_mul_args struct = new kv8_gate_mul_args(Struct.zeroed(kv8_gate_mul_args.class));
        private final RowsArgument gate = new RowsArgument("gate", struct.gate(), given);
        private final RowsArgument up = new RowsArgument("up", struct.up(), given);
        private final RowsArgument out = new RowsArgument("out", struct.out(), given);

        GateMul() {
            struct.struct_size(struct.sizeof());
        }

        void set(Activation activation, HeadRows gates, HeadRows ups, HeadRows result, int tokens) {
            struct.activation(
                    Objects.requireNonNull(activation, "activation is null.").code());
            gate.set(gates, 1, gates.width());
            up.set(ups, 1, gates.width());
            out.set(result, 1, gates.width());
            struct.tokens(tokens);
            struct.width(gates.width());
        }
    }

    final class Softcap {
        final kv8_softcap_args struct = new kv8_softcap_args(Struct.zeroed(kv8_softcap_args.class));
        private final RowsArgument x = new RowsArgument("x", struct.x(), given);

        Softcap() {
            struct.struct_size(struct.sizeof());
        }

        void set(HeadRows rows, int tokens, float cap) {
            x.set(rows, 1, rows.width());
            struct.tokens(tokens);
            struct.width(rows.width());
            struct.cap(cap);
        }
    }

    final class Embedding {
        final kv8_embedding_args struct = new kv8_embedding_args(Struct.zeroed(kv8_embedding_args.class));
        private final SpanArgument table = new SpanArgument("table", struct.table(), given);
        private final SpanArgument ids = new SpanArgument("ids", struct.ids(), given);
        private final RowsArgument out = new RowsArgument("out", struct.out(), given);

        Embedding() {
            struct.struct_size(struct.sizeof());
        }

        void set(
                DeviceMemory rows,
                DType rowsType,
                int vocabulary,
                DeviceMemory tokenIds,
                HeadRows result,
                int tokens,
                float scale) {
            table.set(rows);
            struct.table_dtype(rowsType.code());
            struct.vocabulary(vocabulary);
            ids.set(tokenIds);
            out.set(result, 1, result.width());
            struct.tokens(tokens);
            struct.width(result.width());
            struct.scale(scale);
        }
    }

    final class Sample {
        final kv8_sample_args struct = new kv8_sample_args(Struct.zeroed(kv8_sample_args.class));
        private final RowsArgument logits = new RowsArgument("logits", struct.logits(), given);
        private final SpanArgument sampling = new SpanArgument("sampling", struct.sampling(), given);
        private final SpanArgument ids = new SpanArgument("ids", struct.ids(), given);

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
