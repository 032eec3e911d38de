package dev.kv8.natives;

import dev.kv8.HeadRows;
import dev.kv8.natives.abi.kv8_rows;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A {@code kv8_rows} inside an argument struct. */
final class RowsArgument {
    private final String name;
    private final String missing;
    private final kv8_rows struct;
    private final GivenMemory given;
    private final SpanArgument data;

    RowsArgument(String name, kv8_rows struct, GivenMemory given) {
        this.name = name;
        this.missing = name + " is null.";
        this.struct = struct;
        this.given = given;
        this.data = new SpanArgument(name, struct.data(), given);
    }

    /** The C struct has no heads and width of its own: they are the call's, so they are compared here. */
    void set(HeadRows rows, int heads, int width) {
        Objects.requireNonNull(rows, missing);
        if (rows.heads() != heads || rows.width() != width) {
            throw new IllegalArgumentException(name + " has " + rows.heads() + " heads of " + rows.width()
                    + " elements; this call needs " + heads + " heads of " + width + ".");
        }
        set(rows);
    }

    void set(HeadRows rows) {
        Objects.requireNonNull(rows, missing);
        data.set(given.address(rows.memory()) + rows.offset(), rows.memory().bytes() - rows.offset());
        struct.token_stride(rows.tokenStride());
        struct.head_stride(rows.headStride());
        struct.dtype(rows.dtype().code());
    }

    void setOptional(@Nullable HeadRows rows, int heads, int width) {
        if (rows == null) {
            data.set(0, 0);
        } else {
            set(rows, heads, width);
        }
    }
}
