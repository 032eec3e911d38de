package dev.kv8;

import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Blocks on their way to host memory and back, and how fast that goes. Decision: a copy is of whole blocks with row scales, as
 * they are, by token and group, and in the order of kernels: what a step wrote is moved after it, and a block is written again after it was
 * moved. The only wait is the one that measures.
 */
final class SwapSpace {
    private final KvBackend backend;
    private final DeviceMemory pool;
    private final long blockBytes;
    private final Set<SwappedSequence> swapped = ConcurrentHashMap.newKeySet();
    private final AtomicLong bytes = new AtomicLong();
    private final BlockLedger ledger;
    private final Runnable onArrival;
    private long movedBytes;
    private long movedNanos;
    /** Counts {@link #scalesChanged}: what was swapped out before the last one is of other scales. */
    private long scaleChanges;

    /** @param onArrival is told when blocks with content came into the pool */
    SwapSpace(KvBackend backend, DeviceMemory pool, long blockBytes, BlockLedger ledger, Runnable onArrival) {
        this.backend = backend;
        this.pool = pool;
        this.blockBytes = blockBytes;
        this.ledger = ledger;
        this.onArrival = onArrival;
    }

    /** See {@link KvCache#swapOut}. */
    SwappedSequence swapOut(KvCache cache, Sequence sequence) {
        if (sequence.cache != cache) {
            throw new IllegalArgumentException("The sequence belongs to another cache.");
        }
        sequence.checkOpen();
        sequence.checkNotScheduled("swapped out");
        SwappedSequence away = new SwappedSequence(cache, sequence, scaleChanges, save(sequence.table));
        swapped.add(away);
        bytes.addAndGet(away.bytes());
        if (!sequence.closeFirst(ReleaseHint.KEEP)) { // another thread cancelled it meanwhile
            away.close();
            sequence.checkOpen();
        }
        return away;
    }

    /** See {@link KvCache#swapIn}. */
    Optional<Sequence> swapIn(KvCache cache, SwappedSequence away) {
        if (away.cache != cache) {
            throw new IllegalArgumentException("The swapped sequence belongs to another cache.");
        }
        synchronized (away) { // another thread may close it
            if (away.isClosed()) {
                throw new IllegalStateException(
                        "This swapped sequence of " + away.length + " tokens has been swapped in or closed.");
            }
            if (away.scaleChanges != scaleChanges && away.computed > 0) {
                throw new IllegalStateException(
                        "Scales have been set since this sequence was swapped out, and its " + away.computed
                                + " stored tokens belong to those of before. Close it and open its tokens again.");
            }
            BlockTable table = ledger.restore(away, this);
            if (table == null) {
                return Optional.empty();
            }
            Sequence sequence = new Sequence(cache, table, away.tokens.clone(), away.length, away.cachedTokens);
            if (away.computed > 0) {
                onArrival.run();
            }
            away.close();
            return Optional.of(sequence);
        }
    }

    /** What is away now can't come back. */
    void scalesChanged() {
        scaleChanges++;
    }

    /** Copies a table's blocks to new host memory; null when it has none. */
    private @Nullable DeviceMemory save(BlockTable table) {
        int held = table.held();
        if (held == 0) {
            return null;
        }
        DeviceMemory host = backend.allocateHost(held * blockBytes);
        try {
            long begin = System.nanoTime();
            moved(copy(table, 0, host, true), begin);
            return host;
        } catch (RuntimeException e) {
            host.close();
            throw e;
        }
    }

    /** Copies the blocks from {@code first} on back into those of {@code table}. */
    void load(@Nullable DeviceMemory host, BlockTable table, int first) {
        if (host == null || first == table.size()) {
            return;
        }
        long begin = System.nanoTime();
        moved(copy(table, first, host, false), begin);
    }

    /**
     * Copies the blocks from {@code first} on of a table to or from {@code host}, which has all of its blocks, and says how many.
     * Neighbours go together: a large copy takes less time for a byte, as it goes past the processor's caches or is one transfer.
     */
    private int copy(BlockTable table, int first, DeviceMemory host, boolean toHost) {
        int all = 0; // blocks passed, of which host has as many
        int copied = 0;
        int run = 0; // neighbours that are still to be copied
        int runBegin = 0;
        for (int i = 0; i < table.size(); i++) {
            for (int group = 0; group < table.groups(); group++) {
                if (i < table.gone(group)) {
                    continue;
                }
                if (i >= first) {
                    int block = table.block(i, group);
                    if (block != runBegin + run) {
                        copy(runBegin, all - run, run, host, toHost);
                        run = 0;
                    }
                    if (run++ == 0) {
                        runBegin = block;
                    }
                    copied++;
                }
                all++;
            }
        }
        copy(runBegin, all - run, run, host, toHost);
        return copied;
    }

    private void copy(int block, int hostBlock, int count, DeviceMemory host, boolean toHost) {
        if (count == 0) {
            return;
        }
        if (toHost) {
            backend.copy(pool, block * blockBytes, host, hostBlock * blockBytes, count * blockBytes);
        } else {
            backend.copy(host, hostBlock * blockBytes, pool, block * blockBytes, count * blockBytes);
        }
    }

    private void moved(int blocks, long begin) {
        backend.synchronize();
        movedNanos += System.nanoTime() - begin;
        movedBytes += blocks * blockBytes;
    }

    /** 0 before the first move. */
    double bytesPerSecond() {
        return movedNanos == 0 ? 0 : movedBytes * 1e9 / movedNanos;
    }

    void remove(SwappedSequence sequence) {
        if (swapped.remove(sequence)) {
            bytes.addAndGet(-sequence.bytes());
        }
    }

    /** Host memory that is held. */
    long bytes() {
        return bytes.get();
    }

    void close() {
        swapped.forEach(SwappedSequence::close);
    }
}
