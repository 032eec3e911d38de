package dev.kv8;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;

/**
 * What a tier keeps of a block, little-endian: a header of 128 bytes, then the block as it lies in the pool, row scales included.
 *
 * <pre>
 *   0  magic "KV8B"            32  key, 32 bytes              88  CRC32C of the block
 *   4  version, uint16         64  bytes of the block, int64  92  zeros
 *   6  header length, uint16   72  of these, row scales,     124  CRC32C of bytes 0 to 123
 *   8  flags, 0                    int64
 *  12  tokens, int32           80  zeros
 *  16  layout fingerprint
 * </pre>
 *
 * <p>What a whole header says otherwise is of another version, flags included. Neither the parent's key nor the weights nor
 * rotary embedding have fields: the key is a digest of the parent's key and the tokens, and its root of the model's id and the
 * weights' name, which tell models apart that differ in anything; the fingerprint is of what the bytes mean.
 *
 * <p>Decision: static scales are not in the frame but in its fingerprint and, as their digest, in its key, so codes can't be read with
 * scales other than their own, and 1 MiB of codes does not drag 256 KiB of channel scales along.
 */
final class BlockFrame {
    static final int HEADER = 128;
    private static final int MAGIC = 0x4238564B;
    private static final int VERSION = 1;
    private static final int HEADER_CRC = 124;
    private static final int PAYLOAD_CRC = 88;

    /** What {@link #check} finds. */
    enum Verdict {
        /** It is the block that was asked for, bit for bit. */
        INTACT,
        /** Too short, or a checksum is wrong. */
        DAMAGED,
        /** Whole, but of another format or cache. */
        INCOMPATIBLE,
        /** Whole, but another block. */
        WRONG_KEY
    }

    private final LayoutFingerprint layout;
    private final int tokens;
    private final int payloadBytes;
    private final long rowScaleBytes;

    BlockFrame(LayoutFingerprint layout, int tokens, int payloadBytes, long rowScaleBytes) {
        this.layout = layout;
        this.tokens = tokens;
        this.payloadBytes = payloadBytes;
        this.rowScaleBytes = rowScaleBytes;
    }

    int frameBytes() {
        return HEADER + payloadBytes;
    }

    /** Writes the header before the payload that {@code frame} has. */
    void seal(ByteBuffer frame, BlockKey key) {
        ByteBuffer header = frame.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        header.clear();
        header.putInt(MAGIC).putShort((short) VERSION).putShort((short) HEADER);
        header.putInt(0).putInt(tokens).putLong(layout.low()).putLong(layout.high());
        putKey(header, key);
        header.putLong(payloadBytes).putLong(rowScaleBytes).putLong(0);
        header.putInt(crc(frame, HEADER, payloadBytes));
        while (header.position() < HEADER_CRC) {
            header.putInt(0);
        }
        header.putInt(crc(frame, 0, HEADER_CRC));
    }

    private static void putKey(ByteBuffer header, BlockKey key) {
        header.putLong(key.word0()).putLong(key.word1()).putLong(key.word2()).putLong(key.word3());
    }

    private static BlockKey getKey(ByteBuffer header) {
        return new BlockKey(header.getLong(32), header.getLong(40), header.getLong(48), header.getLong(56));
    }

    static int crc(ByteBuffer bytes, int from, int length) {
        ByteBuffer part = bytes.duplicate();
        part.limit(from + length).position(from);
        CRC32C crc = new CRC32C();
        crc.update(part);
        return (int) crc.getValue();
    }

    /** Whether the first {@code bytes} bytes of {@code frame} are the block {@code key} of this cache. */
    Verdict check(ByteBuffer frame, int bytes, BlockKey key) {
        ByteBuffer header = frame.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        header.clear();
        if (bytes < HEADER || bytes > frame.capacity() || header.getInt(0) != MAGIC) {
            return Verdict.DAMAGED;
        }
        if (header.getShort(4) != VERSION || header.getShort(6) != HEADER) {
            return Verdict.INCOMPATIBLE;
        }
        if (header.getInt(HEADER_CRC) != crc(frame, 0, HEADER_CRC)) {
            return Verdict.DAMAGED;
        }
        if (header.getLong(16) != layout.low()
                || header.getLong(24) != layout.high()
                || header.getInt(8) != 0
                || header.getInt(12) != tokens
                || header.getLong(64) != payloadBytes
                || header.getLong(72) != rowScaleBytes) {
            return Verdict.INCOMPATIBLE;
        }
        if (!getKey(header).equals(key)) {
            return Verdict.WRONG_KEY;
        }
        if (bytes != frameBytes() || header.getInt(PAYLOAD_CRC) != crc(frame, HEADER, payloadBytes)) {
            return Verdict.DAMAGED;
        }
        return Verdict.INTACT;
    }

    /** The checksum that a checked frame's header has of its block. */
    static int payloadCrc(ByteBuffer frame) {
        return frame.duplicate().order(ByteOrder.LITTLE_ENDIAN).getInt(PAYLOAD_CRC);
    }
}
