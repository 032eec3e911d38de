package dev.kv8.redis;

import dev.kv8.BlockKey;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * One value of a frame. A frame up to {@link #MOST_BYTES} is one value; a larger one is cut, because servers handle values of a few
 * MiB best. All parts have the same hash tag, so a cluster keeps them on one node. Which of them are missing or do not belong
 * together is told by the checksum of the whole.
 */
final class FramePart {
    static final int MOST_BYTES = 4 << 20;

    private final byte[] key;
    private final ByteBuffer bytes;

    private FramePart(byte[] key, ByteBuffer bytes) {
        this.key = key;
        this.bytes = bytes;
    }

    /** Of the value; not to be changed. */
    byte[] key() {
        return key;
    }

    /** The frame's bytes, or the room for them. */
    ByteBuffer bytes() {
        return bytes;
    }

    static byte[] key(BlockKey key, int part) {
        String name = "kv8:1:{" + key.hex() + "}" + (part == 0 ? "" : ":" + part);
        return name.getBytes(StandardCharsets.US_ASCII);
    }

    static int count(int frameBytes) {
        return Math.max(1, (frameBytes - 1) / MOST_BYTES + 1);
    }

    static List<FramePart> of(BlockKey key, ByteBuffer frame) {
        int length = frame.remaining();
        List<FramePart> parts = new ArrayList<>();
        for (int part = 0; part < count(length); part++) {
            int from = part * MOST_BYTES;
            parts.add(new FramePart(
                    key(key, part), frame.slice(frame.position() + from, Math.min(MOST_BYTES, length - from))));
        }
        return parts;
    }
}
