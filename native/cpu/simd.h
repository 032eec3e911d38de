// Sixteen lanes of float32 on every instruction set. The compiler lowers one 64-byte vector to one zmm register, two ymm,
// four NEON registers or plain code; only what vector types cannot say (16-bit floats, fused multiply-add) is written per
// instruction set. A kernel file is compiled once per set, inside namespace kv8::cpu::KV8_ISA.
//
// All head sizes are multiples of 16, so that kernels over a head have no tails.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
// GCC's header starts registers that it overwrites wholly from themselves, and warns of that wherever they are inlined.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#ifndef KV8_ISA
#error "a kernel file is compiled by the build once per instruction set, with KV8_ISA naming it"
#endif

#define KV8_INLINE inline __attribute__((always_inline))

namespace kv8::cpu::KV8_ISA {

constexpr int kLanes = 16;

typedef float f32 __attribute__((vector_size(64)));
typedef int32_t i32 __attribute__((vector_size(64)));
typedef uint32_t u32 __attribute__((vector_size(64)));
typedef uint16_t u16 __attribute__((vector_size(32)));
typedef uint8_t u8 __attribute__((vector_size(16)));

template <class Vector>
KV8_INLINE Vector load(const void* from) {
    Vector v;
    std::memcpy(&v, from, sizeof(v));
    return v;
}

template <class Vector>
KV8_INLINE void store(void* to, Vector v) {
    std::memcpy(to, &v, sizeof(v));
}

template <class To, class From>
KV8_INLINE To bits(const From& v) {
    static_assert(sizeof(To) == sizeof(From));
    To r;
    std::memcpy(&r, &v, sizeof(r));
    return r;
}

KV8_INLINE f32 splat(float x) { return f32{} + x; }
KV8_INLINE u32 splat(uint32_t x) { return u32{} + x; }

// GCC computes arithmetic and bit operations on a vector wider than the hardware's register by register, but compares,
// selects and conversions element by element. These are therefore done here on parts of a register's size: kernels call
// less(a, b) and convert<u32>(v), and never write a < b, m ? a : b or __builtin_convertvector on sixteen lanes.
#if defined(__AVX512F__)
constexpr int kParts = 1;
#elif defined(__AVX2__)
constexpr int kParts = 2;
#else
constexpr int kParts = 4;
#endif

template <class Vector>
struct Part {
    typedef std::decay_t<decltype(Vector{}[0])> type __attribute__((vector_size(sizeof(Vector) / kParts)));
};

template <class Out, class Operation, class... In>
KV8_INLINE Out by_parts(Operation operation, const In&... in) {
    Out out;
    for (int p = 0; p < kParts; p++) {
        auto r =
            operation(load<typename Part<In>::type>(reinterpret_cast<const char*>(&in) + p * sizeof(In) / kParts)...);
        static_assert(sizeof(r) == sizeof(Out) / kParts);
        std::memcpy(reinterpret_cast<char*>(&out) + p * sizeof(r), &r, sizeof(r));
    }
    return out;
}

#define KV8_LAMBDA(...) [](__VA_ARGS__) __attribute__((always_inline))

// Masks: all ones where the comparison holds, else zero. Comparisons with NaN do not hold, not_equal excepted.
KV8_INLINE i32 less(f32 a, f32 b) {
    return by_parts<i32>(
        KV8_LAMBDA(auto x, auto y) { return x < y; }, a, b);
}
KV8_INLINE i32 less_equal(f32 a, f32 b) {
    return by_parts<i32>(
        KV8_LAMBDA(auto x, auto y) { return x <= y; }, a, b);
}
KV8_INLINE i32 equal(f32 a, f32 b) {
    return by_parts<i32>(
        KV8_LAMBDA(auto x, auto y) { return x == y; }, a, b);
}
KV8_INLINE i32 not_equal(f32 a, f32 b) {
    return by_parts<i32>(
        KV8_LAMBDA(auto x, auto y) { return x != y; }, a, b);
}
KV8_INLINE i32 is_nan(f32 a) { return not_equal(a, a); }
KV8_INLINE i32 less(i32 a, i32 b) {
    return by_parts<i32>(
        KV8_LAMBDA(auto x, auto y) { return x < y; }, a, b);
}
KV8_INLINE i32 equal(i32 a, i32 b) {
    return by_parts<i32>(
        KV8_LAMBDA(auto x, auto y) { return x == y; }, a, b);
}

// Lanes of a where the mask is set, else of b.
KV8_INLINE f32 select(i32 mask, f32 a, f32 b) {
    return by_parts<f32>(
        KV8_LAMBDA(auto m, auto x, auto y) { return m ? x : y; }, mask, a, b);
}
KV8_INLINE u32 select(i32 mask, u32 a, u32 b) {
    return by_parts<u32>(
        KV8_LAMBDA(auto m, auto x, auto y) { return m ? x : y; }, mask, a, b);
}
KV8_INLINE i32 select(i32 mask, i32 a, i32 b) {
    return by_parts<i32>(
        KV8_LAMBDA(auto m, auto x, auto y) { return m ? x : y; }, mask, a, b);
}

// b where the lanes are equal or one is NaN.
KV8_INLINE f32 max(f32 a, f32 b) {
    return by_parts<f32>(
        KV8_LAMBDA(auto x, auto y) { return x > y ? x : y; }, a, b);
}
KV8_INLINE i32 min(i32 a, i32 b) {
    return by_parts<i32>(
        KV8_LAMBDA(auto x, auto y) { return x < y ? x : y; }, a, b);
}

// Lane by lane to another element type; integers are extended by their own sign and cut to the low bits.
template <class To, class From>
KV8_INLINE To convert(const From& v) {
    return by_parts<To>(
        KV8_LAMBDA(auto x) { return __builtin_convertvector(x, typename Part<To>::type); }, v);
}

KV8_INLINE f32 abs(f32 a) { return bits<f32>(bits<u32>(a) & 0x7fffffffu); }

// a * b + c, rounded once where the hardware can. Never used where bits are promised across instruction sets.
KV8_INLINE f32 fma(f32 a, f32 b, f32 c) {
#if defined(__AVX512F__)
    return (f32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    __m256 lo[3], hi[3];
    const f32* in[3] = {&a, &b, &c};
    for (int i = 0; i < 3; i++) {
        std::memcpy(&lo[i], in[i], 32);
        std::memcpy(&hi[i], reinterpret_cast<const char*>(in[i]) + 32, 32);
    }
    __m256 r[2] = {_mm256_fmadd_ps(lo[0], lo[1], lo[2]), _mm256_fmadd_ps(hi[0], hi[1], hi[2])};
    return bits<f32>(r);
#elif defined(__ARM_NEON)
    float32x4_t x[4], y[4], z[4];
    std::memcpy(x, &a, 64);
    std::memcpy(y, &b, 64);
    std::memcpy(z, &c, 64);
    for (int i = 0; i < 4; i++) z[i] = vfmaq_f32(z[i], x[i], y[i]);
    return bits<f32>(z);
#else
    return a * b + c;
#endif
}

// Sum and maximum of the lanes, in a fixed tree order.
KV8_INLINE float reduce_add(f32 v) {
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++) v[i] = v[i] + v[i + width];
    return v[0];
}

KV8_INLINE float reduce_max(f32 v) {
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++) v[i] = v[i] > v[i + width] ? v[i] : v[i + width];
    return v[0];
}

// The low byte of each lane, whose other bits are zero.
KV8_INLINE u8 to_bytes(u32 v) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    __m256i part[2];
    std::memcpy(part, &v, 64);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(part[0], part[1]), 0b11011000);
    return bits<u8>(_mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
#else
    return convert<u8>(v);
#endif
}

// float16 to float32, exact; NaN stays NaN.
KV8_INLINE f32 from_f16(u16 h) {
#if defined(__AVX512F__)
    return (f32)_mm512_cvtph_ps(bits<__m256i>(h));
#elif defined(__AVX2__)
    __m128i half[2];
    std::memcpy(half, &h, 32);
    __m256 r[2] = {_mm256_cvtph_ps(half[0]), _mm256_cvtph_ps(half[1])};
    return bits<f32>(r);
#elif defined(__ARM_NEON)
    float16x4_t half[4];
    std::memcpy(half, &h, 32);
    float32x4_t r[4];
    for (int i = 0; i < 4; i++) r[i] = vcvt_f32_f16(half[i]);
    return bits<f32>(r);
#else
    u32 w = convert<u32>(h);
    u32 magnitude = (w & 0x7fffu) << 13;
    // The exponent's bias grows by 112; a product does so for subnormals as well.
    u32 finite = bits<u32>(bits<f32>(magnitude) * 0x1p112f);
    u32 special = magnitude | 0x7f800000u;
    return bits<f32>(select(less(bits<i32>(splat(0x0f7fffffu)), bits<i32>(magnitude)), special, finite) | (w & 0x8000u)
                                                                                                              << 16);
#endif
}

// bfloat16 to float32, exact.
KV8_INLINE f32 from_bf16(u16 h) { return bits<f32>(convert<u32>(h) << 16); }

// float32 to float16: one rounding to nearest even, overflow to infinity, NaN to 0x7E00.
KV8_INLINE u16 to_f16(f32 x) {
#if defined(__AVX512F__)
    u16 r = bits<u16>(_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__AVX2__)
    __m256 part[2];
    std::memcpy(part, &x, 64);
    __m128i half[2] = {_mm256_cvtps_ph(part[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                       _mm256_cvtps_ph(part[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
    u16 r = bits<u16>(half);
#elif defined(__ARM_NEON)
    float32x4_t part[4];
    std::memcpy(part, &x, 64);
    float16x4_t half[4];
    for (int i = 0; i < 4; i++) half[i] = vcvt_f16_f32(part[i]);
    u16 r = bits<u16>(half);
#else
    u32 w = bits<u32>(x);
    // From 65536 on everything is infinity; below, rounding carries into the exponent, up to infinity's.
    i32 a = min(bits<i32>(w & 0x7fffffffu), i32{} + (143 << 23));
    u32 m = bits<u32>(a);
    u32 normal = (m + 0xfffu + ((m >> 13) & 1u) - (112u << 23)) >> 13;
    // Below 2^-14 a float16 is a multiple of 2^-24; adding 0.5 rounds to that unit.
    u32 subnormal = bits<u32>(bits<f32>(m) + 0.5f) - bits<u32>(splat(0.5f));
    u16 r = convert<u16>(select(less(a, i32{} + (113 << 23)), subnormal, normal) | (w >> 16 & 0x8000u));
#endif
    u16 nan = convert<u16>(is_nan(x));
    return (r & ~nan) | (nan & 0x7e00);
}

// float32 to bfloat16: one rounding to nearest even, overflow to infinity, NaN to 0x7FC0.
KV8_INLINE u16 to_bf16(f32 x) {
    u32 w = bits<u32>(x);
    u32 rounded = (w + 0x7fffu + ((w >> 16) & 1u)) >> 16;
    return convert<u16>(select(is_nan(x), splat(0x7fc0u), rounded));
}

}  // namespace kv8::cpu::KV8_ISA
