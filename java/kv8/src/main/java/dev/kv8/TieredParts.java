package dev.kv8;

import java.util.Arrays;

/**
 * Tokens of blocks that tiers have, so that one that only begins as a prompt goes on is found there too. Decision: the cache knows them,
 * not the tiers, for a store knows keys alone and may be another machine's. The last ones it was told of, one place each in flat
 * arrays. A tier may have evicted what is here: then a load finds nothing, and it is forgotten. For the writer thread only.
 */
final class TieredParts {
    private final int blockSize;
    private final PartialBlockIndex places;
    private final long[] fingerprints;
    private final FingerprintIndex index;
    private final boolean[] used;
    private int oldest;

    /** @param capacity blocks that are remembered */
    TieredParts(int capacity, int blockSize) {
        this.blockSize = blockSize;
        places = new PartialBlockIndex(capacity, blockSize);
        fingerprints = new long[capacity];
        index = new FingerprintIndex(fingerprints);
        used = new boolean[capacity];
    }

    /** A tier has a block with the tokens from {@code from} on; {@code fingerprint} is of its key, {@code parent} of its parent's. */
    void add(long fingerprint, long parent, int[] tokens, int from) {
        if (index.find(fingerprint) != FingerprintIndex.ABSENT) {
            return;
        }
        int place = oldest;
        oldest = (oldest + 1) % used.length;
        drop(place);
        used[place] = true;
        fingerprints[place] = fingerprint;
        index.add(place);
        places.add(place, parent, tokens, from);
    }

    void remove(long fingerprint) {
        int place = index.find(fingerprint);
        if (place != FingerprintIndex.ABSENT) {
            drop(place);
        }
    }

    private void drop(int place) {
        if (used[place]) {
            used[place] = false;
            index.remove(place);
            places.remove(place);
        }
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
