package dev.kv8;

import java.util.function.Supplier;

/**
 * The keys of tables' blocks. What a block's content depends on, the settings, weights, scales, salt and tokens, enters them here and
 * nowhere else. A table keeps those that were made for it. For the writer thread only.
 */
final class PrefixKeys {
    private final KvCacheConfig config;
    private final Supplier<KvScales> scales;
    private final PrefixHasher hasher;
    private final int blockSize;
    private final GroupKey groupKey = new GroupKey();
    private final long[] root = new long[PrefixIndex.KEY];
    private final long[] saltedRoot = new long[PrefixIndex.KEY];
    private boolean rootMade;
    private String weights = "";

    /** Asks for the {@code scales} in force when the first key after a change is made. */
    PrefixKeys(KvCacheConfig config, Supplier<KvScales> scales, PrefixHasher hasher) {
        this.config = config;
        this.scales = scales;
        this.hasher = hasher;
        this.blockSize = config.blockSize();
    }

    /** The keys of a table's first {@code count} blocks, which its tokens fill. */
    long[] of(BlockTable table, int[] tokens, int count) {
        table.ensureKeys(count);
        long[] keys = table.keys();
        for (int i = table.keyCount; i < count; i++) {
            int at = i * PrefixIndex.KEY;
            long[] parent = i == 0 ? root(table.options().salt()) : keys;
            hasher.child(parent, Math.max(0, at - PrefixIndex.KEY), tokens, i * blockSize, keys, at);
            table.keyCount = i + 1;
        }
        return keys;
    }

    /** Without a table: makes the key of block {@code index} of {@code tokens} in the place of that of the block before. */
    void advance(long[] key, String salt, int[] tokens, int index) {
        hasher.child(index == 0 ? root(salt) : key, 0, tokens, index * blockSize, key, 0);
    }

    /** What the block behind a table's blocks hangs on: a key in this array, from {@link #parentAt} on. */
    long[] parent(BlockTable table, int[] tokens) {
        int next = table.size();
        return next == 0 ? root(table.options().salt()) : of(table, tokens, next);
    }

    static int parentAt(BlockTable table) {
        return Math.max(0, table.size() - 1) * PrefixIndex.KEY;
    }

    /** The first 64 bits of the key that block {@code index} of a table, whose keys are made, hangs on. */
    long parentFingerprint(BlockTable table, int index) {
        return index == 0 ? root(table.options().salt())[0] : table.keys()[(index - 1) * PrefixIndex.KEY];
    }

    /** The key that a group's block {@code index} of a table, whose keys are made, hangs on. */
    BlockKey parent(BlockTable table, int index, int group) {
        return index == 0
                ? groupKey.of(group, root(table.options().salt()), 0).toBlockKey()
                : groupKey.of(group, table.keys(), (index - 1) * PrefixIndex.KEY)
                        .toBlockKey();
    }

    /** The parent of first blocks of sequences with {@code salt}; valid until the next call. */
    private long[] root(String salt) {
        if (!rootMade) {
            hasher.root(config, scales.get(), weights, root);
            rootMade = true;
        }
        if (salt.isEmpty()) {
            return root;
        }
        hasher.salted(root, salt, saltedRoot);
        return saltedRoot;
    }

    /** What frames are like that have these keys. */
    LayoutFingerprint layout() {
        return hasher.layout(config, scales.get());
    }

    /** Names those in force; empty for the model's own. */
    String weights() {
        return weights;
    }

    /** As {@link #changed()}, and with keys that no tier has seen under other weights. */
    void changed(String newWeights) {
        weights = newWeights;
        changed();
    }

    /** Other scales may be in force. For the same ones the keys are the same. */
    void changed() {
        rootMade = false;
    }
}
