package dev.kv8;

import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.zip.CRC32C;

/**
 * What a saved sequence says about itself before its content: everything that decides what the content's bytes mean, and how
 * many there are. Decision: single fields instead of one digest over all, so that a refusal can say which one differs; of scales
 * a digest, because per-channel ones would be larger than a short sequence.
 *
 * <p>Little endian; a text is its length (int32) and its bytes in UTF-8:
 *
 * <pre>
 * magic 8, version int32, header bytes int32 (with its checksum), content bytes int64, CRC32C of the content int32,
 * tokens int32, computed tokens int32, layers int32, KV heads int32, head size int32, block size int32, block bytes int64,
 * model id text, text that names the weights (empty for the model's own), digest of the sequence's salt (its length int32, 0 without a salt, else 32, and its bytes),
 * groups of layers int32, for each: window int32, blocks before the window int32,
 * for each layer its group int32,
 * for each layer and there for K and V: dtype text, granularity text, SHA-256 of the scales 32 bytes,
 * CRC32C of all before int32
 * </pre>
 */
final class SequenceHeader {
    private static final byte[] MAGIC = "kv8 seq\n".getBytes(StandardCharsets.US_ASCII);
    private static final int VERSION = 4;

    /** Up to and including the header's size. */
    static final int FIXED_BYTES = 16;

    private static final int LARGEST_BYTES = 1 << 26;
    private static final int DIGEST_BYTES = 32;

    /** Layers with blocks of their own: keys that a query sees, 0 = all, and the blocks at the front that fell out of that. */
    private record Group(int window, int gone) {}

    /** K or V of one layer. */
    private record Side(String dtype, String granularity, String digest) {}

    private final String modelId;
    /** As {@link KvCache#clearPrefixes(String)} names them; empty for the model's own. */
    private final String weights;

    /** One character for each byte; empty when there is no salt. */
    private final String saltDigest;

    private final int layers;
    private final int kvHeads;
    private final int headSize;
    private final int blockSize;
    private final long blockBytes;
    private final int tokens;
    private final int computed;
    private final int contentChecksum;
    private final List<Group> groups;
    /** By layer. */
    private final List<Integer> groupOfLayer;
    /** K and V of layer 0, then of layer 1, and so on. */
    private final List<Side> sides;

    private SequenceHeader(
            String modelId,
            String weights,
            String saltDigest,
            int layers,
            int kvHeads,
            int headSize,
            int blockSize,
            long blockBytes,
            int tokens,
            int computed,
            int contentChecksum,
            List<Group> groups,
            List<Integer> groupOfLayer,
            List<Side> sides) {
        this.modelId = modelId;
        this.weights = weights;
        this.saltDigest = saltDigest;
        this.layers = layers;
        this.kvHeads = kvHeads;
        this.headSize = headSize;
        this.blockSize = blockSize;
        this.blockBytes = blockBytes;
        this.tokens = tokens;
        this.computed = computed;
        this.contentChecksum = contentChecksum;
        this.groups = groups;
        this.groupOfLayer = groupOfLayer;
        this.sides = sides;
    }

    /**
     * Of a sequence in a cache with these scales and weights in force.
     *
     * @param gone by group: blocks at the front that fell out of the window
     */
    static SequenceHeader of(
            KvCacheConfig config,
            KvScales scales,
            String weights,
            String salt,
            int tokens,
            int computed,
            int[] gone,
            int contentChecksum) {
        List<Group> groups = new ArrayList<>();
        for (int group = 0; group < config.layerGroups(); group++) {
            groups.add(new Group(config.groups().window(group), gone[group]));
        }
        List<Integer> groupOfLayer = new ArrayList<>();
        for (int layer = 0; layer < config.layers(); layer++) {
            groupOfLayer.add(config.groups().of(layer));
        }
        List<Side> sides = new ArrayList<>();
        for (int layer = 0; layer < config.layers(); layer++) {
            sides.add(side(config.kDtype(layer), scales.layer(layer).k()));
            sides.add(side(config.vDtype(layer), scales.layer(layer).v()));
        }
        return new SequenceHeader(
                config.modelId(),
                weights,
                salt.isEmpty() ? "" : digest(("kv8 sequence salt\n" + salt).getBytes(StandardCharsets.UTF_8)),
                config.layers(),
                config.kvHeads(),
                config.headSize(),
                config.blockSize(),
                config.blockBytes(),
                tokens,
                computed,
                contentChecksum,
                groups,
                groupOfLayer,
                sides);
    }

    private static Side side(DType dtype, KvScales.Side scales) {
        float[] values = scales.values();
        ByteBuffer bits = ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        for (float value : values) {
            bits.putFloat(value);
        }
        return new Side(dtype.label(), scales.granularity().name(), digest(bits.array()));
    }

    /** SHA-256, one character for each byte. */
    private static String digest(byte[] bytes) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(bytes);
            return new String(digest, 0, DIGEST_BYTES, StandardCharsets.ISO_8859_1);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("This JVM has no SHA-256, which every Java platform must have.", e);
        }
    }

    int tokens() {
        return tokens;
    }

    int computed() {
        return computed;
    }

    /** By group: blocks at the front that fell out of the window. */
    int[] gone() {
        return groups.stream().mapToInt(Group::gone).toArray();
    }

    /** Blocks of each group for the computed tokens, those that are gone included. */
    int blocksOfGroup() {
        return computed == 0 ? 0 : (computed - 1) / blockSize + 1;
    }

    /** Blocks of all groups that are not gone. */
    int blocks() {
        int blocks = 0;
        for (Group group : groups) {
            blocks += blocksOfGroup() - group.gone();
        }
        return blocks;
    }

    int contentChecksum() {
        return contentChecksum;
    }

    /** Token ids, then whole blocks. */
    long contentBytes() {
        return (long) tokens * Integer.BYTES + blocks() * blockBytes;
    }

    // ---- bytes

    ByteBuffer encode() {
        byte[] model = modelId.getBytes(StandardCharsets.UTF_8);
        byte[] named = weights.getBytes(StandardCharsets.UTF_8);
        int bytes = FIXED_BYTES + 12 + 24 + 8 + 4 * Integer.BYTES + model.length + named.length + saltDigest.length();
        bytes += (1 + 2 * groups.size() + layers) * Integer.BYTES;
        for (Side side : sides) {
            bytes += 2 * Integer.BYTES + side.dtype.length() + side.granularity.length() + DIGEST_BYTES;
        }
        ByteBuffer header = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
        header.put(MAGIC).putInt(VERSION).putInt(bytes);
        header.putLong(contentBytes()).putInt(contentChecksum);
        header.putInt(tokens).putInt(computed);
        header.putInt(layers).putInt(kvHeads).putInt(headSize).putInt(blockSize).putLong(blockBytes);
        put(header, model);
        put(header, named);
        put(header, saltDigest.getBytes(StandardCharsets.ISO_8859_1));
        header.putInt(groups.size());
        for (Group group : groups) {
            header.putInt(group.window).putInt(group.gone);
        }
        groupOfLayer.forEach(header::putInt);
        for (Side side : sides) {
            put(header, side.dtype.getBytes(StandardCharsets.US_ASCII));
            put(header, side.granularity.getBytes(StandardCharsets.US_ASCII));
            header.put(side.digest.getBytes(StandardCharsets.ISO_8859_1));
        }
        header.putInt(checksum(header, bytes - Integer.BYTES));
        return header.flip();
    }

    private static void put(ByteBuffer header, byte[] text) {
        header.putInt(text.length).put(text);
    }

    private static int checksum(ByteBuffer header, int bytes) {
        CRC32C crc = new CRC32C();
        crc.update(header.duplicate().position(0).limit(bytes));
        return (int) crc.getValue();
    }

    /**
     * How long the header is that begins with these {@link #FIXED_BYTES}.
     *
     * @throws SequenceFileException when it is no such file, or of another version
     */
    static int size(Path file, ByteBuffer beginning) throws SequenceFileException {
        ByteBuffer fixed = beginning.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        byte[] magic = new byte[MAGIC.length];
        fixed.get(magic);
        if (!Arrays.equals(magic, MAGIC)) {
            throw new SequenceFileException(file, "this is no file of a kv8 sequence, or its first bytes are damaged.");
        }
        int version = fixed.getInt();
        if (version != VERSION) {
            throw new SequenceFileException(
                    file, "the file is of version " + version + "; this kv8 reads version " + VERSION + ".");
        }
        int bytes = fixed.getInt();
        if (bytes <= FIXED_BYTES || bytes > LARGEST_BYTES) {
            throw new SequenceFileException(file, "the header is damaged: it says that it has " + bytes + " bytes.");
        }
        return bytes;
    }

    /**
     * Reads a whole header.
     *
     * @throws SequenceFileException when it is damaged
     */
    static SequenceHeader decode(Path file, ByteBuffer bytes) throws SequenceFileException {
        ByteBuffer header = bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        int covered = header.limit() - Integer.BYTES;
        if (checksum(header, covered) != header.getInt(covered)) {
            throw damaged(file);
        }
        try {
            header.position(FIXED_BYTES);
            long contentBytes = header.getLong();
            int contentChecksum = header.getInt();
            int tokens = header.getInt();
            int computed = header.getInt();
            int layers = header.getInt();
            int kvHeads = header.getInt();
            int headSize = header.getInt();
            int blockSize = header.getInt();
            long blockBytes = header.getLong();
            String modelId = text(header, StandardCharsets.UTF_8);
            String weights = text(header, StandardCharsets.UTF_8);
            String saltDigest = text(header, StandardCharsets.ISO_8859_1);
            int groupCount = header.getInt();
            List<Group> groups = new ArrayList<>();
            for (int group = 0; group < groupCount; group++) {
                groups.add(new Group(header.getInt(), header.getInt()));
            }
            List<Integer> groupOfLayer = new ArrayList<>();
            for (int layer = 0; layer < layers; layer++) {
                groupOfLayer.add(header.getInt());
            }
            List<Side> sides = new ArrayList<>();
            while (header.position() < covered) {
                String dtype = text(header, StandardCharsets.UTF_8);
                String granularity = text(header, StandardCharsets.UTF_8);
                byte[] digest = new byte[DIGEST_BYTES];
                header.get(digest);
                sides.add(new Side(dtype, granularity, new String(digest, StandardCharsets.ISO_8859_1)));
            }
            SequenceHeader read = new SequenceHeader(
                    modelId,
                    weights,
                    saltDigest,
                    layers,
                    kvHeads,
                    headSize,
                    blockSize,
                    blockBytes,
                    tokens,
                    computed,
                    contentChecksum,
                    groups,
                    groupOfLayer,
                    sides);
            if (tokens < 0
                    || computed < 0
                    || computed > tokens
                    || blockSize < 1
                    || groups.isEmpty()
                    || !groups.stream().allMatch(read::hasItsWindow)
                    || blockBytes < 1
                    || sides.size() != 2L * layers
                    || contentBytes != read.contentBytes()) {
                throw new SequenceFileException(
                        file, "the header contradicts itself; the file was not written by kv8.");
            }
            return read;
        } catch (BufferUnderflowException e) {
            throw new SequenceFileException(file, "the header contradicts itself; the file was not written by kv8.");
        }
    }

    /** Whether all that the group's next query sees is in the file. */
    private boolean hasItsWindow(Group group) {
        int firstSeen = group.window == 0 ? 0 : Math.max(0, computed - group.window + 1) / blockSize;
        return group.gone >= 0 && group.window >= 0 && group.gone <= firstSeen;
    }

    private static SequenceFileException damaged(Path file) {
        return new SequenceFileException(file, "the header is damaged: its checksum is another.");
    }

    private static String text(ByteBuffer header, Charset charset) {
        int length = header.getInt();
        if (length < 0 || length > header.remaining()) {
            throw new BufferUnderflowException();
        }
        byte[] bytes = new byte[length];
        header.get(bytes);
        return new String(bytes, charset);
    }

    // ---- comparison

    /**
     * Refuses what the cache of {@code own} can't continue.
     *
     * @throws SequenceFileException saying what differs first
     */
    void check(Path file, SequenceHeader own) throws SequenceFileException {
        same(file, "model", quoted(modelId), quoted(own.modelId));
        if (!weights.equals(own.weights)) {
            throw new SequenceFileException(
                    file,
                    "it was computed with " + namedWeights() + ", and this cache goes on with " + own.namedWeights()
                            + " (KvCache.clearPrefixes).");
        }
        same(file, "number of layers", layers, own.layers);
        same(file, "number of KV heads", kvHeads, own.kvHeads);
        same(file, "head size", headSize, own.headSize);
        same(file, "block size", blockSize, own.blockSize);
        for (int layer = 0; layer < layers; layer++) {
            same(file, "window of layer " + layer, window(layer), own.window(layer));
        }
        same(file, "grouping of the layers", groupOfLayer, own.groupOfLayer);
        same(file, "number of groups of layers", groups.size(), own.groups.size());
        for (int i = 0; i < sides.size(); i++) {
            same(file, "type of " + name(i), sides.get(i).dtype, own.sides.get(i).dtype);
        }
        for (int i = 0; i < sides.size(); i++) {
            Side side = sides.get(i);
            same(file, "granularity of the scales of " + name(i), side.granularity, own.sides.get(i).granularity);
            if (!side.digest.equals(own.sides.get(i).digest)) {
                throw new SequenceFileException(
                        file, "the scales of " + name(i) + " were others than those of this cache now.");
            }
        }
        same(file, "number of bytes of a block", blockBytes, own.blockBytes);
        if (!saltDigest.equals(own.saltDigest)) {
            throw new SequenceFileException(
                    file,
                    "its sequence had " + (saltDigest.isEmpty() ? "no salt" : "a salt")
                            + ", and it is to be restored with "
                            + (own.saltDigest.isEmpty() ? "none" : saltDigest.isEmpty() ? "one" : "another")
                            + ". Give the SequenceOptions.salt that it was opened with, so that it shares blocks with the same"
                            + " sequences as before.");
        }
    }

    private int window(int layer) {
        int group = groupOfLayer.get(layer);
        return group >= 0 && group < groups.size() ? groups.get(group).window : -1;
    }

    private String namedWeights() {
        return weights.isEmpty() ? "the model's own weights" : "the weights " + quoted(weights);
    }

    private static String quoted(String text) {
        return '"' + text + '"';
    }

    private static String name(int side) {
        return (side % 2 == 0 ? "K" : "V") + " of layer " + side / 2;
    }

    private static void same(Path file, String what, Object saved, Object own) throws SequenceFileException {
        if (!saved.equals(own)) {
            throw new SequenceFileException(
                    file, "the " + what + " is " + saved + " in the file and " + own + " in this cache.");
        }
    }
}
