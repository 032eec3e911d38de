package dev.kv8.redis;

import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.protocol.CommandArgs;
import io.netty.buffer.ByteBuf;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/**
 * The arguments of a SET of one part, written from the frame straight into the connection's buffer. Once {@link #retire}d, as when the
 * command timed out before it was sent, the frame may hold something else: an empty value is sent then, which is a miss for whoever
 * loads it.
 */
final class SetPart extends CommandArgs<byte[], byte[]> {
    private static final int OVERHEAD = 64;

    private final ByteBuffer bytes;
    private final byte[] before;
    private final byte[] after;
    private boolean retired;

    SetPart(FramePart part, Duration timeToLive) {
        super(ByteArrayCodec.INSTANCE);
        addKey(part.key()); // for routing only
        this.bytes = part.bytes();
        String life = Long.toString(timeToLive.toMillis());
        before = ascii("$" + part.key().length + "\r\n" + new String(part.key(), StandardCharsets.US_ASCII) + "\r\n");
        after = ascii("\r\n$2\r\nPX\r\n$" + life.length() + "\r\n" + life + "\r\n");
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    @Override
    public int count() {
        return 4;
    }

    @Override
    public synchronized void encode(ByteBuf target) {
        int length = retired ? 0 : bytes.remaining();
        target.ensureWritable(before.length + after.length + length + OVERHEAD);
        target.writeBytes(before);
        target.writeBytes(ascii("$" + length + "\r\n"));
        if (length > 0) {
            target.writeBytes(bytes.duplicate());
        }
        target.writeBytes(after);
    }

    /** The frame's bytes are not touched after this returns. */
    synchronized void retire() {
        retired = true;
    }
}
