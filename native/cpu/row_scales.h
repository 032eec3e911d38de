// A slot's rows in a cache, and the scales by which their codes are multiplied.
#pragma once

#include "cpu/row_io.h"

namespace kv8::cpu::KV8_ISA {

constexpr float kFloatMin = 0x1p-126f, kFloatMax = 0x1.fffffep127f;

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

// Of the first channel.
KV8_INLINE float chan_scale(const kv8_side& side, int64_t head) {
    if (side.chan.ptr == 0) return 1;
    return load<float>(reinterpret_cast<const float*>(side.chan.ptr) + head * side.chan_head_stride);
}

// row * chan, kept normal and finite: then a zero divided by it stays zero, and a zero code times it too.
KV8_INLINE f32 joint_scale(float row, f32 chan) {
    const f32 product = splat(row) * chan;
    const f32 low = splat(kFloatMin), high = splat(kFloatMax);
    return select(less(product, low), low, select(less(high, product), high, product));
}

KV8_INLINE float joint_scale(float row, float chan) {
    const float product = row * chan;
    return product < kFloatMin ? kFloatMin : product > kFloatMax ? kFloatMax : product;
}

// body(divide), where divide(x, d) is x / scale for sixteen channels from d on, rounded once. `row` is the row's own scale, or one.
template <class Body>
KV8_INLINE void with_divisor(const kv8_side& side, int64_t head, float row, const Body& body) {
    if (!shares_scale(side))
        return body(KV8_LAMBDA(const f32& x, int d) { return x / joint_scale(row, chan_lanes(side, head, d)); });
    const f32 scale = splat(joint_scale(row, chan_scale(side, head)));
    body(KV8_LAMBDA(const f32& x, int) { return x / scale; });
}

// The greatest magnitude of x / chan, of values of which `largest` is the greatest magnitude, infinity or NaN where there is one.
// What is infinite or NaN does not count.
KV8_INLINE float greatest_quotient(const float* values, float largest, int width, const kv8_side& side, int64_t head) {
    if (shares_scale(side) && largest <= kFloatMax) {
        // A quotient rounded is the greater, the greater x is.
        const float quotient = largest / chan_scale(side, head);
        if (quotient <= kFloatMax) return quotient;
    }
    f32 most = splat(0.0f);
    with_divisor(side, head, 1.0f, [&](auto divide) {
        for (int d = 0; d < width; d += kLanes) {
            const f32 quotient = abs(divide(load<f32>(values + d), d));
            most = select(less_equal(quotient, splat(kFloatMax)), max(quotient, most), most);
        }
    });
    return reduce_max(most);
}

// The scale that makes the greatest of x / chan the greatest value that a cache holds.
KV8_INLINE float row_scale_for(float greatest_quotient, float max_cached) {
    if (greatest_quotient == 0.0f) return 1.0f;
    const float scale = greatest_quotient / max_cached;
    return scale < kFloatMin ? kFloatMin : scale;
}

}  // namespace kv8::cpu::KV8_ISA
