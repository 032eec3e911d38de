package dev.kv8;

import java.util.ArrayList;
import java.util.List;

/** Says to have everything and completes nothing until it is told to fail. */
final class SilentStore implements BlockStore {
    private final List<BlockTransfer> transfers = new ArrayList<>();
    private boolean failing;

    @Override
    public String name() {
        return "silent";
    }

    @Override
    public void prepare(int frameBytes) {}

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) {
        return keys.size();
    }

    @Override
    public void load(BlockTransfer transfer) {
        hold(transfer);
    }

    @Override
    public void store(BlockTransfer transfer) {
        hold(transfer);
    }

    private synchronized void hold(BlockTransfer transfer) {
        if (failing) {
            transfer.failRest(null);
        } else {
            transfers.add(transfer);
        }
    }

    @Override
    public void forget(BlockKey key) {}

    /** Blocks that wait to be completed. */
    synchronized int held() {
        return transfers.stream().mapToInt(BlockTransfer::remaining).sum();
    }

    /** Fails what it holds, and from now on what it gets: a load that waited for a frame goes on with that of one that failed. */
    synchronized void failAll() {
        failing = true;
        transfers.forEach(transfer -> transfer.failRest(null));
    }

    @Override
    public void close() {}
}
