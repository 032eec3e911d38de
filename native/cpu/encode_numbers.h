// Codes of ordinary numbers, bit for bit those of encode(x / scale) in less than half of its instructions. What is not ordinary
// (infinite, NaN, out of the format's range) is noticed and left to the caller.
#pragma once

#include "cpu/row_io.h"

namespace kv8::cpu::KV8_ISA {

// Division by a scale by products.
//
// All that a code tells of a quotient is where it lies among the boundaries between two codes, or that it lies on one. A
// boundary has five significant bits at most. The product with a reciprocal of 48 bits, rounded once, is what the quotient rounded
// once is, unless that lies within 2^-46 of itself of the middle between two float32; beside a boundary there are such quotients
// for a few scales only, each with one significand of x, and cast_test goes through them all.
class Reciprocal {
  public:
    Reciprocal() = default;  // of one
    explicit Reciprocal(float scale) : scale_(scale) {
        const double whole = 1 / double(scale);
        high_ = float(whole);
        low_ = float(whole - high_);
    }

    float scale() const { return scale_; }

    // Elsewhere a part might be subnormal, or its product with a value that has a code.
    bool is_exact() const { return scale_ >= 0x1p-60f && scale_ <= 0x1p60f; }

    // x / scale; NaN for infinity.
    KV8_INLINE f32 times(const f32& x) const { return fma(x, splat(high_), x * low_); }

  private:
    float scale_ = 1, high_ = 1, low_ = 0;
};

#if defined(__AVX2__)
constexpr bool kEncodesNumbers = true;
#else
constexpr bool kEncodesNumbers = false;
#endif
static_assert(!kEncodesNumbers || kFuses, "a product with a reciprocal is the quotient only if it is rounded once");

// Stores codes of quotients that are numbers in the format's range, and remembers whether there were others.
template <class Format>
class NumberEncoder {
  public:
    // Sixteen codes to `at`, with the signs of x, which are those of the quotients, and sixteen more to `to`.
    KV8_INLINE void put(uint8_t* at, const f32& quotients, const f32& x, uint8_t* to, const f32& more, const f32& y) {
        const u32 a = codes(quotients), b = codes(more);
#if defined(__AVX2__) && !defined(__AVX512F__)
        // In each half of a register: four codes of a's first part, one by one with its second's, then as many of b's.
        const __m256i mixed = _mm256_packus_epi16(lower_words(a), lower_words(b));
        const __m256i by_fours = _mm256_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15,  //
                                                  0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
        const __m256i magnitudes = _mm256_shuffle_epi8(mixed, by_fours);
        // Packed with saturation, a number keeps its sign.
        const __m256i packed = _mm256_packs_epi16(signed_words(x), signed_words(y));
        __m256i signs = _mm256_and_si256(packed, _mm256_set1_epi8(-128));
        if constexpr (Format::fnuz)
            signs = _mm256_andnot_si256(_mm256_cmpeq_epi8(magnitudes, _mm256_setzero_si256()), signs);
        const __m256i ordered =
            _mm256_permutevar8x32_epi32(_mm256_or_si256(magnitudes, signs), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        store(at, _mm256_castsi256_si128(ordered));
        store(to, _mm256_extracti128_si256(ordered, 1));
#else
        store_bytes(at, with_signs(a, x));
        store_bytes(to, with_signs(b, y));
#endif
    }

    // Whether all were numbers that are at most `most` in magnitude once rounded, the format's greatest value or less.
    KV8_INLINE bool all_within(float most) const {
        const uint32_t number = bits<uint32_t>(most), odd = number >> Derived::shift & 1;
        const uint32_t greatest = number + (1u << (Derived::shift - 1)) - odd;  // ties go to the even code
        const i32::Part beyond = largest_ > int32_t(greatest);
        int64_t words[sizeof(beyond) / 8], either = 0;
        std::memcpy(words, &beyond, sizeof(beyond));
        for (int64_t word : words) either |= word;
        return either == 0;
    }

  private:
    using Derived = fp8::Derived<Format>;

    // Code magnitudes in the lanes' lower 16 bits. A number added to 2^23 steps of its binade (of the lowest one, for a
    // subnormal) is rounded to whole steps by the addition itself, from nearest, ties to even, and the sum's mantissa counts
    // them. The ruler is longer by as many steps as codes lie below those that are counted: so the mantissa is the code.
    KV8_INLINE u32 codes(const f32& quotients) {
        const i32 magnitudes = bits<i32>(bits<u32>(quotients) & 0x7FFFFFFFu);
        note(magnitudes);
        const u32 binade = bits<u32>(max(magnitudes & 0x7F800000, splat(int32_t(Derived::min_normal))));
        constexpr uint32_t kRuler = (uint32_t(Derived::shift) << 23) - (Derived::min_normal >> Derived::shift);
        const u32 ruler = binade + (binade >> Derived::shift) + splat(kRuler);
        return bits<u32>(bits<f32>(magnitudes) + bits<f32>(ruler));
    }

#if defined(__AVX2__) && !defined(__AVX512F__)
    // Those of the first part, one by one with those of the second.
    static KV8_INLINE __m256i lower_words(const u32& v) {
        return _mm256_blend_epi16((__m256i)v.part[0], _mm256_slli_epi32((__m256i)v.part[1], 16), 0xAA);
    }
    static KV8_INLINE __m256i signed_words(const f32& v) {
        return _mm256_packs_epi32((__m256i)v.part[0], (__m256i)v.part[1]);
    }
#else
    static KV8_INLINE u32 with_signs(const u32& codes, const f32& x) {
        const u32 magnitudes = codes & 0xFFu, signs = bits<u32>(x) >> 24 & 0x80u;
        if constexpr (!Format::fnuz) return magnitudes | signs;
        return magnitudes | select(equal(magnitudes, splat(0u)), splat(0u), signs);
    }
#endif

    // Magnitudes are ordered as their bits are, NaN and infinity behind all numbers.
    KV8_INLINE void note(const i32& magnitudes) {
        i32::Part most = magnitudes.part[0];
        for (int p = 1; p < kParts; p++) most = magnitudes.part[p] > most ? magnitudes.part[p] : most;
        largest_ = most > largest_ ? most : largest_;
    }

    i32::Part largest_{};
};

// Stores the codes of count values, a multiple of 32, of which load(i) gives sixteen. Returns whether they are right: all
// are numbers, the quotients are at most `most` (the format's greatest value or less) when rounded, and the scale is no
// extreme one. If not, any bytes were stored.
template <class Format, class Load>
KV8_INLINE bool encode_numbers(uint8_t* to, int64_t count, const Reciprocal& scale, float most, const Load& load) {
    if (!kEncodesNumbers || !scale.is_exact()) return false;
    NumberEncoder<Format> encoder;
    if (!Format::fnuz && scale.scale() == 1) {
        for (int64_t i = 0; i < count; i += 2 * kLanes) {
            const f32 x = load(i), y = load(i + kLanes);
            encoder.put(to + i, x, x, to + i + kLanes, y, y);
        }
    } else {
        for (int64_t i = 0; i < count; i += 2 * kLanes) {
            const f32 x = load(i), y = load(i + kLanes);
            encoder.put(to + i, scale.times(x), x, to + i + kLanes, scale.times(y), y);
        }
    }
    return encoder.all_within(most);
}

}  // namespace kv8::cpu::KV8_ISA
