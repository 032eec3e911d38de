package dev.kv8;

/**
 * Under which key a group's block is registered: that of the tokens for the first group, so for the only one, and for every other a key
 * made from it. Decision: a word that differs by group is added to the first word of the digest. Two keys are then equal only where two
 * digests differ by just that word, which is as hard to bring about as two equal digests.
 */
final class GroupKey {
    private static final long STEP = 0x9E3779B97F4A7C15L;

    private final long[] own = new long[PrefixIndex.KEY];

    /** The key of the last {@link #of} is in here from {@link #at} on, until the next one. */
    long[] words = own;

    int at;

    /** The key of {@code group} for the tokens whose key is {@code keys} from {@code from} on. */
    GroupKey of(int group, long[] keys, int from) {
        if (group == 0) {
            words = keys;
            at = from;
        } else {
            System.arraycopy(keys, from, own, 0, PrefixIndex.KEY);
            own[0] += group * STEP;
            words = own;
            at = 0;
        }
        return this;
    }

    BlockKey toBlockKey() {
        return BlockKey.of(words, at);
    }
}
