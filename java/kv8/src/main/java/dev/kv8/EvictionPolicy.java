package dev.kv8;

/**
 * Which cached block makes room. A block is cached from {@link #admit} until {@link #evict} or {@link #forget}; meanwhile it
 * is held by a sequence or idle, and only idle ones are evicted. Every method takes constant time and allocates nothing. For
 * the writer thread only.
 *
 * <p>Decision: the tail of a chain goes before its head, because a head without tail can still be hit and a tail without
 * head can't. Who releases a chain does so tail first; the order of the calls is all that a policy needs, so no depth is
 * stored, and no tree of chains.
 *
 * <p>A call that does not fit the block's state, releasing it twice for one, is refused before anything changes.
 */
interface EvictionPolicy {
    /** A held block is cached under its key from now on. */
    void admit(int block);

    /** A lookup found the cached block: it is held, whether it was idle or not, and has been of use once more. */
    void hit(int block);

    /** An idle block is no longer to be evicted, without having been of use; {@link #release} makes it idle again. */
    void hold(int block);

    /** The last sequence that held the cached block gave it back. */
    void release(int block);

    /** Takes the idle block that is worth least out of the cache; {@link #idle} must be above 0. */
    int evict();

    /** The cached block leaves for another reason than room, idle or held; nothing is remembered of it. */
    void forget(int block);

    /** Whether a cached block, or one under its key before, is known to have been of use more than once. */
    boolean isUsedOften(int block);

    /** Cached blocks that could be evicted. */
    int idle();

    // ---- see ReadAhead

    /**
     * Puts blocks that {@link #evict} will probably choose next into the front of {@code ahead.blocks}, {@code most} at most, and reads what
     * evicting them will read; their number.
     */
    int readEvictions(ReadAhead ahead, int most);

    /** Reads what admitting a block under a key will read. */
    long readAdmission(int block, long fingerprint);

    /** Reads what {@link #hit} or {@link #release} of the first {@code count} blocks will read. */
    long readUses(int[] blocks, int count);

    /**
     * Checks that lists, counts and bounds agree; takes time proportional to the number of blocks.
     *
     * @throws IllegalStateException saying which do not
     */
    void checkInvariants();
}
