// K or V of a cache on the device: where a row lies, and how its values become codes and back. Rows of a cache are
// aligned, so a thread moves its chunk whole.
#pragma once

#include "gpu/channel_scales.h"
#include "gpu/elements.h"

namespace kv8::gpu {

// A row of a cache, the thread's chunk of it from element `first`.
struct CachePlace {
    int64_t block;
    int64_t slot;  // of the block
    int64_t head;
    int first;
};

KV8_DEVICE bool has_row_scales(const kv8_side& side) { return side.row_scale_offset >= 0; }

KV8_DEVICE uint8_t* cache_chunk(const kv8_cache_view& view, const kv8_side& side, const CachePlace& at) {
    return address_of(view.memory) + at.block * view.block_stride + side.offset + at.head * side.head_stride +
           at.slot * side.slot_stride + at.first * element_bytes(side.dtype);
}

KV8_DEVICE uint8_t* row_scale(const kv8_cache_view& view, const kv8_side& side, const CachePlace& at) {
    return address_of(view.memory) + at.block * view.block_stride + side.row_scale_offset +
           at.head * side.row_scale_head_stride + at.slot * 4;
}

// ---- static scales

// Whether the channels of a head share one.
KV8_DEVICE bool shares_scale(const kv8_side& side) { return side.chan.ptr == 0 || side.chan_dim_stride == 0; }

// Of the chunk's elements; an illegal one is reported, and used.
KV8_DEVICE Chunk chan_of(const kv8_side& side, int64_t head, int first, Fault* fault) {
    if (side.chan.ptr == 0) return chunk_of(1.0f);
    if (side.chan_dim_stride == 0) {
        const float scale = chan_at(side, head, 0);
        check_scale(side, scale, head, 0, fault);
        return chunk_of(scale);
    }
    Chunk c;
    if (side.chan_dim_stride == 1) {
        c = load_some<Float32>(address_of(side.chan) + 4 * (head * side.chan_head_stride + first), kChunk);
    } else {
#pragma unroll
        for (int i = 0; i < kChunk; i++) c.x[i] = chan_at(side, head, first + i);
    }
    bool legal = true;
#pragma unroll
    for (int i = 0; i < kChunk; i++) legal &= fp8::is_scale(c.x[i]);
    if (legal) return c;
#pragma unroll
    for (int i = 0; i < kChunk; i++) check_scale(side, c.x[i], head, first + i, fault);
    return c;
}

// row * chan, kept normal and finite: then a zero divided by it stays zero, and a zero code times it too.
KV8_DEVICE float joint_scale(float row, float chan) {
    const float product = row * chan;
    return product < kFloatMin ? kFloatMin : product > kFloatMax ? kFloatMax : product;
}

KV8_DEVICE float max_cached(kv8_dtype dtype) {
    if (dtype == KV8_E4M3FN) return fp8::E4M3FN::max_cached;
    if (dtype == KV8_E4M3FNUZ) return fp8::E4M3FNUZ::max_cached;
    return dtype == KV8_E5M2 ? fp8::E5M2::max_cached : fp8::E5M2FNUZ::max_cached;
}

KV8_DEVICE float saturates_above(kv8_dtype dtype) {
    if (dtype == KV8_E4M3FN) return fp8::E4M3FN::saturates_above;
    if (dtype == KV8_E4M3FNUZ) return fp8::E4M3FNUZ::saturates_above;
    return dtype == KV8_E5M2 ? fp8::E5M2::saturates_above : fp8::E5M2FNUZ::saturates_above;
}

// ---- rows in and out. All threads of a row, and of the warp, divide it together; `valid` is false beyond the row's
// end, or where there is no row, and nothing is touched then.

// The scale that makes the greatest of x / chan the greatest value that a cache holds.
KV8_DEVICE float row_scale_of(const Chunk& c, const Chunk& chan, bool valid, float most_cached, int threads) {
    float most = 0.0f;
    if (valid) {
#pragma unroll
        for (int i = 0; i < kChunk; i++) {
            const float quotient = magnitude_of(divide(c.x[i], chan.x[i]));
            if (quotient <= kFloatMax) most = maximum(most, quotient);
        }
    }
    most = maximum_of_row(most, threads);
    if (most == 0.0f) return 1.0f;
    const float scale = divide(most, most_cached);
    return scale < kFloatMin ? kFloatMin : scale;
}

// A row of an FP8 cache divided by its scales, of which its own is stored, if the side keeps one.
KV8_DEVICE void divide_row(Chunk& c, const kv8_cache_view& view, const kv8_side& side, const CachePlace& at, bool valid,
                           int threads, Fault* fault) {
    Chunk scale = valid ? chan_of(side, at.head, at.first, fault) : chunk_of(1.0f);
    if (has_row_scales(side)) {
        const float row = row_scale_of(c, scale, valid, max_cached(side.dtype), threads);
        if (valid && at.first == 0) store(row_scale(view, side, at), row);
#pragma unroll
        for (int i = 0; i < kChunk; i++) scale.x[i] = joint_scale(row, scale.x[i]);
    }
    if (shares_scale(side)) return Quotients(scale.x[0]).replace(c);
#pragma unroll
    for (int i = 0; i < kChunk; i++) c.x[i] = divide(c.x[i], scale.x[i]);
}

KV8_DEVICE uint32_t count_saturated(const Chunk& c, kv8_dtype dtype) {
    const float limit = saturates_above(dtype);
    uint32_t saturated = 0;
#pragma unroll
    for (int i = 0; i < kChunk; i++) saturated += magnitude_of(c.x[i]) > limit ? 1u : 0u;
    return saturated;
}

// Stores a row that has been divided, where the thread has a part of it.
KV8_DEVICE void store_row(Chunk c, kv8_dtype dtype, uint8_t* to, bool valid) {
    if (dtype == KV8_E4M3FNUZ || dtype == KV8_E5M2FNUZ) {  // the others' codes end where a cache's do
        const float most = max_cached(dtype);
#pragma unroll
        for (int i = 0; i < kChunk; i++)
            c.x[i] = c.x[i] > most ? most : c.x[i] < -most ? -most : c.x[i];  // leaves NaN alone
    }
    if (valid) store_cached(dtype, to, c);
}

// The values of a cached row.
KV8_DEVICE Chunk get_row(const kv8_cache_view& view, const kv8_side& side, const CachePlace& at, Fault* fault) {
    Chunk c = load_cached(side.dtype, cache_chunk(view, side, at));
    if (side.dtype < KV8_E4M3FN) return c;
    Chunk scale = chan_of(side, at.head, at.first, fault);
    if (has_row_scales(side)) {
        const float row = load<float>(row_scale(view, side, at));
#pragma unroll
        for (int i = 0; i < kChunk; i++) scale.x[i] = joint_scale(row, scale.x[i]);
    }
#pragma unroll
    for (int i = 0; i < kChunk; i++) c.x[i] *= scale.x[i];
    return c;
}

}  // namespace kv8::gpu
