package dev.kv8.cli;

import dev.kv8.ByteSize;
import java.util.List;

/** A size in bytes or with a binary unit: 64MiB, 8GiB. */
final class MemorySize extends OptionValue<ByteSize> {
    MemorySize() {
        super(ByteSize::parse, List.of());
    }
}
