package dev.kv8;

/**
 * A moment of one tier of a cache; counts are of blocks unless they say otherwise, since the cache was created.
 *
 * @param name of the store
 * @param loaded found whole and put into the pool's order for a sequence
 * @param absent asked for and not there
 * @param damaged given back with a wrong length or checksum: each is a miss
 * @param incompatible given back of another format, layout or scales, or under a wrong key: each is a miss
 * @param failed that the store could not move, in either direction
 * @param late loads that had not ended at their deadline, and blocks of writes that had not
 * @param repeated blocks that the store completed more than once
 * @param recomputed found, but quicker to compute than to fetch
 * @param stored kept by the store
 * @param refused not kept by the store, for lack of room say
 * @param dropped never offered to the store, because it was failing or behind, or the block was evicted before its turn
 * @param loadedBytes of {@code loaded}, headers included
 * @param storedBytes of {@code stored}, headers included
 * @param bytesPerSecond at which loads lately arrived, waiting included; 0 when unknown
 * @param open whether the tier is left alone at present, because it failed three times in a row
 */
public record TierStats(
        String name,
        long loaded,
        long absent,
        long damaged,
        long incompatible,
        long failed,
        long late,
        long repeated,
        long recomputed,
        long stored,
        long refused,
        long dropped,
        long loadedBytes,
        long storedBytes,
        double bytesPerSecond,
        boolean open) {}
