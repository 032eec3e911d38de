package dev.kv8.natives;

import dev.kv8.AmaxGranularity;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_amax_args;
import dev.kv8.natives.abi.kv8_cast_args;

/** The reused structs of {@code kv8_cast} and {@code kv8_amax}; guarded by their backend. */
final class NumericsArguments {
    private final GivenMemory given;

    NumericsArguments(GivenMemory given) {
        this.given = given;
    }

    final class Cast {
        final kv8_cast_args struct = new kv8_cast_args(Struct.zeroed(kv8_cast_args.class));
        private final SpanArgument source = new SpanArgument("source", struct.src(), given);
        private final SpanArgument target = new SpanArgument("target", struct.dst(), given);

        Cast() {
            struct.struct_size(struct.sizeof());
        }

        void set(DeviceMemory from, DType fromType, DeviceMemory to, DType toType, long count, float scale) {
            source.set(from);
            target.set(to);
            struct.src_dtype(fromType.code());
            struct.dst_dtype(toType.code());
            struct.count(count);
            struct.scale(scale);
        }
    }

    final class Amax {
        final kv8_amax_args struct = new kv8_amax_args(Struct.zeroed(kv8_amax_args.class));
        private final RowsArgument x = new RowsArgument("x", struct.x(), given);
        private final SpanArgument out = new SpanArgument("out", struct.out(), given);

        Amax() {
            struct.struct_size(struct.sizeof());
        }

        void set(HeadRows rows, int tokens, AmaxGranularity granularity, DeviceMemory result, boolean accumulate) {
            x.set(rows);
            out.set(result);
            struct.granularity(
                    switch (granularity) {
                        case TENSOR -> kv8.KV8_AMAX_TENSOR;
                        case HEAD -> kv8.KV8_AMAX_HEAD;
                        case CHANNEL -> kv8.KV8_AMAX_CHANNEL;
                        case ROW -> kv8.KV8_AMAX_ROW;
                    });
            struct.tokens(tokens);
            struct.heads(rows.heads());
            struct.width(rows.width());
            struct.accumulate(accumulate ? 1 : 0);
        }
    }
}
