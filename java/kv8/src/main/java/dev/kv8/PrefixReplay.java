package dev.kv8;

import org.jspecify.annotations.Nullable;

/**
 * A prefix cache without content: replays the block keys of requests, one after the other, through an eviction policy, and
 * counts what the cache would have served. It shows what a policy and a capacity are worth for a workload before a model
 * runs, with the policy classes that the cache itself uses.
 *
 * <p>A request is the chain of its blocks' keys, head first; equal keys mean an equal prefix up to and including that block. A
 * hit is a block of the longest run of leading keys that are cached. A request's blocks are held while it is placed and
 * released, tail first, before the next one; those beyond the capacity are references that are not placed. A request
 * allocates nothing. Not for several threads.
 */
public final class PrefixReplay {
    /** The largest capacity, in blocks. */
    public static final int MAX_CAPACITY = 1 << 26;

    private final EvictionPolicyKind kind;
    private final EvictionPolicy policy;
    private final long[] keys;
    private final FingerprintIndex index;
    private final boolean[] held;
    /** The blocks of the request that is being placed. */
    private final int[] placed;

    private @Nullable TierReplay tier;
    private int used;
    private long requests;
    private long references;
    private long hits;
    private long evictions;

    /**
     * An empty cache.
     *
     * @param capacity in blocks, 1 to {@link #MAX_CAPACITY}; takes up to 200 bytes of memory each
     */
    public PrefixReplay(EvictionPolicyKind kind, int capacity) {
        if (capacity < 1 || capacity > MAX_CAPACITY) {
            throw new IllegalArgumentException(
                    "A capacity of " + capacity + " blocks can't be replayed; give 1 to " + MAX_CAPACITY + ".");
        }
        this.kind = kind;
        policy = kind.create(capacity);
        keys = new long[capacity];
        index = new FingerprintIndex(keys);
        held = new boolean[capacity];
        placed = new int[capacity];
    }

    /**
     * An empty cache above an empty tier, which gets blocks as the tiers of a {@link KvCache} do.
     *
     * @param tierCapacity in blocks, as {@code capacity}
     * @param rememberedKeys see {@link Tiers.Builder#rememberedKeys}
     * @param writtenOnFirstUse see {@link Tiers.Builder#writtenOnFirstUse}
     */
    public static PrefixReplay withTier(
            EvictionPolicyKind kind,
            int capacity,
            EvictionPolicyKind tierKind,
            int tierCapacity,
            int rememberedKeys,
            boolean writtenOnFirstUse) {
        if (tierCapacity < 1 || tierCapacity > MAX_CAPACITY) {
            throw new IllegalArgumentException(
                    "A tier of " + tierCapacity + " blocks can't be replayed; give 1 to " + MAX_CAPACITY + ".");
        }
        PrefixReplay replay = new PrefixReplay(kind, capacity);
        replay.tier = new TierReplay(tierKind, tierCapacity, rememberedKeys, writtenOnFirstUse);
        return replay;
    }

    /**
     * Places one request.
     *
     * @param chain holds the request's keys, head first, from {@code from} to before {@code to}
     * @return how many of them were hits
     * @throws IllegalArgumentException when a key occurs twice, which no chain of prefixes has; blocks of the request may be
     *     cached then, but it is not counted
     */
    public int request(long[] chain, int from, int to) {
        int count = Math.min(to - from, keys.length);
        int hit = 0;
        int known = 0;
        try {
            // What is there is held before room is made, so that nothing of the request is evicted for the rest of it.
            for (; known < count; known++) {
                int block = index.find(chain[from + known]);
                placed[known] = block;
                if (block != FingerprintIndex.ABSENT) {
                    hold(block, chain[from + known]);
                    policy.hit(block);
                    hit += hit == known ? 1 : 0;
                }
            }
            for (int i = hit; i < count; i++) {
                if (placed[i] == FingerprintIndex.ABSENT) {
                    placed[i] = place(chain[from + i]);
                }
            }
        } finally {
            release(known);
        }
        requests++;
        references += to - from;
        hits += hit;
        if (tier != null) {
            tier.request(chain, from, from + hit, to);
        }
        return hit;
    }

    private void hold(int block, long key) {
        if (held[block]) {
            throw repeated(key);
        }
        held[block] = true;
    }

    private int place(long key) {
        if (index.find(key) != FingerprintIndex.ABSENT) {
            throw repeated(key);
        }
        int block = used < keys.length ? used++ : evict();
        keys[block] = key;
        index.add(block);
        held[block] = true;
        policy.admit(block, key);
        return block;
    }

    private static IllegalArgumentException repeated(long key) {
        return new IllegalArgumentException("A request names block " + key
                + " twice; each block of a prompt has a key of its own, that of the prefix up to it.");
    }

    private int evict() {
        int block = policy.evict();
        index.remove(block);
        evictions++;
        return block;
    }

    private void release(int count) {
        for (int i = count - 1; i >= 0; i--) {
            int block = placed[i];
            if (block != FingerprintIndex.ABSENT) {
                held[block] = false;
                policy.release(block);
            }
        }
    }

    public EvictionPolicyKind policy() {
        return kind;
    }

    /** In blocks. */
    public int capacity() {
        return keys.length;
    }

    public long requests() {
        return requests;
    }

    /** Blocks of all requests. */
    public long references() {
        return references;
    }

    public long hits() {
        return hits;
    }

    /** Blocks that the tier served behind the hits; 0 without one. */
    public long tierHits() {
        return tier == null ? 0 : tier.hits();
    }

    /** Blocks that were written to the tier; 0 without one. */
    public long tierWrites() {
        return tier == null ? 0 : tier.written();
    }

    /** Hits by references; 0 before the first request. */
    public double hitRate() {
        return references == 0 ? 0 : (double) hits / references;
    }

    public long evictions() {
        return evictions;
    }

    /** See {@link EvictionPolicy#checkInvariants}; also that every placed block is found by its key, and idle. */
    void checkInvariants() {
        policy.checkInvariants();
        if (policy.idle() != used) {
            throw new IllegalStateException(used + " blocks are cached, " + policy.idle() + " are idle.");
        }
        for (int block = 0; block < used; block++) {
            if (held[block] || index.find(keys[block]) != block) {
                throw new IllegalStateException("Block " + block + " is held or not found by its key.");
            }
        }
    }
}
