package dev.kv8.redis;

import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.output.CommandOutput;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * Where the answer to a GETEX of one part goes: from the connection's buffer straight into the frame. Once {@link #retire}d, as when
 * the command timed out, a late answer goes nowhere.
 */
final class GetPart extends CommandOutput<byte[], byte[], Integer> {
    /** What {@link #get} gives when there is no such value. */
    static final int ABSENT = -1;

    private final ByteBuffer room;
    private boolean retired;

    GetPart(FramePart part) {
        super(ByteArrayCodec.INSTANCE, ABSENT);
        this.room = part.bytes();
    }

    @Override
    public synchronized void set(@Nullable ByteBuffer value) {
        if (value == null || retired) {
            return;
        }
        output = value.remaining(); // longer than the room: the length tells that it is not the frame
        if (value.remaining() <= room.remaining()) {
            room.duplicate().put(value);
        }
    }

    /** The frame's bytes are not touched after this returns. */
    synchronized void retire() {
        retired = true;
    }
}
