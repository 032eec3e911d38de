package dev.kv8;

import java.util.ArrayList;
import java.util.List;

/** Says to have everything and completes nothing until it is told to. */
final class SilentStore implements BlockStore {
    private final List<BlockTransfer> transfers = new ArrayList<>();

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
    public synchronized void load(BlockTransfer transfer) {
        transfers.add(transfer);
    }

    @Override
    public synchronized void store(BlockTransfer transfer) {
        transfers.add(transfer);
    }

    @Override
    public void forget(BlockKey key) {}

    /** Blocks that wait to be completed. */
    synchronized int held() {
        return transfers.stream().mapToInt(BlockTransfer::remaining).sum();
    }

    synchronized void failAll() {
        transfers.forEach(transfer -> transfer.failRest(null));
    }

    @Override
    public void close() {}
}
