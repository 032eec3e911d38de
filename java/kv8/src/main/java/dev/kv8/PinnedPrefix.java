package dev.kv8;

import java.lang.ref.Cleaner;

/**
 * Blocks that stay cached whatever room is needed, as long as this is open: the full blocks of a sequence's first tokens, see
 * {@link Sequence#pin()}. It holds them beside sequences and outlives the one it came from.
 *
 * <p>{@link #close} may be called from any thread. After {@link KvCache#clearPrefixes} or {@link KvCache#setScales} a pin holds
 * blocks that no sequence finds any more; close it then.
 */
public final class PinnedPrefix implements AutoCloseable {
    private final BlockLedger ledger;
    final BlockTable table;
    private final int blocks;
    private final int tokens;
    private final Cleaner.Cleanable abandoned;

    /** For a caller inside the ledger. */
    PinnedPrefix(BlockLedger ledger, BlockTable table, int blockSize) {
        this.ledger = ledger;
        this.table = table;
        blocks = table.held();
        tokens = table.size() * blockSize;
        abandoned = Abandoned.watchPin(this, ledger, table);
    }

    /** Blocks that it holds, whoever else does. */
    public int blocks() {
        return blocks;
    }

    /** Leading tokens that a sequence of the same tokens and salt finds stored. */
    public int tokens() {
        return tokens;
    }

    /** Whether it has been closed; any thread. */
    public boolean isClosed() {
        return table.isClosed();
    }

    /** Lets the blocks be evicted again when nobody else holds them, in their class. Closing twice does nothing. */
    @Override
    public void close() {
        if (table.close(ReleaseHint.KEEP)) {
            ledger.requestRelease(table);
            abandoned.clean();
        }
    }
}
