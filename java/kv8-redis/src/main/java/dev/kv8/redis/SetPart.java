package dev.kv8.redis;

import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.protocol.CommandArgs;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * The arguments of a SET of one part. The socket takes the value from the frame itself ({@link ValueWriter}), so the frame must not hold
 * something else before {@link #retire} says so. Once retired, as when the command timed out before it was sent, an empty value
 * is sent, which is a miss for whoever loads it.
 */
final class SetPart extends CommandArgs<byte[], byte[]> {
    private final ByteBuffer bytes;
    private final byte[] key;
    private final byte[] after;
    private boolean retired;
    /** Writes of the value that are under way: more than one where a cluster's node sends the command on to another. */
    private int writing;
    /** Made by {@link #retire} when a write is under way. */
    private @Nullable CompletableFuture<Void> untouched;

    SetPart(FramePart part, Duration timeToLive) {
        super(ByteArrayCodec.INSTANCE);
        addKey(part.key()); // for routing only
        this.bytes = part.bytes();
        String life = Long.toString(timeToLive.toMillis());
        key = ascii("$" + part.key().length + "\r\n" + new String(part.key(), StandardCharsets.US_ASCII) + "\r\n");
        after = ascii("\r\n$2\r\nPX\r\n$" + life.length() + "\r\n" + life + "\r\n");
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    @Override
    public int count() {
        return 4;
    }

    /** The value, to be written now; {@link #wrote} must be called when that has ended. */
    synchronized ByteBuf value() {
        writing++;
        return retired ? Unpooled.EMPTY_BUFFER : Unpooled.wrappedBuffer(bytes.duplicate());
    }

    /** What is sent before a value of {@code length} bytes: the whole command up to there. */
    byte[][] before(int length) {
        return new byte[][] {ascii("*5\r\n$3\r\nSET\r\n"), key, ascii("$" + length + "\r\n")};
    }

    byte[] after() {
        return after;
    }

    /** A write that began with {@link #value} has ended, well or not. */
    void wrote() {
        CompletableFuture<Void> waiting;
        synchronized (this) {
            waiting = --writing == 0 ? untouched : null;
        }
        if (waiting != null) {
            waiting.complete(null);
        }
    }

    /** The frame's bytes are not touched any more when the result is done; at once unless they are being sent. */
    synchronized CompletableFuture<Void> retire() {
        retired = true;
        if (writing == 0) {
            return CompletableFuture.completedFuture(null);
        }
        untouched = new CompletableFuture<>();
        return untouched;
    }
}
