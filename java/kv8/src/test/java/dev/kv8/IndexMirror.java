package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.IntBuffer;
import java.util.HashSet;
import java.util.Set;

/** What a router knows about a cache from its events alone. Refuses an event that can't be. */
final class IndexMirror implements CacheListener {
    final Set<BlockKey> keys = new HashSet<>();
    private final Set<BlockKey> everStored = new HashSet<>();
    private final PrefixHasher hasher;
    private final GroupKey groupKey = new GroupKey();
    private final int blockSize;
    int stored;
    int removed;
    int cleared;
    /** An event that can't be; the cache swallows what a listener throws. */
    private String wrong = "";

    IndexMirror(int blockSize) {
        this.blockSize = blockSize;
        hasher = new PrefixHasher(blockSize);
    }

    @Override
    public void stored(BlockKey key, BlockKey parent, int position, IntBuffer tokens) {
        stored++;
        check(keys.add(key), "stored twice: " + key);
        everStored.add(key);
        check(position % blockSize == 0, "position " + position);
        check((position > 0) == everStored.contains(parent), "parent " + parent + " at position " + position);
        int[] ids = new int[blockSize];
        check(tokens.remaining() == blockSize, tokens.remaining() + " tokens");
        tokens.get(ids);
        long[] words = new long[2 * PrefixIndex.KEY];
        boolean found = false;
        for (int group = 0; group < LayerGroups.MOST && !found; group++) {
            long[] ofGroup = groupKey.of(group, new long[PrefixIndex.KEY], 0).words;
            parent.copyTo(words, 0);
            words[0] -= ofGroup[0];
            hasher.child(words, 0, ids, 0, words, PrefixIndex.KEY);
            words[PrefixIndex.KEY] += ofGroup[0];
            found = BlockKey.of(words, PrefixIndex.KEY).equals(key);
        }
        check(found, "not the key of these tokens behind this parent, of any group: " + key);
    }

    @Override
    public void removed(BlockKey key) {
        removed++;
        check(keys.remove(key), "removed but not there: " + key);
    }

    @Override
    public void cleared() {
        cleared++;
        keys.clear();
    }

    private void check(boolean good, String what) {
        if (!good && wrong.isEmpty()) {
            wrong = what;
        }
    }

    /** It has the same keys as the pool. */
    void checkEquals(BlockPool pool) {
        assertThat(wrong).as("an event that can't be").isEmpty();
        Set<BlockKey> registered = new HashSet<>();
        for (int block = 0; block < pool.total(); block++) {
            if (pool.isRegistered(block)) {
                registered.add(pool.key(block));
            }
        }
        assertThat(keys).as("keys that the events tell of").isEqualTo(registered);
    }
}
