package dev.kv8;

/**
 * A moment of a cache.
 *
 * @param totalBlocks in the pool
 * @param freeBlocks that a batch can reserve now, {@code cachedBlocks} among them
 * @param cachedBlocks of the free ones, those that still hold a prefix for a new sequence to share; they are reserved last
 * @param usedBlocks held by sequences or pins, shared ones counted once
 * @param pinnedBlocks of these, held by pins, whoever else holds them
 * @param storedTokens computed tokens of all open sequences; a shared token counts for each of them
 * @param openSequences not closed yet, or closed while a batch still holds them
 * @param allocatedBlocks ever handed out
 * @param copiedBlocks ever copied because a sequence wrote to a shared one
 * @param evictedBlocks ever reserved while they held a prefix, which is forgotten then
 * @param prefixQueryTokens that sequences were ever opened with, or asked for by {@link Sequence#catchUp} when they had been appended;
 *     0 without prefix caching
 * @param prefixHitTokens of these found stored and taken over
 * @param prefixPartialTokens of these, in copies of blocks that only began with the same tokens
 * @param saturatedValues that the scales could not hold, as the last {@link KvCache#saturation} found; 0 before
 * @param poolBytes of the pool
 */
public record CacheStats(
        int totalBlocks,
        int freeBlocks,
        int cachedBlocks,
        int usedBlocks,
        int pinnedBlocks,
        long storedTokens,
        int openSequences,
        long allocatedBlocks,
        long copiedBlocks,
        long evictedBlocks,
        long prefixQueryTokens,
        long prefixHitTokens,
        long prefixPartialTokens,
        long saturatedValues,
        long poolBytes) {}
