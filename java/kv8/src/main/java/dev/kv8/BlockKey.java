package dev.kv8;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HexFormat;

/**
 * The name of a full block's content: SHA-256 over the parent block's key and the block's tokens, from a root that stands for model,
 * weights, layout, types, scales and salt. Equal keys mean equal content, on every machine; nothing of a process is in it. The words
 * are the digest's bytes in little-endian order.
 */
public record BlockKey(long word0, long word1, long word2, long word3) {
    /** Bytes of a key. */
    public static final int BYTES = 4 * Long.BYTES;

    static BlockKey of(long[] keys, int at) {
        return new BlockKey(keys[at], keys[at + 1], keys[at + 2], keys[at + 3]);
    }

    void copyTo(long[] keys, int at) {
        keys[at] = word0;
        keys[at + 1] = word1;
        keys[at + 2] = word2;
        keys[at + 3] = word3;
    }

    /** The digest's 32 bytes; a new array. */
    public byte[] bytes() {
        return ByteBuffer.allocate(BYTES)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(word0)
                .putLong(word1)
                .putLong(word2)
                .putLong(word3)
                .array();
    }

    /** 64 hexadecimal digits, as {@link #parse} takes them. */
    public String hex() {
        return HexFormat.of().formatHex(bytes());
    }

    /**
     * Reads {@link #hex}.
     *
     * @throws IllegalArgumentException when it is anything else
     */
    public static BlockKey parse(String hex) {
        byte[] bytes = HexFormat.of().parseHex(hex);
        if (bytes.length != BYTES) {
            throw new IllegalArgumentException(
                    "\"" + hex + "\" has " + hex.length() + " digits; a block's key has " + 2 * BYTES + ".");
        }
        ByteBuffer words = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        return new BlockKey(words.getLong(), words.getLong(), words.getLong(), words.getLong());
    }

    @Override
    public String toString() {
        return hex();
    }
}
