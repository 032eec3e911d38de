package dev.kv8;

import java.util.Arrays;

/**
 * Blocks in the order in which they were given up: a doubly linked list through two int arrays, so adding, taking out of the
 * middle and finding the oldest are a few memory accesses each and allocate nothing.
 */
final class LruList {
    private static final int ABSENT = -1;

    /** By block; the element behind the last block is both ends of the list. */
    private final int[] newer;

    private final int[] older;
    private final int ends;
    private int size;

    LruList(int blocks) {
        newer = new int[blocks + 1];
        older = new int[blocks + 1];
        ends = blocks;
        Arrays.fill(newer, ABSENT);
        newer[ends] = ends;
        older[ends] = ends;
    }

    /** {@code block} must not be in the list. */
    void addNewest(int block) {
        int last = older[ends];
        newer[last] = block;
        older[block] = last;
        newer[block] = ends;
        older[ends] = block;
        size++;
    }

    /** {@code block} must be in the list. */
    void remove(int block) {
        newer[older[block]] = newer[block];
        older[newer[block]] = older[block];
        newer[block] = ABSENT;
        size--;
    }

    /** The one added longest ago; the list must not be empty. */
    int oldest() {
        return newer[ends];
    }

    boolean contains(int block) {
        return newer[block] != ABSENT;
    }

    int size() {
        return size;
    }
}
