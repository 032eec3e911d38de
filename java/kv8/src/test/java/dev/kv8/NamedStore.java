package dev.kv8;

import java.io.IOException;
import java.util.List;

/** A store under another name. */
class NamedStore implements BlockStore {
    private final String name;
    private final BlockStore store;

    NamedStore(String name, BlockStore store) {
        this.name = name;
        this.store = store;
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public void prepare(int frameBytes) {
        store.prepare(frameBytes);
    }

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) throws IOException {
        return store.lookup(keys, deadlineNanos);
    }

    @Override
    public void load(BlockTransfer transfer) {
        store.load(transfer);
    }

    @Override
    public void store(BlockTransfer transfer) {
        store.store(transfer);
    }

    @Override
    public void forget(BlockKey key) {
        store.forget(key);
    }

    @Override
    public void close() {
        store.close();
    }
}
