package dev.kv8;

/**
 * 128 bits that stand for everything that decides what a block's bytes mean: shape, types by layer, where all lies, granularity and
 * values of the scales. A frame carries it, so that one of another cache is refused even if it came under a right key.
 */
record LayoutFingerprint(long low, long high) {}
