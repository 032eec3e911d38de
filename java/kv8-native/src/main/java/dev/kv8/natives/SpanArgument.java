package dev.kv8.natives;

import dev.kv8.DeviceMemory;
import dev.kv8.natives.abi.kv8_span;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A {@code kv8_span} inside an argument struct; kept because JavaCPP makes a new wrapper at each access to a member. */
final class SpanArgument {
    final kv8_span struct;
    private final GivenMemory given;
    private final String missing;

    SpanArgument(String name, kv8_span struct, GivenMemory given) {
        this.struct = struct;
        this.given = given;
        this.missing = name + " is null.";
    }

    void set(DeviceMemory memory) {
        Objects.requireNonNull(memory, missing);
        set(given.address(memory), memory.bytes());
    }

    void setOptional(@Nullable DeviceMemory memory) {
        if (memory == null) {
            set(0, 0);
        } else {
            set(memory);
        }
    }

    void set(long address, long bytes) {
        struct.ptr(address);
        struct.bytes(bytes);
    }
}
