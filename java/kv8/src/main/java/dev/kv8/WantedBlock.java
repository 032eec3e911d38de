package dev.kv8;

/**
 * A block that a prompt would take from the tiers.
 *
 * @param key under which its group registers it
 * @param group of layers that lie in it
 * @param index of its tokens in the prompt, in blocks
 * @param parent the key that it hangs on
 */
record WantedBlock(BlockKey key, int group, int index, BlockKey parent) {}
