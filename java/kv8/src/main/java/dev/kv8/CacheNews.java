package dev.kv8;

import java.nio.IntBuffer;
import org.jspecify.annotations.Nullable;

/** Tells a {@link CacheListener} what happens to the prefix index, and keeps what it throws away from the cache. For whoever is inside. */
final class CacheNews {
    private static final System.Logger LOG = System.getLogger("dev.kv8");

    private final CacheListener listener;
    private final int blockSize;
    private boolean failed;
    private boolean ended;

    private CacheNews(CacheListener listener, int blockSize) {
        this.listener = listener;
        this.blockSize = blockSize;
    }

    /** Null when nobody listens. */
    static @Nullable CacheNews of(KvCacheConfig config) {
        CacheListener listener = config.listener();
        return listener == null ? null : new CacheNews(listener, config.blockSize());
    }

    /** {@code tokens} has those of the block from {@code from} on; the first of them is the sequence's at {@code position}. */
    void stored(BlockKey key, BlockKey parent, int position, int[] tokens, int from) {
        tell(() -> listener.stored(
                key,
                parent,
                position,
                IntBuffer.wrap(tokens, from, blockSize).slice().asReadOnlyBuffer()));
    }

    void removed(BlockKey key) {
        tell(() -> listener.removed(key));
    }

    void cleared() {
        tell(listener::cleared);
    }

    /** The cache is closed: tells that all is gone, and nothing after that. */
    void end() {
        cleared();
        ended = true;
    }

    private void tell(Runnable what) {
        if (ended) {
            return;
        }
        try {
            what.run();
        } catch (RuntimeException | Error e) { // the pool is in the middle of a change that must be finished
            if (!failed) {
                failed = true;
                LOG.log(
                        System.Logger.Level.WARNING,
                        "A CacheListener threw, so what it knows about the cache may be wrong from now on; further exceptions"
                                + " are not logged.",
                        e);
            }
        }
    }
}
