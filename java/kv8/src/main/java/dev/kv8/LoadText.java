package dev.kv8;

/** What a {@link CacheListener} is told about the blocks of a {@link PrefixLoad}; made only for a listener. */
final class LoadText {
    private final BlockKey parent;
    private final int position;
    private final int[] tokens;

    /**
     * @param parent of the load's first block
     * @param position of its first token in the sequence
     * @param tokens of all its blocks, not written any more
     */
    LoadText(BlockKey parent, int position, int[] tokens) {
        this.parent = parent;
        this.position = position;
        this.tokens = tokens;
    }

    /** The load's block {@code index} is in the pool's index now. */
    void tell(CacheNews news, PrefixLoad load, int index, int blockSize) {
        BlockKey before = index == 0 ? parent : load.key(index - 1);
        news.stored(load.key(index), before, position + index * blockSize, tokens, index * blockSize);
    }
}
