// What kv8_write, kv8_gather and kv8_move_blocks have to make of a row: the header's formulas, element by element, in exact
// arithmetic.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "test_cache.h"

namespace kv8_test {

namespace model {

inline exact::Number number(float x) { return exact::decode(exact::format_of(KV8_F32), bits_of(x)); }
inline float rounded(const exact::Number& x) { return float_of(exact::encode(exact::format_of(KV8_F32), x)); }

inline uint8_t* row_at(const kv8_cache_view& view, const kv8_side& side, int64_t slot, int head) {
    return reinterpret_cast<uint8_t*>(view.memory.ptr) + slot / view.block_size * view.block_stride + side.offset +
           head * side.head_stride + slot % view.block_size * side.slot_stride;
}

inline uint8_t* row_scale_at(const kv8_cache_view& view, const kv8_side& side, int64_t slot, int head) {
    return reinterpret_cast<uint8_t*>(view.memory.ptr) + slot / view.block_size * view.block_stride +
           side.row_scale_offset + head * side.row_scale_head_stride + slot % view.block_size * 4;
}

// fl(row * chan), kept within [FLT_MIN, FLT_MAX].
inline float joint_scale(float row, float chan) {
    const float product = rounded(exact::multiply(number(row), number(chan)));
    return product < 0x1p-126f ? 0x1p-126f : std::isinf(product) ? 0x1.fffffep127f : product;
}

// The greatest code in a cache: OCP's, also of FNUZ, where the same code is half of it.
inline uint32_t greatest_code(kv8_dtype dtype) {
    return exact::format_of(dtype == KV8_E4M3FNUZ ? KV8_E4M3FN : dtype == KV8_E5M2FNUZ ? KV8_E5M2 : dtype).max();
}

inline float code_value(kv8_dtype dtype, uint32_t code) {
    return rounded(exact::decode(exact::format_of(dtype), code));
}

// Whether a float32 quotient lies beyond the greatest value by more than half the distance to the one before it.
inline bool saturates(kv8_dtype dtype, float quotient) {
    const float most = code_value(dtype, greatest_code(dtype)), before = code_value(dtype, greatest_code(dtype) - 1);
    return std::fabs(quotient) > most + (most - before) / 2;
}

// row: float32 values. Returns how many of them saturate.
inline uint64_t put_row(const kv8_cache_view& view, const kv8_side& side, int64_t slot, int head,
                        const std::vector<float>& row) {
    uint8_t* to = row_at(view, side, slot, head);
    uint64_t saturated = 0;
    float scale = 1.0f;
    const bool has_row_scale = side.row_scale_offset >= 0;
    if (has_row_scale) {
        float most = 0;
        for (int d = 0; d < view.head_size; d++) {
            const float quotient =
                std::fabs(rounded(exact::divide(number(row[d]), number(TestCache::chan(side, head, d)))));
            if (std::isfinite(quotient)) most = std::max(most, quotient);
        }
        if (most > 0)
            scale = std::max(
                rounded(exact::divide(number(most), number(code_value(side.dtype, greatest_code(side.dtype))))),
                0x1p-126f);
        store_bits(KV8_F32, row_scale_at(view, side, slot, head), bits_of(scale));
    }
    for (int d = 0; d < view.head_size; d++) {
        const float chan = TestCache::chan(side, head, d);
        const float divisor = has_row_scale ? joint_scale(scale, chan) : chan;
        uint32_t code = is_fp8(side.dtype) ? exact::quantize(KV8_F32, side.dtype, bits_of(row[d]), bits_of(divisor))
                                           : exact::convert(KV8_F32, side.dtype, bits_of(row[d]));
        if (is_fp8(side.dtype) && !std::isnan(row[d]) && (code & 0x7F) > greatest_code(side.dtype))
            code = (code & 0x80) | greatest_code(side.dtype);
        if (is_fp8(side.dtype) && !std::isnan(row[d]))
            saturated +=
                std::isinf(row[d]) || saturates(side.dtype, rounded(exact::divide(number(row[d]), number(divisor))));
        store_bits(side.dtype, to + d * bytes_of(side.dtype), code);
    }
    return saturated;
}

inline std::vector<float> get_row(const kv8_cache_view& view, const kv8_side& side, int64_t slot, int head) {
    const uint8_t* from = row_at(view, side, slot, head);
    std::vector<float> row(static_cast<size_t>(view.head_size));
    for (int d = 0; d < view.head_size; d++) {
        const uint32_t code = load_bits(side.dtype, from + d * bytes_of(side.dtype));
        float scale = TestCache::chan(side, head, d);
        if (side.row_scale_offset >= 0)
            scale = joint_scale(float_of(load_bits(KV8_F32, row_scale_at(view, side, slot, head))), scale);
        row[d] = float_of(is_fp8(side.dtype) ? exact::dequantize(side.dtype, KV8_F32, code, bits_of(scale))
                                             : exact::convert(side.dtype, KV8_F32, code));
    }
    return row;
}

}  // namespace model

}  // namespace kv8_test
