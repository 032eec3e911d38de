package dev.kv8;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * A sequence whose blocks were moved to host memory, so that others have them: what {@link KvCache#swapOut} gives and {@link
 * KvCache#swapIn} takes. It holds no block, and its own copy of all that was stored, bit for bit.
 *
 * <p>{@link #close} frees the host memory, from any thread; so does closing the cache, and a swapIn that succeeds.
 */
public final class SwappedSequence implements AutoCloseable {
    final KvCache cache;
    final SequenceOptions options;
    final int[] tokens;
    final int length;
    final int computed;
    final int cachedTokens;
    /** By group of layers: blocks at the front that had fallen out of the window, so that they are not in memory. */
    private final int[] gone;

    /** Blocks of all groups that are in memory. */
    final int blocks;

    /** That of the {@link BlockTable} that it had. */
    final long epoch;

    /** How often scales had been set. */
    final long scaleChanges;

    /** The blocks in token order; null when nothing was stored. */
    private @Nullable DeviceMemory memory;

    private final long bytes;
    private boolean closed;

    SwappedSequence(KvCache cache, Sequence from, long scaleChanges, @Nullable DeviceMemory memory) {
        this.cache = cache;
        this.memory = memory;
        this.scaleChanges = scaleChanges;
        options = from.options();
        tokens = from.tokenIds();
        length = from.length();
        computed = from.computedTokens();
        cachedTokens = from.cachedTokens();
        gone = from.table.goneByGroup();
        blocks = from.table.held();
        epoch = from.table.epoch;
        bytes = memory == null ? 0 : memory.bytes();
    }

    /** Of a group, blocks at the front that had fallen out of the window. */
    int gone(int group) {
        return gone[group];
    }

    /** Tokens, computed and pending. */
    public int length() {
        return length;
    }

    /** Tokens whose K and V are in host memory. */
    public int computedTokens() {
        return computed;
    }

    /** The token ids so far; a copy. */
    public int[] tokens() {
        return Arrays.copyOf(tokens, length);
    }

    /** Bytes of host memory. */
    public long bytes() {
        return bytes;
    }

    /** What the sequence was opened with. */
    public SequenceOptions options() {
        return options;
    }

    /** Whether it has been closed or swapped in. */
    public synchronized boolean isClosed() {
        return closed;
    }

    /** For a caller that holds this object's monitor and found it open. */
    @Nullable
    DeviceMemory memory() {
        return memory;
    }

    /** Frees the host memory; the tokens can still be read. Closing twice does nothing. */
    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        cache.forget(this);
        DeviceMemory held = memory;
        memory = null;
        if (held != null) {
            held.close();
        }
    }
}
