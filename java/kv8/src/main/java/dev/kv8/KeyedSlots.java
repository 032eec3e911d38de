package dev.kv8;

import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Which key is in which of a store's equal places, and which one makes room: the cache's own pool and eviction policies over places
 * instead of blocks. A place that is held is neither evicted nor reused.
 *
 * <p>Decision: a store is told of blocks and not of prompts, which come from the head on, a few blocks at a time; let go of in that
 * order, the head of a prompt would be evicted first and the rest be of no use. So what is used stays held until the next question
 * what is here, with which another prompt begins, and is then let go of from the last to the first; before that only when no other
 * place is left. For any thread.
 */
final class KeyedSlots {
    private final BlockPool pool;
    private final @Nullable BlockKey[] keys;
    private final long[] words = new long[PrefixIndex.KEY];

    /** Places in the order of their use, held until a prompt's end. */
    private int[] used = new int[64];

    private int uses;

    /** When the first of these was used. */
    private Instant began = Instant.EPOCH;

    KeyedSlots(int slots, EvictionPolicyKind eviction) {
        pool = new BlockPool(slots, eviction, System::nanoTime);
        keys = new BlockKey[slots];
    }

    /** How many keys, from the first on without a gap, are here; another prompt begins. */
    synchronized int leading(List<BlockKey> wanted) {
        letGoOfUsed();
        int found = 0;
        while (found < wanted.size() && find(wanted.get(found)) >= 0) {
            found++;
        }
        return found;
    }

    private int find(BlockKey key) {
        key.copyTo(words, 0);
        return pool.find(words, 0);
    }

    synchronized boolean contains(BlockKey key) {
        return find(key) >= 0;
    }

    /** Holds the place of a key, which is of use once more; -1 when it has none. */
    synchronized int hold(BlockKey key) {
        key.copyTo(words, 0);
        return pool.take(words, 0, SequenceOptions.DEFAULT);
    }

    /** Holds a place that has no key any more; -1 when all are held. What was evicted for it is {@link #evicted}. */
    synchronized int reserve() {
        if (pool.available() == 0) {
            letGoOfUsed();
        }
        return pool.available() == 0 ? -1 : pool.allocate();
    }

    /** The key that a reserved place had; asked once. */
    synchronized @Nullable BlockKey evicted(int slot) {
        BlockKey key = keys[slot];
        keys[slot] = null;
        return key;
    }

    /** Gives the key to a reserved place, unless it has another one meanwhile: it has been used. */
    synchronized boolean keep(int slot, BlockKey key) {
        key.copyTo(words, 0);
        pool.register(slot, words, 0, SequenceOptions.DEFAULT);
        boolean kept = pool.isRegistered(slot);
        keys[slot] = kept ? key : null;
        used(slot);
        return kept;
    }

    /** Whoever held the place has done with it: it is let go of at the end of its prompt. */
    synchronized void used(int slot) {
        if (uses == keys.length) {
            letGoOfUsed();
        }
        if (uses == used.length) {
            used = Arrays.copyOf(used, 2 * uses);
        }
        used[uses++] = slot;
    }

    /** A prompt ends here. */
    synchronized void letGoOfUsed() {
        while (uses > 0) {
            pool.release(used[--uses]);
        }
    }

    /** The time that the next use counts as: within a prompt, a later one is older. */
    synchronized Instant timeOfUse() {
        if (uses == 0) {
            began = Instant.now();
        }
        return began.minus(uses, ChronoUnit.MICROS);
    }

    /** Lets go at once of a reserved place that got no key. */
    synchronized void release(int slot) {
        pool.release(slot);
    }

    /** The key has no place any more; whether it had one. */
    synchronized boolean forget(BlockKey key) {
        key.copyTo(words, 0);
        int slot = pool.take(words, 0, SequenceOptions.DEFAULT);
        if (slot < 0) {
            return false;
        }
        pool.unregister(slot);
        keys[slot] = null;
        pool.release(slot);
        return true;
    }

    /** Keys that are here. */
    synchronized int size() {
        int held = 0;
        for (BlockKey key : keys) {
            held += key == null ? 0 : 1;
        }
        return held;
    }
}
