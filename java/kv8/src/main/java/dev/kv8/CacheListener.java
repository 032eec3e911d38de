package dev.kv8;

import java.nio.IntBuffer;

/**
 * Hears which full blocks can be found in a cache's pool: what a router needs that sends a prompt to the machine that has most of
 * its prefix. Given to {@link KvCacheConfig.Builder#listener}. From all calls in their order follows exactly the set of keys that
 * the pool has; blocks that only tiers have are not in it.
 *
 * <p>Called after each change, while the cache is busy: on the thread that drives it, or, for blocks that go when a sequence is
 * closed while nobody drives the cache, on the thread that closes it; never on two at a time, and each call sees what the ones
 * before it wrote. The cache waits, so only note it and do the rest on a thread of your own. Call nothing of the cache, its
 * sequences and batches from here but {@link KvCache#stats} and {@link Sequence#close}; what would touch a block is refused with {@link
 * IllegalStateException}. What
 * a listener throws is logged, the first time, and changes nothing for the cache. A listener that refers to its cache keeps it from
 * being garbage-collected.
 */
public interface CacheListener {
    /**
     * A block was computed, or came from a tier, and new sequences can share it.
     *
     * @param key of the block, not in the set before
     * @param parent key of the block before it, which need not be in the set (any more); of a sequence's first block, the root that
     *     stands for the model, the layout, the scales and the salt, and never is in the set
     * @param position of its first token in the sequence: 0 for a first block, otherwise a multiple of the block size
     * @param tokens its token ids, block size of them; read-only and valid until this call returns
     */
    default void stored(BlockKey key, BlockKey parent, int position, IntBuffer tokens) {}

    /** The block can't be found any more: its room was needed, a sequence goes on writing it, or it was given up as worthless. */
    default void removed(BlockKey key) {}

    /**
     * All blocks at once, which are not named one by one: {@link KvCache#clearPrefixes()}, {@link KvCache#setScales} and, as the
     * last call of all, {@link KvCache#close}.
     */
    default void cleared() {}
}
