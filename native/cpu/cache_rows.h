// Where a slot's rows lie in a cache, and the scales beside them.
#pragma once

#include "cpu/row_io.h"

namespace kv8::cpu::KV8_ISA {

struct Slot {
    int64_t block;
    int64_t index;
};

KV8_INLINE uint8_t* cache_row(const kv8_cache_view& view, const kv8_side& side, Slot slot, int64_t head) {
    return reinterpret_cast<uint8_t*>(view.memory.ptr) + slot.block * view.block_stride + side.offset +
           head * side.head_stride + slot.index * side.slot_stride;
}

KV8_INLINE bool has_row_scales(const kv8_side& side) { return side.row_scale_offset >= 0; }

KV8_INLINE uint8_t* row_scale(const kv8_cache_view& view, const kv8_side& side, Slot slot, int64_t head) {
    return reinterpret_cast<uint8_t*>(view.memory.ptr) + slot.block * view.block_stride + side.row_scale_offset +
           head * side.row_scale_head_stride + slot.index * sizeof(float);
}

// Asks for a slot's rows of all heads. A slot is written once in a while, so its lines have left the caches: a store that waits for
// them holds up those behind it.
KV8_INLINE void ask_to_write(const kv8_cache_view& view, const kv8_side& side, Slot slot) {
    const int64_t bytes = view.head_size * element_bytes(side.dtype);
    for (int64_t head = 0; head < view.kv_heads; head++) {
        const uint8_t* const row = cache_row(view, side, slot, head);
        for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, 1);
        if (has_row_scales(side)) __builtin_prefetch(row_scale(view, side, slot, head), 1);
    }
}

KV8_INLINE f32 chan_lanes(const kv8_side& side, int64_t head, int64_t d) {
    if (side.chan.ptr == 0) return splat(1.0f);
    const float* chan =
        reinterpret_cast<const float*>(side.chan.ptr) + head * side.chan_head_stride + d * side.chan_dim_stride;
    if (side.chan_dim_stride == 0) return splat(load<float>(chan));
    if (side.chan_dim_stride == 1) return load<f32>(chan);
    float lanes[kLanes];
    for (int i = 0; i < kLanes; i++) lanes[i] = load<float>(chan + i * side.chan_dim_stride);
    return load<f32>(lanes);
}

// Whether all channels of a head have one scale.
KV8_INLINE bool shares_scale(const kv8_side& side) { return side.chan.ptr == 0 || side.chan_dim_stride == 0; }

KV8_INLINE float chan_scale(const kv8_side& side, int64_t head, int64_t d = 0) {
    if (side.chan.ptr == 0) return 1;
    return load<float>(reinterpret_cast<const float*>(side.chan.ptr) + head * side.chan_head_stride +
                       d * side.chan_dim_stride);
}

}  // namespace kv8::cpu::KV8_ISA
