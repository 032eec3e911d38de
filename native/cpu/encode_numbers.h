// Codes of ordinary numbers by one scale, bit for bit those of encode(x / scale) in a third of its instructions: by products and
// the hardware's conversion to float16. What is not ordinary (infinite, NaN, out of the format's range) is noticed and left to the
// caller.
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
    explicit Reciprocal(float scale) : scale_(scale) {
        const double whole = 1 / double(scale);
        high_ = float(whole);
        low_ = float(whole - high_);
    }

    float scale() const { return scale_; }

    // Elsewhere a part might be subnormal, or its product with a value that has a code.
    bool is_exact() const { return scale_ >= 0x1p-60f && scale_ <= 0x1p60f; }

    // x / scale * factor, a power of two; NaN for infinity.
    KV8_INLINE f32 times(const f32& x, float factor) const {
        return fma(x, splat(high_ * factor), x * (low_ * factor));
    }

  private:
    float scale_, high_, low_;
};

#if defined(__AVX2__)
// Sixteen words of float16, or with codes in their upper bytes.
typedef uint16_t Words __attribute__((vector_size(32)));

// Exact for what float16 can hold.
KV8_INLINE Words half_words(const f32& x) {
#if defined(__AVX512F__)
    return (Words)_mm512_cvtps_ph((__m512)x.part[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    const __m128i low = _mm256_cvtps_ph((__m256)x.part[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m128i high = _mm256_cvtps_ph((__m256)x.part[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return (Words)_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
#endif
}

KV8_INLINE void store_upper_bytes(void* to, const Words& w) {
    const Words bytes = w >> 8;
#if defined(__AVX512F__)
    store(to, _mm256_cvtepi16_epi8((__m256i)bytes));
#else
    store(to, _mm_packus_epi16(_mm256_castsi256_si128((__m256i)bytes), _mm256_extracti128_si256((__m256i)bytes, 1)));
#endif
}

// Stores the codes of sixteen quotients, given as quotients / kF16Factor, with the signs of x. Their float16 has a code's
// fields, subnormal where the code is, and nothing below them once the quotient is rounded to the code's steps. Right for
// numbers in the format's range; `largest` collects magnitudes, for is_beyond to tell whether there were others.
template <class Format>
KV8_INLINE void encode_half(uint8_t* to, const f32& quotients, const f32& x, Words& largest) {
    constexpr uint32_t kLeastNormal = 0x38800000u;  // of float16, and so of the format
    constexpr uint32_t kRuler = (uint32_t(fp8::Derived<Format>::shift) << 23) + 0x400000u;
    // Added to one and a half times 2^23 steps of its binade and taken off again, a number is rounded to whole steps.
    const i32 binade = max(bits<i32>(bits<u32>(quotients) & 0x7F800000u), splat(int32_t(kLeastNormal)));
    const f32 ruler = bits<f32>(bits<u32>(binade) + splat(kRuler));
    f32 rounded = (quotients + ruler) - ruler;  // zero has lost its sign, which FNUZ has none of
    if constexpr (!Format::fnuz) rounded = bits<f32>(bits<u32>(rounded) | (bits<u32>(x) & 0x80000000u));
    const Words halves = half_words(rounded), twice = halves + halves;
    largest = twice > largest ? twice : largest;
    store_upper_bytes(to, Format::mantissa_bits == 3 ? twice | (halves & 0x8000) : halves);
}

// Whether one of the values was above `most` in magnitude once rounded, or none at all.
template <class Format>
KV8_INLINE bool is_beyond(const Words& largest, float most) {
    const Words halves = half_words(splat(most / kF16Factor<Format>)), beyond = largest > halves + halves;
    return !_mm256_testz_si256((__m256i)beyond, (__m256i)beyond);
}
#endif

// Stores the codes of count values, a multiple of sixteen, of which load(i) gives sixteen. Returns whether they are right: all
// are numbers, the quotients are at most `most` (the format's greatest value or less) when rounded, and the scale is no
// extreme one. If not, any bytes were stored.
template <class Format, class Load>
KV8_INLINE bool encode_numbers(uint8_t* to, int64_t count, const Reciprocal& scale, float most, const Load& load) {
#if defined(__AVX2__)
    if constexpr (Format::mantissa_bits == 3 || !Format::fnuz) {  // E5M2FNUZ reaches beyond float16
        if (!scale.is_exact()) return false;
        Words largest{};
        for (int64_t i = 0; i < count; i += kLanes) {
            const f32 x = load(i);
            encode_half<Format>(to + i, scale.times(x, 1 / kF16Factor<Format>), x, largest);
        }
        return !is_beyond<Format>(largest, most);
    }
#endif
    (void)to, (void)count, (void)scale, (void)most, (void)load;
    return false;
}

}  // namespace kv8::cpu::KV8_ISA
