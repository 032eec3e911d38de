package dev.kv8;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.DigestException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * Makes the keys of full blocks: SHA-256 over the parent's key and the block's tokens, from a root that stands for everything
 * else that decides what is stored. Decision: a cryptographic hash and no other, because equal keys mean equal content, whoever
 * chose the tokens.
 *
 * <p>A key is {@link PrefixIndex#KEY} longs, the digest's bytes in little-endian order. Nothing of a process enters it, so equal
 * settings give equal keys everywhere. Not for use by several threads.
 */
final class PrefixHasher {
    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle INTS = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final int KEY_BYTES = PrefixIndex.KEY * Long.BYTES;

    private final MessageDigest sha256;
    private final int blockSize;
    /** A parent's key and a block's tokens. */
    private final byte[] input;

    private final byte[] digest = new byte[KEY_BYTES];

    PrefixHasher(int blockSize) {
        this.blockSize = blockSize;
        input = new byte[KEY_BYTES + blockSize * Integer.BYTES];
        try {
            sha256 = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("This JVM has no SHA-256, which every Java platform must have.", e);
        }
    }

    /**
     * The parent of a first block: tagged, length-prefixed fields, so no two settings can be written alike.
     *
     * @param weights names weights that took the place of the model's own; empty for those
     */
    void root(KvCacheConfig config, KvScales scales, String weights, long[] key) {
        field("format", "kv8 prefix 1");
        field("model", config.modelId());
        if (!weights.isEmpty()) {
            field("weights", weights);
        }
        field("salt", config.salt());
        layoutFields(config, scales);
        finish(key, 0);
    }

    /** What a block's bytes mean, whatever the model: the parts of a root that are about layout, types and scales. */
    LayoutFingerprint layout(KvCacheConfig config, KvScales scales) {
        field("format", "kv8 layout 1");
        layoutFields(config, scales);
        long[] words = new long[PrefixIndex.KEY];
        finish(words, 0);
        return new LayoutFingerprint(words[0], words[1]);
    }

    private void layoutFields(KvCacheConfig config, KvScales scales) {
        field("heads", config.kvHeads() + " of " + config.headSize());
        field("block size", Integer.toString(config.blockSize()));
        field("layers", Integer.toString(config.layers()));
        if (!config.groups().isOne()) {
            for (int layer = 0; layer < config.layers(); layer++) {
                field("group", Integer.toString(config.groups().of(layer)));
            }
            field("windows", config.groups().windows().toString());
        } else if (config.window() > 0) {
            field("window", Integer.toString(config.window()));
        }
        for (int layer = 0; layer < config.layers(); layer++) {
            side("k", config.kDtype(layer), scales.layer(layer).k());
            side("v", config.vDtype(layer), scales.layer(layer).v());
        }
    }

    /**
     * A root for one salt. The tag in front is as long as a key, so that no parent's key can be mistaken for it: then a digest would
     * have to begin with these words.
     */
    void salted(long[] root, String salt, long[] key) {
        field("kv8 prefix: root of one salt", "");
        ByteBuffer bytes = ByteBuffer.allocate(KEY_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < PrefixIndex.KEY; i++) {
            bytes.putLong(root[i]);
        }
        field("root", bytes.array());
        field("salt", salt);
        finish(key, 0);
    }

    private void side(String name, DType dtype, KvScales.Side scales) {
        float[] values = scales.values();
        ByteBuffer bits = ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        for (float value : values) {
            bits.putFloat(value);
        }
        field(name, dtype.label());
        field(name + " scales", scales.granularity().name());
        field(name + " values", bits.array());
    }

    private void field(String tag, String value) {
        field(tag, value.getBytes(StandardCharsets.UTF_8));
    }

    private void field(String tag, byte[] value) {
        prefixed(tag.getBytes(StandardCharsets.UTF_8));
        prefixed(value);
    }

    private void prefixed(byte[] bytes) {
        INTS.set(input, 0, bytes.length);
        sha256.update(input, 0, Integer.BYTES);
        sha256.update(bytes);
    }

    /** The key of the block that holds {@code tokens} from {@code from} on, behind the block or root of key {@code parent}. */
    void child(long[] parent, int parentAt, int[] tokens, int from, long[] key, int at) {
        for (int i = 0; i < PrefixIndex.KEY; i++) {
            LONGS.set(input, i * Long.BYTES, parent[parentAt + i]);
        }
        for (int i = 0; i < blockSize; i++) {
            INTS.set(input, KEY_BYTES + i * Integer.BYTES, tokens[from + i]);
        }
        sha256.update(input);
        finish(key, at);
    }

    private void finish(long[] key, int at) {
        try {
            sha256.digest(digest, 0, KEY_BYTES);
        } catch (DigestException e) {
            throw new IllegalStateException("SHA-256 does not give " + KEY_BYTES + " bytes.", e);
        }
        for (int i = 0; i < PrefixIndex.KEY; i++) {
            key[at + i] = (long) LONGS.get(digest, i * Long.BYTES);
        }
    }
}
