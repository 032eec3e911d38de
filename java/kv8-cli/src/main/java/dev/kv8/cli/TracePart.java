package dev.kv8.cli;

import java.util.Arrays;

/** Requests of a trace in memory: their chains of block ids, one behind the other. Reusable; arrays grow as needed. */
final class TracePart {
    private long[] chains = new long[1024];
    private int blocks;
    private int[] ends = new int[64];
    private long[] lines = new long[64];
    private int requests;

    void clear() {
        blocks = 0;
        requests = 0;
    }

    /** Appends the ids {@code first} to {@code last}, both included, to the request that {@link #endRequest} ends. */
    void addBlocks(long first, long last) {
        int count = Math.toIntExact(last - first + 1);
        int needed = Math.addExact(blocks, count);
        if (needed > chains.length) {
            chains = Arrays.copyOf(chains, Math.max(needed, 2 * chains.length));
        }
        for (int i = 0; i < count; i++) {
            chains[blocks++] = first + i;
        }
    }

    void endRequest(long line) {
        if (requests == ends.length) {
            ends = Arrays.copyOf(ends, 2 * requests);
            lines = Arrays.copyOf(lines, 2 * requests);
        }
        ends[requests] = blocks;
        lines[requests++] = line;
    }

    int requests() {
        return requests;
    }

    /** Blocks of all requests. */
    int blocks() {
        return blocks;
    }

    /** Every request's ids; see {@link #begin} and {@link #end}. */
    long[] chains() {
        return chains;
    }

    int begin(int request) {
        return request == 0 ? 0 : ends[request - 1];
    }

    int end(int request) {
        return ends[request];
    }

    /** The line of the trace that holds {@code request}, from 1. */
    long line(int request) {
        return lines[request];
    }
}
