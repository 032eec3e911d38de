// Rotary embedding of one row in float32. Each product and sum is rounded by itself (the build forbids contraction), so that
// the bits are the same on every instruction set.
#pragma once

#include "cpu/simd.h"
#include "kv8/kv8.h"

namespace kv8::cpu::KV8_ISA {

// One of a pair, (x, y), turned, and the other.
KV8_INLINE f32 turned_first(const f32& x, const f32& y, const f32& cosine, const f32& sine) {
    return x * cosine - y * sine;
}
KV8_INLINE f32 turned_second(const f32& x, const f32& y, const f32& cosine, const f32& sine) {
    return y * cosine + x * sine;
}

// row: [head_size]; table_row: a position's rotary_size / 2 cosines, then as many sines, at any address.
KV8_INLINE void rotate(float* row, const uint8_t* table_row, int rotary_size, int style) {
    const int pairs = rotary_size / 2;
    if (style == KV8_ROPE_HALF) {
        int i = 0;
        for (; i + kLanes <= pairs; i += kLanes) {
            const f32 x = load<f32>(row + i), y = load<f32>(row + pairs + i);
            const f32 cosine = load<f32>(table_row + 4 * i), sine = load<f32>(table_row + 4 * (pairs + i));
            store(row + i, turned_first(x, y, cosine, sine));
            store(row + pairs + i, turned_second(x, y, cosine, sine));
        }
        for (; i < pairs; i++) {
            const float x = row[i], y = row[pairs + i];
            const float cosine = load<float>(table_row + 4 * i), sine = load<float>(table_row + 4 * (pairs + i));
            row[i] = x * cosine - y * sine;
            row[pairs + i] = y * cosine + x * sine;
        }
    } else {
        for (int i = 0; i < pairs; i++) {
            const float x = row[2 * i], y = row[2 * i + 1];
            const float cosine = load<float>(table_row + 4 * i), sine = load<float>(table_row + 4 * (pairs + i));
            row[2 * i] = x * cosine - y * sine;
            row[2 * i + 1] = y * cosine + x * sine;
        }
    }
}

}  // namespace kv8::cpu::KV8_ISA
