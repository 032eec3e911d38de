// One hardware register of float32. simd.h's sixteen lanes suit work from memory to memory, but on narrower instruction
// sets they live in memory; loops that keep many sums in registers use these.
#pragma once

#include "cpu/simd.h"

namespace kv8::cpu::KV8_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

// How many sums a loop may keep in registers, beside its operands.
#if defined(__AVX512F__) || defined(KV8_NEON)
constexpr int kSums = 16;
#else
constexpr int kSums = 8;
#endif

typedef float rf __attribute__((vector_size(kWidth * 4)));
typedef int32_t ri __attribute__((vector_size(kWidth * 4)));

KV8_INLINE rf all(float x) {
#if defined(__AVX512F__)
    return (rf)_mm512_set1_ps(x);
#elif defined(__AVX2__)
    return (rf)_mm256_set1_ps(x);
#else
    return rf{x, x, x, x};
#endif
}

// The same value, which the compiler must keep in a register: else it loads a common operand again for each product.
KV8_INLINE rf kept(rf v) {
#if defined(__AVX512F__)
    asm("" : "+v"(v));
#elif defined(__AVX2__)
    asm("" : "+x"(v));
#elif defined(KV8_NEON)
    asm("" : "+w"(v));
#endif
    return v;
}

KV8_INLINE rf fused(rf a, rf b, rf c) {
#if defined(__AVX512F__)
    return (rf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (rf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(KV8_NEON)
    return (rf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

// 0, 1, 2, ...
KV8_INLINE rf lane_numbers() {
    rf r;
    for (int i = 0; i < kWidth; i++) r[i] = float(i);
    return r;
}

KV8_INLINE float sum_of(rf v) {
    return join_lanes<float>(
        v, KV8_LAMBDA(auto a, auto b) { return a + b; });
}

// The largest lane; a NaN in any lane may or may not win.
KV8_INLINE float largest_of(rf v) {
    return join_lanes<float>(
        v, KV8_LAMBDA(auto a, auto b) { return a > b ? a : b; });
}

// sums[i] = the sum of v[i]'s lanes, for `Count` registers: each step adds two halves of two registers. Every sum is formed in
// the same order, whichever i it has.
template <int Count>
KV8_INLINE void sums_of(const rf* v, float* sums) {
#if defined(__AVX512F__)
    static_assert(Count == 16);
    __m512 quarter[4];
    for (int j = 0; j < 4; j++) {
        const __m512 a = (__m512)v[j], b = (__m512)v[4 + j], c = (__m512)v[8 + j], d = (__m512)v[12 + j];
        const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
        const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
        quarter[j] = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
    }
    const __m512 x =
        _mm512_add_ps(_mm512_unpacklo_ps(quarter[0], quarter[1]), _mm512_unpackhi_ps(quarter[0], quarter[1]));
    const __m512 y =
        _mm512_add_ps(_mm512_unpacklo_ps(quarter[2], quarter[3]), _mm512_unpackhi_ps(quarter[2], quarter[3]));
    _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_shuffle_ps(x, y, 0x44), _mm512_shuffle_ps(x, y, 0xEE)));
#elif defined(__AVX2__)
    for (int i = 0; i < Count; i += 4) {
        const __m256 a = (__m256)v[i], b = (__m256)v[i + 1], c = (__m256)v[i + 2], d = (__m256)v[i + 3];
        const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        const __m256 x = _mm256_add_ps(_mm256_blend_ps(ab, cd, 0xCC), _mm256_shuffle_ps(ab, cd, 0x4E));
        _mm_storeu_ps(sums + i, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
    }
#else
    for (int j = 0; j < Count; j += 4) {
        const rf x =
            __builtin_shufflevector(v[j], v[j + 1], 0, 4, 1, 5) + __builtin_shufflevector(v[j], v[j + 1], 2, 6, 3, 7);
        const rf y = __builtin_shufflevector(v[j + 2], v[j + 3], 0, 4, 1, 5) +
                     __builtin_shufflevector(v[j + 2], v[j + 3], 2, 6, 3, 7);
        store(sums + j, __builtin_shufflevector(x, y, 0, 1, 4, 5) + __builtin_shufflevector(x, y, 2, 3, 6, 7));
    }
#endif
}

}  // namespace kv8::cpu::KV8_ISA
