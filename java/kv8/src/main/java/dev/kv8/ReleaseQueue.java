package dev.kv8;

import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** Tables of closed sequences on their way back to the writer. Any thread may add; whoever holds the cache takes all. */
final class ReleaseQueue {
    private final AtomicReference<@Nullable BlockTable> head = new AtomicReference<>();

    /** Adds a table; each one at most once in its life. */
    void add(BlockTable table) {
        BlockTable next;
        do {
            next = head.get();
            table.nextReleased = next;
        } while (!head.compareAndSet(next, table));
    }

    boolean isEmpty() {
        return head.get() == null;
    }

    /** All that were added, linked by {@code nextReleased}. */
    @Nullable
    BlockTable takeAll() {
        return head.getAndSet(null);
    }
}
