// What a row's values are divided by on their way into a cache: the scales by which its codes are multiplied.
#pragma once

#include "cpu/cache_rows.h"

namespace kv8::cpu::KV8_ISA {

constexpr float kFloatMin = 0x1p-126f, kFloatMax = 0x1.fffffep127f;

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
