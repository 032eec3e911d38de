package dev.kv8;

/**
 * What the caller knows about a sequence's tokens when it ends. A hint is about the blocks that no other sequence and no pin
 * holds at that moment, and not about those that another sequence asked a higher {@link CachePriority} for.
 */
public enum ReleaseHint {
    /** They may come back: full blocks stay cached in their class. What {@link Sequence#close()} says. */
    KEEP,
    /**
     * They hardly come back: full blocks stay cached, and are evicted before all others, until a new sequence uses them. Not those that other
     * cached blocks hang on, such as a system prompt that other conversations go on from: without them these would not be found.
     */
    DEMOTE,
    /**
     * They do not come back, or must not be found again: the blocks are free at once. Longer prefixes that other sequences
     * built on them stay in the pool without being found, until their space is needed.
     */
    DISCARD
}
