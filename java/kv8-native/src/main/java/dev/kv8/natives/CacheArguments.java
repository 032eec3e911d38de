package dev.kv8.natives;

import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.RopeTable;
import dev.kv8.natives.abi.kv8_gather_args;
import dev.kv8.natives.abi.kv8_move_blocks_args;
import dev.kv8.natives.abi.kv8_write_args;
import org.jspecify.annotations.Nullable;

/** The reused structs of {@code kv8_write}, {@code kv8_gather} and {@code kv8_move_blocks}; guarded by their backend. */
final class CacheArguments {
    private final GivenMemory given;

    CacheArguments(GivenMemory given) {
        this.given = given;
    }

    final class Write {
        final kv8_write_args struct = new kv8_write_args(Struct.zeroed(kv8_write_args.class));
        private final RowsArgument k = new RowsArgument("k", struct.k(), given);
        private final RowsArgument v = new RowsArgument("v", struct.v(), given);
        private final SpanArgument slots = new SpanArgument("slots", struct.slots(), given);
        private final RopeArgument rope = new RopeArgument(struct.rope(), given);
        private final SpanArgument saturated = new SpanArgument("saturated", struct.saturated(), given);

        Write() {
            struct.struct_size(struct.sizeof());
        }

        void set(
                NativeCacheView view,
                HeadRows keys,
                HeadRows values,
                int tokens,
                DeviceMemory slotMapping,
                @Nullable RopeTable table,
                @Nullable DeviceMemory positions,
                @Nullable DeviceMemory saturatedCounts) {
            struct.view(given.struct(view));
            k.set(keys, view.layout().kvHeads(), view.layout().headSize());
            v.set(values, view.layout().kvHeads(), view.layout().headSize());
            struct.tokens(tokens);
            slots.set(slotMapping);
            rope.set(table, positions);
            saturated.setOptional(saturatedCounts);
        }
    }

    final class Gather {
        final kv8_gather_args struct = new kv8_gather_args(Struct.zeroed(kv8_gather_args.class));
        private final RowsArgument k = new RowsArgument("k", struct.k(), given);
        private final RowsArgument v = new RowsArgument("v", struct.v(), given);
        private final SpanArgument slots = new SpanArgument("slots", struct.slots(), given);

        Gather() {
            struct.struct_size(struct.sizeof());
        }

        void set(NativeCacheView view, HeadRows keys, HeadRows values, int tokens, DeviceMemory slotMapping) {
            struct.view(given.struct(view));
            k.set(keys, view.layout().kvHeads(), view.layout().headSize());
            v.set(values, view.layout().kvHeads(), view.layout().headSize());
            struct.tokens(tokens);
            slots.set(slotMapping);
        }
    }

    final class MoveBlocks {
        final kv8_move_blocks_args struct = new kv8_move_blocks_args(Struct.zeroed(kv8_move_blocks_args.class));
        private final SpanArgument pairs = new SpanArgument("pairs", struct.pairs(), given);

        MoveBlocks() {
            struct.struct_size(struct.sizeof());
        }

        void set(NativeCacheView source, NativeCacheView target, int count, DeviceMemory blockPairs) {
            struct.src(given.struct(source));
            struct.dst(given.struct(target));
            struct.count(count);
            pairs.set(blockPairs);
        }
    }
}
