// Sixteen lanes on every instruction set: one zmm register of float32, two ymm, or four of NEON and SSE. A kernel file is
// compiled once per set, inside namespace kv8::cpu::KV8_ISA.
//
// The lanes are kept as an array of hardware registers. A single 64-byte vector type would be shorter, but GCC keeps one that
// is wider than the hardware in memory, and computes comparisons, selects and conversions of it element by element.
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
#elif defined(__ARM_NEON) && !defined(KV8_SCALAR)  // every AArch64 has NEON; the plain kernels do without
#define KV8_NEON 1
#include <arm_neon.h>
#endif

#ifndef KV8_ISA
#error "a kernel file is compiled by the build once per instruction set, with KV8_ISA naming it"
#endif

#define KV8_INLINE inline __attribute__((always_inline))
#define KV8_LAMBDA(...) [&](__VA_ARGS__) __attribute__((always_inline))
// Before a loop. Those from memory into an array of registers and back need it: else GCC makes a copy of them and keeps the array in
// memory. Elsewhere it saves what a short body spends on the loop itself.
#define KV8_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define KV8_UNROLL(times) KV8_PRAGMA(unroll(times))
#else
#define KV8_UNROLL(times) KV8_PRAGMA(GCC unroll times)
#endif

namespace kv8::cpu::KV8_ISA {

constexpr int kLanes = 16;

#if defined(__AVX512F__)
constexpr int kParts = 1;
#elif defined(__AVX2__)
constexpr int kParts = 2;
#else
constexpr int kParts = 4;
#endif

template <class T>
struct Lanes {
    typedef T Part __attribute__((vector_size(sizeof(T) * kLanes / kParts)));
    Part part[kParts];

    T operator[](int lane) const { return part[lane / (kLanes / kParts)][lane % (kLanes / kParts)]; }
};

using f32 = Lanes<float>;
using i32 = Lanes<int32_t>;
using u32 = Lanes<uint32_t>;
using u16 = Lanes<uint16_t>;
using u8 = Lanes<uint8_t>;

// Lanes from part(0), part(1), ... Written out, because GCC replaces arrays by registers before it unrolls loops.
template <class T, class MakePart>
KV8_INLINE Lanes<T> each_part(const MakePart& part) {
    if constexpr (kParts == 1)
        return {{part(0)}};
    else if constexpr (kParts == 2)
        return {{part(0), part(1)}};
    else
        return {{part(0), part(1), part(2), part(3)}};
}

// Applies an operation on parts to all parts.
template <class Out, class Operation, class... In>
KV8_INLINE Lanes<Out> by_parts(const Operation& operation, const Lanes<In>&... in) {
    return each_part<Out>(KV8_LAMBDA(int p) { return operation(in.part[p]...); });
}

#define KV8_LANE_OPERATOR(op)                                               \
    template <class T>                                                      \
    KV8_INLINE Lanes<T> operator op(const Lanes<T>& a, const Lanes<T>& b) { \
        return by_parts<T>(                                                 \
            KV8_LAMBDA(auto x, auto y) { return x op y; }, a, b);           \
    }                                                                       \
    template <class T, class Scalar>                                        \
    KV8_INLINE Lanes<T> operator op(const Lanes<T>& a, Scalar b) {          \
        return by_parts<T>(                                                 \
            KV8_LAMBDA(auto x) { return x op T(b); }, a);                   \
    }                                                                       \
    template <class T>                                                      \
    KV8_INLINE Lanes<T>& operator op##=(Lanes<T>& a, const Lanes<T>& b) {   \
        return a = a op b;                                                  \
    }
KV8_LANE_OPERATOR(+)
KV8_LANE_OPERATOR(-)
KV8_LANE_OPERATOR(*)
KV8_LANE_OPERATOR(/)
KV8_LANE_OPERATOR(&)
KV8_LANE_OPERATOR(|)
KV8_LANE_OPERATOR(<<)
KV8_LANE_OPERATOR(>>)
#undef KV8_LANE_OPERATOR

template <class V>
struct LaneType {
    using type = void;
};
template <class T>
struct LaneType<Lanes<T>> {
    using type = T;
};

// Any type by its bytes, at any address.
template <class V>
KV8_INLINE V load(const void* from) {
    using T = typename LaneType<V>::type;
    if constexpr (std::is_void_v<T>) {
        V v;
        std::memcpy(&v, from, sizeof(v));
        return v;
    } else {
        using Part = typename V::Part;
        return each_part<T>(
            KV8_LAMBDA(int p) { return load<Part>(static_cast<const char*>(from) + p * sizeof(Part)); });
    }
}

template <class V>
KV8_INLINE void store(void* to, const V& v) {
    std::memcpy(to, &v, sizeof(v));
}
template <class T>
KV8_INLINE void store(void* to, const Lanes<T>& v) {
    auto* at = static_cast<char*>(to);
    constexpr int kBytes = sizeof(v.part[0]);
    store(at, v.part[0]);
    if constexpr (kParts >= 2) store(at + kBytes, v.part[1]);
    if constexpr (kParts == 4) {
        store(at + 2 * kBytes, v.part[2]);
        store(at + 3 * kBytes, v.part[3]);
    }
}

template <class To, class From>
KV8_INLINE To bits(const From& v) {
    static_assert(sizeof(To) == sizeof(From));
    using T = typename LaneType<To>::type;
    if constexpr (std::is_void_v<T>) {
        To r;
        std::memcpy(&r, &v, sizeof(r));
        return r;
    } else {
        return each_part<T>(KV8_LAMBDA(int p) { return (typename To::Part)v.part[p]; });
    }
}

template <class T>
KV8_INLINE Lanes<T> splat_lanes(T x) {
    return each_part<T>(KV8_LAMBDA(int) { return typename Lanes<T>::Part{} + x; });
}
KV8_INLINE f32 splat(float x) { return splat_lanes(x); }
KV8_INLINE i32 splat(int32_t x) { return splat_lanes(x); }
KV8_INLINE u32 splat(uint32_t x) { return splat_lanes(x); }

// Masks: all ones where the comparison holds, else zero. Comparisons with NaN do not hold.
template <class T>
KV8_INLINE i32 less(const Lanes<T>& a, const Lanes<T>& b) {
    return by_parts<int32_t>(
        KV8_LAMBDA(auto x, auto y) { return x < y; }, a, b);
}
template <class T>
KV8_INLINE i32 less_equal(const Lanes<T>& a, const Lanes<T>& b) {
    return by_parts<int32_t>(
        KV8_LAMBDA(auto x, auto y) { return x <= y; }, a, b);
}
template <class T>
KV8_INLINE i32 equal(const Lanes<T>& a, const Lanes<T>& b) {
    return by_parts<int32_t>(
        KV8_LAMBDA(auto x, auto y) { return x == y; }, a, b);
}
KV8_INLINE i32 is_nan(const f32& a) {
    return by_parts<int32_t>(
        KV8_LAMBDA(auto x) { return x != x; }, a);
}

// Whether a mask is set in any lane.
KV8_INLINE bool any(const i32& mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask.part[0], (__m512i)mask.part[0]) != 0;
#elif defined(__AVX2__)
    const __m256i either = (__m256i)(mask.part[0] | mask.part[1]);
    return !_mm256_testz_si256(either, either);
#else
    const i32::Part either = (mask.part[0] | mask.part[1]) | (mask.part[2] | mask.part[3]);
    return (either[0] | either[1] | either[2] | either[3]) != 0;
#endif
}

// Lanes of a where the mask is set, else of b.
template <class T>
KV8_INLINE Lanes<T> select(const i32& mask, const Lanes<T>& a, const Lanes<T>& b) {
    return by_parts<T>(
        KV8_LAMBDA(auto m, auto x, auto y) { return m ? x : y; }, mask, a, b);
}

// The second where the lanes are equal or one is NaN.
template <class T>
KV8_INLINE Lanes<T> max(const Lanes<T>& a, const Lanes<T>& b) {
    return by_parts<T>(
        KV8_LAMBDA(auto x, auto y) { return x > y ? x : y; }, a, b);
}
template <class T>
KV8_INLINE Lanes<T> min(const Lanes<T>& a, const Lanes<T>& b) {
    return by_parts<T>(
        KV8_LAMBDA(auto x, auto y) { return x < y ? x : y; }, a, b);
}

KV8_INLINE f32 abs(const f32& a) { return bits<f32>(bits<u32>(a) & 0x7fffffffu); }

// Lane by lane to another element type; integers are extended by their own sign and cut to the low bits.
template <class To, class From>
KV8_INLINE Lanes<To> convert(const Lanes<From>& v) {
    return by_parts<To>(
        KV8_LAMBDA(auto x) { return __builtin_convertvector(x, typename Lanes<To>::Part); }, v);
}

// Sixteen codes or words of lanes whose other bits are zero, stored. GCC finds the packs for itself where one instruction does
// all lanes, and not with AVX2.
KV8_INLINE void store_bytes(void* to, const u32& v) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    const __m256i words = _mm256_packus_epi32((__m256i)v.part[0], (__m256i)v.part[1]);  // 0-3, 8-11, 4-7, 12-15
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xD8);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    store(to, bytes);
#else
    store(to, convert<uint8_t>(v));
#endif
}
KV8_INLINE void store_words(void* to, const u32& v) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    const __m256i words = _mm256_packus_epi32((__m256i)v.part[0], (__m256i)v.part[1]);
    store(to, _mm256_permute4x64_epi64(words, 0xD8));
#else
    store(to, convert<uint16_t>(v));
#endif
}

// Whether fma, and registers.h's fused, round once.
#if defined(__AVX2__) || defined(KV8_NEON)
constexpr bool kFuses = true;
#else
constexpr bool kFuses = false;
#endif

// a * b + c, rounded once where the hardware can, else twice. Where bits are promised across instruction sets it is used only
// if kFuses, and where one rounding gives the very bits that other sets get in another way.
KV8_INLINE f32 fma(const f32& a, const f32& b, const f32& c) {
    return by_parts<float>(
        KV8_LAMBDA(auto x, auto y, auto z) {
#if defined(__AVX512F__)
            return (f32::Part)_mm512_fmadd_ps((__m512)x, (__m512)y, (__m512)z);
#elif defined(__AVX2__)
            return (f32::Part)_mm256_fmadd_ps((__m256)x, (__m256)y, (__m256)z);
#elif defined(KV8_NEON)
            return (f32::Part)vfmaq_f32((float32x4_t)z, (float32x4_t)x, (float32x4_t)y);
#else
            return x * y + z;
#endif
        },
        a, b, c);
}

// The lanes of one hardware register, of T, joined halves first.
template <class T, class Vector, class Operation>
KV8_INLINE T join_lanes(Vector v, const Operation& join) {
    if constexpr (sizeof(v) > 16) {
        typedef T Half __attribute__((vector_size(sizeof(v) / 2)));
        Half half[2];
        std::memcpy(half, &v, sizeof(v));
        return join_lanes<T>(join(half[0], half[1]), join);
    } else {
        const Vector pairs = join(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
        return join(pairs, __builtin_shufflevector(pairs, pairs, 1, 0, 3, 2))[0];
    }
}

// Joins lane i with lane i + 8, then i + 4, i + 2, i + 1: one order on every instruction set.
template <class T, class Operation>
KV8_INLINE T reduce(const Lanes<T>& v, const Operation& join) {
    auto x = v.part[0];
    if constexpr (kParts == 2) x = join(x, v.part[1]);
    if constexpr (kParts == 4) x = join(join(x, v.part[2]), join(v.part[1], v.part[3]));
    return join_lanes<T>(x, join);
}
KV8_INLINE float reduce_add(const f32& v) {
    return reduce(
        v, KV8_LAMBDA(auto x, auto y) { return x + y; });
}
template <class T>
KV8_INLINE T reduce_max(const Lanes<T>& v) {
    return reduce(
        v, KV8_LAMBDA(auto x, auto y) { return x > y ? x : y; });
}

// float16 to float32, exact; NaN stays NaN.
KV8_INLINE f32 from_f16(const u16& h) {
#if defined(__AVX512F__) || defined(__AVX2__) || defined(KV8_NEON)
    return by_parts<float>(
        KV8_LAMBDA(auto x) {
#if defined(__AVX512F__)
            return (f32::Part)_mm512_cvtph_ps((__m256i)x);
#elif defined(__AVX2__)
            return (f32::Part)_mm256_cvtph_ps((__m128i)x);
#else
            return (f32::Part)vcvt_f32_f16((float16x4_t)x);
#endif
        },
        h);
#else
    const u32 w = convert<uint32_t>(h);
    const u32 magnitude = (w & 0x7fffu) << 13;
    // The exponent's bias grows by 112; a product does so for subnormals as well.
    const u32 finite = bits<u32>(bits<f32>(magnitude) * 0x1p112f);
    const i32 is_special = less(splat(0x0f7fffff), bits<i32>(magnitude));
    return bits<f32>(select(is_special, magnitude | 0x7f800000u, finite) | (w & 0x8000u) << 16);
#endif
}

// bfloat16 to float32, exact.
KV8_INLINE f32 from_bf16(const u16& h) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    return by_parts<float>(
        KV8_LAMBDA(auto x) { return (f32::Part)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)x), 16); }, h);
#else
    return bits<f32>(convert<uint32_t>(h) << 16);
#endif
}

// float32 to float16: one rounding to nearest even, overflow to infinity, NaN to 0x7E00.
KV8_INLINE u16 to_f16(const f32& x) {
#if defined(__AVX512F__) || defined(__AVX2__) || defined(KV8_NEON)
    const u16 r = by_parts<uint16_t>(
        KV8_LAMBDA(auto part) {
#if defined(__AVX512F__)
            return (u16::Part)_mm512_cvtps_ph((__m512)part, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
            return (u16::Part)_mm256_cvtps_ph((__m256)part, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
            return (u16::Part)vcvt_f16_f32((float32x4_t)part);
#endif
        },
        x);
#else
    const u32 w = bits<u32>(x);
    // From 65536 on everything is infinity; below, rounding carries into the exponent, up to infinity's.
    const i32 a = min(bits<i32>(w & 0x7fffffffu), splat(143 << 23));
    const u32 m = bits<u32>(a);
    const u32 normal = (m + 0xfffu + ((m >> 13) & 1u) - (112u << 23)) >> 13;
    // Below 2^-14 a float16 is a multiple of 2^-24; adding 0.5 rounds to that unit.
    const u32 subnormal = bits<u32>(bits<f32>(m) + 0.5f) - bits<u32>(splat(0.5f));
    const u16 r = convert<uint16_t>(select(less(a, splat(113 << 23)), subnormal, normal) | (w >> 16 & 0x8000u));
#endif
    if (!any(is_nan(x))) return r;
    const u16 nan = convert<uint16_t>(is_nan(x));
    return by_parts<uint16_t>(
        KV8_LAMBDA(auto h, auto mask) { return (h & ~mask) | (mask & 0x7e00); }, r, nan);
}

// float32 to bfloat16 in the low bits: one rounding to nearest even, overflow to infinity, NaN to 0x7FC0.
KV8_INLINE u32 to_bf16(const f32& x) {
    const u32 w = bits<u32>(x);
    const u32 rounded = (w + 0x7fffu + ((w >> 16) & 1u)) >> 16;
    return select(is_nan(x), splat(0x7fc0u), rounded);
}

}  // namespace kv8::cpu::KV8_ISA
