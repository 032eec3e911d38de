package dev.kv8;

/**
 * A moment of a cache.
 *
 * @param totalBlocks in the pool
 * @param freeBlocks that a batch can reserve now
 * @param usedBlocks held by sequences, shared ones counted once
 * @param storedTokens computed tokens of all open sequences; a shared token counts for each of them
 * @param openSequences not closed yet, or closed while a batch still holds them
 * @param allocatedBlocks ever handed out
 * @param copiedBlocks ever copied because a sequence wrote to a shared one
 * @param saturatedValues that the scales could not hold, as the last {@link KvCache#saturation} found; 0 before
 * @param poolBytes of the pool
 */
public record CacheStats(
        int totalBlocks,
        int freeBlocks,
        int usedBlocks,
        long storedTokens,
        int openSequences,
        long allocatedBlocks,
        long copiedBlocks,
        long saturatedValues,
        long poolBytes) {}
