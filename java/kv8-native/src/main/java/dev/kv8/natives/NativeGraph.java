package dev.kv8.natives;

import dev.kv8.CapturedGraph;
import dev.kv8.natives.abi.kv8_graph;

/** A {@code kv8_graph}, with all that it uses. */
final class NativeGraph implements CapturedGraph {
    private final NativeDevice owner;
    private final kv8_graph handle;
    private final GivenMemory.Noted uses;
    /** Guarded by the owner's turn. */
    private boolean closed;

    NativeGraph(NativeDevice owner, kv8_graph handle, GivenMemory.Noted uses) {
        this.owner = owner;
        this.handle = handle;
        this.uses = uses;
    }

    @Override
    public boolean isCurrent() {
        synchronized (owner.turn) {
            return !closed && uses.isOpen();
        }
    }

    @Override
    public void launch() {
        // Memory is freed in turn: what is open now is there until the launch is on its stream, and is then waited for.
        synchronized (owner.turn) {
            if (closed) {
                throw new IllegalStateException("This graph has been closed.");
            }
            if (!uses.isOpen()) {
                throw new IllegalStateException(
                        "Memory or a cache view that this graph's calls were given has been closed."
                                + " Capture them anew.");
            }
            owner.launch(handle);
        }
    }

    @Override
    public void close() {
        synchronized (owner.turn) {
            if (!closed) {
                closed = true;
                owner.destroy(handle);
            }
        }
    }
}
