package dev.kv8;

import java.util.Arrays;

/**
 * Tokens of blocks that tiers have, so that one that only begins as a prompt goes on is found there too. Decision: the cache knows them,
 * not the tiers, for a store knows keys alone and may be another machine's. The last ones it was told of, one place each in flat
 * arrays. A tier may have evicted what is here: then a load finds nothing, and it is forgotten. For the writer thread only.
 *
 * <p>A block is known by {@code parent}, 64 bits of its parent's key, and its tokens.
 */
final class TieredParts {
    private final int blockSize;
    private final PartialBlockIndex places;
    private final int capacity;

    private int oldest;

    /** @param capacity blocks that are remembered */
    TieredParts(int capacity, int blockSize) {
        this.capacity = capacity;
        this.blockSize = blockSize;
        places = new PartialBlockIndex(capacity, blockSize);
    }

    /** A tier has a block with the tokens from {@code from} on. */
    void add(long parent, int[] tokens, int from) {
        if (place(parent, tokens, from) != PartialBlockIndex.NONE) {
            return;
        }
        int place = oldest;
        oldest = (oldest + 1) % capacity;
        places.add(place, parent, tokens, from);
    }

    /** No tier has the block with the tokens from {@code from} on. */
    void remove(long parent, int[] tokens, int from) {
        int place = place(parent, tokens, from);
        if (place != PartialBlockIndex.NONE) {
            places.remove(place);
        }
    }

    private int place(long parent, int[] tokens, int from) {
        int place = places.find(parent, tokens, from, blockSize);
        boolean same = place != PartialBlockIndex.NONE && places.run(place, tokens, from, blockSize) == blockSize;
        return same ? place : PartialBlockIndex.NONE;
    }

    /** See {@link PartialBlockIndex#find}. */
    int find(long parent, int[] wanted, int from, int most) {
        return places.find(parent, wanted, from, most);
    }

    /** See {@link PartialBlockIndex#run}. */
    int run(int place, int[] wanted, int from, int most) {
        return places.run(place, wanted, from, most);
    }

    /** The tokens of the block that was found; a copy. */
    int[] tokens(int place) {
        int at = places.at(place);
        return Arrays.copyOfRange(places.page(place), at, at + blockSize);
    }
}
