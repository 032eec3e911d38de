package dev.kv8.natives;

import dev.kv8.DeviceMemory;
import dev.kv8.RopeTable;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_rope_table;
import org.jspecify.annotations.Nullable;

/** A {@code kv8_rope_table} inside an argument struct. */
final class RopeArgument {
    private final kv8_rope_table struct;
    private final SpanArgument table;
    private final SpanArgument positions;

    RopeArgument(kv8_rope_table struct, GivenMemory given) {
        this.struct = struct;
        this.table = new SpanArgument("the rope table", struct.table(), given);
        this.positions = new SpanArgument("positions", struct.positions(), given);
    }

    void set(@Nullable RopeTable rope, @Nullable DeviceMemory at) {
        if (rope == null) {
            struct.rotary_size(0);
            return;
        }
        if (at == null) {
            throw new IllegalArgumentException("A rope table needs the positions of the tokens, which are null.");
        }
        if (rope.rotarySize() < 2) {
            throw new IllegalArgumentException("The rope table's rotarySize is " + rope.rotarySize()
                    + "; give an even number from 2 to the head size, or no table for no rotation.");
        }
        table.set(rope.values());
        positions.set(at);
        struct.rotary_size(rope.rotarySize());
        struct.style(
                switch (rope.style()) {
                    case HALF -> kv8.KV8_ROPE_HALF;
                    case INTERLEAVED -> kv8.KV8_ROPE_INTERLEAVED;
                });
    }
}
