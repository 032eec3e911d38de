package dev.kv8.natives;

import dev.kv8.AttentionPlan;
import dev.kv8.DeviceMemory;
import dev.kv8.LayerLayout;
import org.jspecify.annotations.Nullable;

/** A plan's heads and window, and its workspace on the device. */
final class NativeAttentionPlan implements AttentionPlan {
    private final NativeBackend owner;
    private final int queryHeads;
    private final int kvHeads;
    private final int headSize;
    private final int window;
    private @Nullable DeviceMemory workspace;
    private boolean planned;
    private volatile boolean closed;

    NativeAttentionPlan(NativeBackend owner, int queryHeads, int kvHeads, int headSize, int window) {
        this.owner = owner;
        this.queryHeads = queryHeads;
        this.kvHeads = kvHeads;
        this.headSize = headSize;
        this.window = window;
    }

    @Override
    public void update(int sequences, DeviceMemory queryStartLoc, DeviceMemory seqLens) {
        requireOpen();
        owner.plan(this, sequences, queryStartLoc, seqLens);
        planned = true;
    }

    /** Workspace of at least {@code bytes}; what was planned before is lost. */
    DeviceMemory reserve(long bytes) {
        planned = false;
        DeviceMemory current = workspace;
        if (current != null && current.bytes() >= bytes) {
            return current;
        }
        // Half as much again, so that a batch which grows by a sequence at a time does not allocate at each step.
        long size = current == null ? bytes : Math.max(bytes, current.bytes() + current.bytes() / 2);
        if (current != null) {
            workspace = null;
            current.close();
        }
        DeviceMemory grown = owner.allocate(size);
        workspace = grown;
        return grown;
    }

    DeviceMemory workspace() {
        requireOpen();
        DeviceMemory current = workspace;
        if (current == null || !planned) {
            throw new IllegalStateException("This attention plan holds no step; call update first.");
        }
        return current;
    }

    void requireFits(LayerLayout layout) {
        if (layout.kvHeads() != kvHeads || layout.headSize() != headSize) {
            throw new IllegalArgumentException("The plan is for " + kvHeads + " KV heads of " + headSize
                    + ", the cache view has " + layout.kvHeads() + " of " + layout.headSize() + ".");
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("This attention plan has been closed.");
        }
    }

    OpenDevice device() {
        return owner.device;
    }

    int queryHeads() {
        return queryHeads;
    }

    int kvHeads() {
        return kvHeads;
    }

    int headSize() {
        return headSize;
    }

    int window() {
        return window;
    }

    @Override
    public void close() {
        closed = true;
        DeviceMemory current = workspace;
        workspace = null;
        if (current != null) {
            current.close();
        }
    }
}
