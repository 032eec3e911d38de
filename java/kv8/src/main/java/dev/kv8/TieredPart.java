package dev.kv8;

/** A block that a tier has and that begins as a prompt goes on. */
final class TieredPart {
    final WantedBlock block;
    /** Of a prompt that ends with it. */
    final int[] tokens;
    /** How many of its tokens the prompt can use. */
    final int common;

    TieredPart(WantedBlock block, int[] tokens, int common) {
        this.block = block;
        this.tokens = tokens;
        this.common = common;
    }
}
