package dev.kv8;

/**
 * Lets operations on many blocks wait for main memory together. One operation reads a handful of cache lines at places that hashes
 * and lists give, each known only when the one before is there, and branches on what it reads, so a processor waits for one after the
 * other. Decision: before a loop over blocks another one reads the same places, without a branch on what it finds, so that ten or
 * twenty lines are on their way at once; the operations then find them in the nearest cache. It changes nothing, and what it reads may be stale
 * or of another block: that costs time and nothing else.
 *
 * <p>Every {@code read} method of the pool's parts returns a sum of what it read, which ends up here, because a compiler leaves out
 * reads that nobody needs. For the writer thread only.
 */
final class ReadAhead {
    /** Blocks at once: lines of so many fit into the nearest cache beside what else is there. */
    static final int BLOCKS = 32;

    /** By block of the loop at hand. */
    final int[] blocks = new int[BLOCKS];

    @SuppressWarnings("UnusedVariable") // written, so that reads have a use
    private long sum;

    void add(long read) {
        sum += read;
    }
}
