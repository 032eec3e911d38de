package dev.kv8;

import org.jspecify.annotations.Nullable;

/** Kernels that do nothing, so that what is seen is the manager's own cost. */
final class SilentBackend extends InMemoryBackend {

    SilentBackend() {
        super(true);
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
            @Nullable DeviceMemory saturated) {}

    @Override
    public void attend(
            CacheView view,
            AttentionPlan plan,
            DeviceMemory blockTable,
            long blockTableStride,
            HeadRows q,
            HeadRows out,
            @Nullable DeviceMemory lse,
            AttentionOptions options) {}

    @Override
    public void copy(DeviceMemory source, long sourceOffset, DeviceMemory target, long targetOffset, long bytes) {}

    @Override
    public AttentionPlan attentionPlan(int queryHeads, int kvHeads, int headSize) {
        return new AttentionPlan() {
            @Override
            public void update(int sequences, DeviceMemory queryStartLoc, DeviceMemory seqLens) {}

            @Override
            public void close() {}
        };
    }
}
