package dev.kv8.natives;

import dev.kv8.CacheView;
import dev.kv8.ChannelScales;
import dev.kv8.DeviceMemory;
import dev.kv8.LayerLayout;
import dev.kv8.natives.abi.kv8_cache_view;
import dev.kv8.natives.abi.kv8_side;
import dev.kv8.natives.abi.kv8_span;
import org.jspecify.annotations.Nullable;

/** A {@code kv8_cache_view} that is filled once; it holds on to the pool and the scales to notice when they are closed. */
final class NativeCacheView implements CacheView {
    private final OpenDevice device;
    private final LayerLayout layout;
    private final DeviceMemory pool;
    private final @Nullable ChannelScales kScales;
    private final @Nullable ChannelScales vScales;
    private final kv8_cache_view struct = new kv8_cache_view(Struct.zeroed(kv8_cache_view.class));
    private volatile boolean closed;

    NativeCacheView(
            OpenDevice device,
            DeviceMemory pool,
            LayerLayout layout,
            @Nullable ChannelScales kScales,
            @Nullable ChannelScales vScales) {
        this.device = device;
        this.layout = layout;
        this.pool = pool;
        this.kScales = kScales;
        this.vScales = vScales;
        struct.struct_size(struct.sizeof());
        struct.num_blocks(layout.blocks());
        struct.block_size(layout.blockSize());
        struct.kv_heads(layout.kvHeads());
        struct.head_size(layout.headSize());
        struct.block_stride(layout.blockStride());
        set(struct.memory(), pool);
        fill(struct.k(), layout.k(), kScales);
        fill(struct.v(), layout.v(), vScales);
    }

    private static void fill(kv8_side struct, LayerLayout.Side side, @Nullable ChannelScales scales) {
        struct.dtype(side.dtype().code());
        struct.offset(side.offset());
        struct.head_stride(side.headStride());
        struct.slot_stride(side.slotStride());
        struct.row_scale_offset(side.rowScaleOffset());
        struct.row_scale_head_stride(side.rowScaleHeadStride());
        if (scales != null) {
            set(struct.chan(), scales.values());
            struct.chan_head_stride(scales.headStride());
            struct.chan_dim_stride(scales.channelStride());
        }
    }

    private static void set(kv8_span span, DeviceMemory memory) {
        span.ptr(memory.address());
        span.bytes(memory.bytes());
    }

    /** Whether it and everything that it points to still exist. */
    boolean isUsable() {
        return !closed && !pool.isClosed() && !isClosed(kScales) && !isClosed(vScales);
    }

    /** The struct, when everything that it points to still exists. */
    kv8_cache_view struct() {
        if (!isUsable()) {
            throw new IllegalStateException(
                    closed
                            ? "This cache view has been closed."
                            : "The memory behind this cache view, its pool or its scales, has been closed.");
        }
        return struct;
    }

    private static boolean isClosed(@Nullable ChannelScales scales) {
        return scales != null && scales.values().isClosed();
    }

    OpenDevice device() {
        return device;
    }

    @Override
    public LayerLayout layout() {
        return layout;
    }

    @Override
    public void close() {
        closed = true;
    }
}
