package dev.kv8;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import org.jspecify.annotations.Nullable;

/** One reservation that took blocks from cached prefixes; its duration is the whole reservation's. */
@Name("dev.kv8.Eviction")
@Label("KV Cache Eviction")
@Description("Blocks of cached prefixes that made room for one sequence's next tokens")
@Category("kv8")
@StackTrace(false)
final class EvictionEvent extends Event {
    /** Only asked whether a recording wants such events, which costs a call that does nothing when none does. */
    private static final EvictionEvent ASKED = new EvictionEvent();

    @Label("Evicted Blocks")
    int evictedBlocks;

    @Label("Tokens")
    @Description("That were reserved")
    int tokens;

    @Label("Free Blocks")
    @Description("After it, cached ones included")
    int freeBlocks;

    @Label("Cached Blocks")
    @Description("After it")
    int cachedBlocks;

    /** A begun event that counts from what {@code pool} has evicted so far; null, and nothing is made, when no recording wants it. */
    static @Nullable EvictionEvent begin(BlockPool pool) {
        if (!ASKED.isEnabled()) {
            return null;
        }
        EvictionEvent event = new EvictionEvent();
        event.evictedBlocks = -(int) pool.evicted();
        event.begin();
        return event;
    }

    /** The reservation is done; recorded when blocks have been evicted since {@link #begin(BlockPool)}. */
    void end(BlockPool pool, int reservedTokens) {
        evictedBlocks += (int) pool.evicted();
        if (evictedBlocks > 0 && shouldCommit()) {
            tokens = reservedTokens;
            freeBlocks = pool.available();
            cachedBlocks = pool.cached();
            commit();
        }
    }
}
