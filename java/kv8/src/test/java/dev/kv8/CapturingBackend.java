package dev.kv8;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Kernels in Java that can be captured: a graph makes the same calls again, on what the memory holds then. */
final class CapturingBackend extends InMemoryBackend {
    private @Nullable List<Runnable> captured;
    private List<DeviceMemory> given = new ArrayList<>();

    CapturingBackend() {
        super(false);
    }

    @Override
    public boolean capturesGraphs() {
        return true;
    }

    @Override
    public CapturedGraph capture(Runnable calls) {
        List<Runnable> made = new ArrayList<>();
        captured = made;
        given = new ArrayList<>();
        try {
            calls.run();
        } finally {
            captured = null;
        }
        return new Graph(made, given);
    }

    private static final class Graph implements CapturedGraph {
        private final List<Runnable> calls;
        private final List<DeviceMemory> uses;
        private boolean closed;

        Graph(List<Runnable> calls, List<DeviceMemory> uses) {
            this.calls = calls;
            this.uses = uses;
        }

        @Override
        public boolean isCurrent() {
            return !closed && uses.stream().noneMatch(DeviceMemory::isClosed);
        }

        @Override
        public void launch() {
            if (!isCurrent()) {
                throw new IllegalStateException("This graph is not current.");
            }
            calls.forEach(Runnable::run);
        }

        @Override
        public void close() {
            closed = true;
        }
    }

    /** Now, or in the launches of what is being captured. */
    private void make(Runnable call, DeviceMemory... memories) {
        if (captured == null) {
            call.run();
            return;
        }
        captured.add(call);
        given.addAll(List.of(memories));
    }

    @Override
    public void write(
            CacheView view,
            HeadRows k,
            HeadRows v,
            int tokens,
            DeviceMemory slots,
            @Nullable RopeTable rope,
            @Nullable DeviceMemory positions,
            @Nullable DeviceMemory saturated) {
        make(() -> super.write(view, k, v, tokens, slots, rope, positions, saturated), k.memory(), v.memory(), slots);
    }

    @Override
    public void attend(
            CacheView view,
            AttentionPlan plan,
            DeviceMemory blockTable,
            long blockTableStride,
            HeadRows q,
            HeadRows out,
            @Nullable DeviceMemory lse,
            AttentionOptions options) {
        make(
                () -> super.attend(view, plan, blockTable, blockTableStride, q, out, lse, options),
                q.memory(),
                out.memory(),
                blockTable);
    }

    @Override
    public void copy(DeviceMemory source, long sourceOffset, DeviceMemory target, long targetOffset, long bytes) {
        make(() -> super.copy(source, sourceOffset, target, targetOffset, bytes), source, target);
    }
}
