// Sixteen FP8 codes at a time, bit for bit what fp8.h computes for one.
//
// Decoding goes through float16, which holds every FP8 value but for a power of two: a shift, the hardware's conversion to
// float32, a product. Building float32 bits directly is shorter, but makes denormal float32 numbers of subnormal codes, and
// arithmetic on those is slower by two orders of magnitude on x86.
#pragma once

#include "cpu/simd.h"
#include "fp8/fp8.h"

namespace kv8::cpu::KV8_ISA {

// The value of a code is kF16Factor times the float16 of to_f16_bits; a kernel may fold the factor into a later product.
template <class Format>
constexpr float kF16Factor = Format::mantissa_bits == 3 ? float(1 << (15 - Format::bias)) : 1.0f;

template <class Format>
KV8_INLINE u16 to_f16_bits(const u8& codes) {
    return by_parts<uint16_t>(
        KV8_LAMBDA(auto c) {
            using Word = u16::Part;
            const Word w = __builtin_convertvector(c, Word);
            const Word magnitude = w & 0x7F, sign = (w & 0x80) << 8;
            Word h;
            if constexpr (Format::mantissa_bits == 3)
                h = magnitude << 7 | sign;
            else if constexpr (!Format::fnuz)
                h = w << 8;
            else  // Bias 16 uses the exponent that float16 keeps for infinity, and float16 is subnormal one step later.
                h = (magnitude < 8 ? magnitude << 7 : (magnitude << 8) - 0x400) | sign;
            const Word nan = Word{} + 0x7E00;
            if constexpr (Format::fnuz)
                return w == 0x80 ? nan : h;
            else
                return magnitude > Format::last_number ? nan : h;
        },
        codes);
}

// Registers of codes and of twice as many bytes of halves: of the hardware's width, except where a row's rest is shorter.
template <int Bytes>
struct CodeRegister {
    typedef int8_t Signed __attribute__((vector_size(Bytes)));
    typedef uint8_t Unsigned __attribute__((vector_size(Bytes)));
    typedef int16_t Halves __attribute__((vector_size(2 * Bytes)));
};
#if defined(__AVX512F__)
constexpr int kCodeBytes = 32, kScanBytes = 64;
#elif defined(__AVX2__)
constexpr int kCodeBytes = 16, kScanBytes = 32;
#else
constexpr int kCodeBytes = 16, kScanBytes = 16;
#endif

// Sign-extended; GCC 12 does not find these instructions by itself.
template <int Bytes>
KV8_INLINE typename CodeRegister<Bytes>::Halves to_words(const uint8_t* codes) {
    using Register = CodeRegister<Bytes>;
    const auto c = load<typename Register::Signed>(codes);
#if defined(__AVX512F__)
    if constexpr (Bytes == 32) return (typename Register::Halves)_mm512_cvtepi8_epi16((__m256i)c);
#endif
#if defined(__AVX2__)
    if constexpr (Bytes == 16) return (typename Register::Halves)_mm256_cvtepi8_epi16((__m128i)c);
#endif
    return __builtin_convertvector(c, typename Register::Halves);
}

// to_f16_bits of one register's codes, none of them NaN.
template <class Format, int Bytes>
KV8_INLINE void halves_of_register(const uint8_t* codes, uint8_t* halves) {
    using Halves = typename CodeRegister<Bytes>::Halves;
    const Halves w = to_words<Bytes>(codes);  // the sign fills the upper byte
    if constexpr (Format::mantissa_bits == 3) {
        store(halves, (w << 7) & int16_t(0xBFFF));
    } else if constexpr (!Format::fnuz) {
        store(halves, w << 8);
    } else {
        const Halves magnitude = w & 0x7F;
        store(halves, (magnitude < 8 ? magnitude << 7 : (magnitude << 8) - 0x400) | (w & int16_t(0x8000)));
    }
}

// Bytes whose largest tells of NaN.
template <class Format, class Codes>
KV8_INLINE Codes nan_mark(const Codes& codes) {
    if constexpr (Format::fnuz)
        return codes ^ 0x7F;  // 0x80 becomes 0xFF
    else
        return codes + codes;  // without the sign
}

template <int Bytes, class Codes>
KV8_INLINE bool any_at_least(const Codes& marks, int least) {
    const auto found = marks >= uint8_t(least);
    uint64_t words[Bytes / 8], any = 0;
    std::memcpy(words, &found, Bytes);
    for (uint64_t word : words) any |= word;
    return any != 0;
}

// to_f16_bits of rows of `size` codes, one behind the other, right for all but NaN; as many lines of `asked`, row by row, are asked
// for on the way. Returns whether there is a NaN, except in a format whose NaN comes out as it should.
template <class Format>
KV8_INLINE bool halves_of_rows(const uint8_t* const* rows, const uint8_t* const* asked, int count, int size,
                               uint8_t* halves) {
    constexpr bool kScans = Format::mantissa_bits == 3 || Format::fnuz;
    constexpr int kLeast = Format::fnuz ? 0xFF : 2 * (Format::last_number + 1), kLine = 64;
    typename CodeRegister<kScanBytes>::Unsigned most{};
    bool found = false;
    for (int i = 0; i < count; i++, halves += 2 * size) {
        const uint8_t *const codes = rows[i], *const ask = asked[i];
        int d = 0;
        for (; d + kLine <= size; d += kLine) {
            __builtin_prefetch(ask + d);
            for (int part = d; kScans && part < d + kLine; part += kScanBytes) {
                const auto mark = nan_mark<Format>(load<decltype(most)>(codes + part));
                most = mark > most ? mark : most;
            }
            for (int part = d; part < d + kLine; part += kCodeBytes)
                halves_of_register<Format, kCodeBytes>(codes + part, halves + 2 * part);
        }
        if (d < size) __builtin_prefetch(ask + d);
        for (; d < size; d += 16) {
            if constexpr (kScans)
                found |=
                    any_at_least<16>(nan_mark<Format>(load<typename CodeRegister<16>::Unsigned>(codes + d)), kLeast);
            halves_of_register<Format, 16>(codes + d, halves + 2 * d);
        }
    }
    return found || (kScans && any_at_least<kScanBytes>(most, kLeast));
}

// Sixteen codes' values.
template <class Format>
KV8_INLINE f32 decode(const uint8_t* codes) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    // Codes become halves in one register, which is twice as wide as what GCC keeps eight lanes in.
    uint8_t at[32];
    halves_of_register<Format, 16>(codes, at);
    auto halves = load<CodeRegister<16>::Halves>(at);
    if constexpr (Format::fnuz)
        halves |= (halves == int16_t(0x8000)) & 0x7E00;
    else if constexpr (Format::mantissa_bits == 3)
        halves |= ((halves & 0x7FFF) > Format::last_number << 7) & 0x7E00;
    const f32 x{{(f32::Part)_mm256_cvtph_ps(_mm256_castsi256_si128((__m256i)halves)),
                 (f32::Part)_mm256_cvtph_ps(_mm256_extracti128_si256((__m256i)halves, 1))}};
    return kF16Factor<Format> == 1.0f ? x : x * kF16Factor<Format>;
#elif defined(__AVX2__) || defined(KV8_NEON)
    const f32 x = from_f16(to_f16_bits<Format>(load<u8>(codes)));
    return kF16Factor<Format> == 1.0f ? x : x * kF16Factor<Format>;
#else
    using D = fp8::Derived<Format>;
    const i32 w = convert<int32_t>(load<u8>(codes)), magnitude = w & 0x7F;
    const f32 units = convert<float>(magnitude) * fp8::float_of(D::unit);
    const u32 normal = (bits<u32>(magnitude) + D::rebias) << D::shift;
    u32 x = select(less(magnitude, splat(1 << Format::mantissa_bits)), bits<u32>(units), normal);
    x = select(less(splat(int32_t(Format::max_code)), magnitude), splat(fp8::kFloatInfinity), x) | bits<u32>(w & 0x80)
                                                                                                       << 24;
    const i32 nan = Format::fnuz ? equal(w, splat(0x80)) : less(splat(int32_t(Format::last_number)), magnitude);
    return bits<f32>(select(nan, splat(fp8::kFloatNan), x));
#endif
}

// The codes of sixteen values, each in the low byte of its lane.
template <class Format>
KV8_INLINE u32 encode(const f32& x) {
    using D = fp8::Derived<Format>;
    const u32 w = bits<u32>(x);
    const i32 a = bits<i32>(w & 0x7FFFFFFFu);
    const i32 clamped = min(a, splat(int32_t(D::max_finite)));

    // Added to 2^(3 + 20) steps of its binade (of the lowest one, for a subnormal), a number is rounded to whole steps by the
    // addition itself: from nearest, ties to even. A code counts steps from zero on.
    const u32 binade = bits<u32>(max(clamped, splat(int32_t(D::min_normal)))) & 0x7F800000u;
    const u32 ruler = binade + (uint32_t(D::shift) << 23);
    const u32 steps = bits<u32>(bits<f32>(clamped) + bits<f32>(ruler)) - ruler;
    u32 code = steps + ((binade >> D::shift) - (D::min_normal >> D::shift));

    const u32 sign = w >> 24 & 0x80u;
    code = code | (Format::fnuz ? select(equal(code, splat(0u)), splat(0u), sign) : sign);
    return select(less(splat(int32_t(fp8::kFloatInfinity)), a), splat(uint32_t(Format::nan_code)), code);
}

}  // namespace kv8::cpu::KV8_ISA
