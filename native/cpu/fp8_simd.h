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

// body(std::integral_constant of a register's bytes, position) for each register of `size` codes, a multiple of 16.
template <int Bytes, class Body>
KV8_INLINE void for_registers(int size, const Body& body) {
    int d = 0;
    for (; d + Bytes <= size; d += Bytes) body(std::integral_constant<int, Bytes>{}, d);
    if constexpr (Bytes > 32)
        if (d + 32 <= size) {
            body(std::integral_constant<int, 32>{}, d);
            d += 32;
        }
    if constexpr (Bytes > 16)
        if (d < size) body(std::integral_constant<int, 16>{}, d);
}

// to_f16_bits of a row, right for all codes but NaN.
template <class Format>
KV8_INLINE void halves_of_numbers(const uint8_t* codes, int size, uint8_t* halves) {
    for_registers<kCodeBytes>(
        size, KV8_LAMBDA(auto bytes, int d) {
            halves_of_register<Format, decltype(bytes)::value>(codes + d, halves + 2 * d);
        });
}

// Bytes whose largest tells of NaN, and the least such byte.
template <class Format, class Codes>
KV8_INLINE Codes nan_mark(const Codes& codes) {
    if constexpr (Format::fnuz)
        return codes ^ 0x7F;  // 0x80 becomes 0xFF
    else
        return codes + codes;  // without the sign
}

// Whether a code of the rows is NaN.
template <class Format>
KV8_INLINE bool has_nan(const uint8_t* const* rows, int count, int size) {
    if constexpr (Format::mantissa_bits == 2 && !Format::fnuz) return false;  // NaN is float16's own
    constexpr int kLeast = Format::fnuz ? 0xFF : 2 * (Format::last_number + 1);
    using Codes = CodeRegister<kScanBytes>::Unsigned;
    Codes most{};
    for (int i = 0; i < count; i++)
        for_registers<kScanBytes>(
            size, KV8_LAMBDA(auto bytes, int d) {
                Codes codes{};
                std::memcpy(&codes, rows[i] + d, decltype(bytes)::value);
                const Codes mark = nan_mark<Format>(codes);
                most = mark > most ? mark : most;
            });
    typedef uint64_t Words __attribute__((vector_size(kScanBytes)));
    const Words found = bits<Words>(most >= uint8_t(kLeast));
    uint64_t any = 0;
    for (int i = 0; i < kScanBytes / 8; i++) any |= found[i];
    return any != 0;
}

template <class Format>
KV8_INLINE f32 decode(const u8& codes) {
#if defined(__AVX2__) || defined(KV8_NEON)
    const f32 x = from_f16(to_f16_bits<Format>(codes));
    return kF16Factor<Format> == 1.0f ? x : x * kF16Factor<Format>;
#else
    using D = fp8::Derived<Format>;
    const i32 w = convert<int32_t>(codes), magnitude = w & 0x7F;
    const f32 units = convert<float>(magnitude) * fp8::float_of(D::unit);
    const u32 normal = (bits<u32>(magnitude) + D::rebias) << D::shift;
    u32 x = select(less(magnitude, splat(1 << Format::mantissa_bits)), bits<u32>(units), normal);
    x = select(less(splat(int32_t(Format::max_code)), magnitude), splat(fp8::kFloatInfinity), x) | bits<u32>(w & 0x80)
                                                                                                       << 24;
    const i32 nan = Format::fnuz ? equal(w, splat(0x80)) : less(splat(int32_t(Format::last_number)), magnitude);
    return bits<f32>(select(nan, splat(fp8::kFloatNan), x));
#endif
}

template <class Format>
KV8_INLINE u8 encode(const f32& x) {
    using D = fp8::Derived<Format>;
    const u32 w = bits<u32>(x);
    const i32 a = bits<i32>(w & 0x7FFFFFFFu);
    const i32 clamped = min(a, splat(int32_t(D::max_finite)));
    const u32 m = bits<u32>(clamped);

    const u32 normal = ((m + ((1u << (D::shift - 1)) - 1u) + (m >> D::shift & 1u)) >> D::shift) - D::rebias;
    // Added to 2^23 units, a number is rounded to whole units by the addition itself.
    const f32 ruler = splat(fp8::float_of(D::unit + (23u << 23)));
    const u32 subnormal = bits<u32>(bits<f32>(m) + ruler) - bits<u32>(ruler);
    u32 code = select(less(clamped, splat(int32_t(D::min_normal))), subnormal, normal);

    const u32 sign = w >> 24 & 0x80u;
    code = code | (Format::fnuz ? select(equal(code, splat(0u)), splat(0u), sign) : sign);
    return to_bytes(select(less(splat(int32_t(fp8::kFloatInfinity)), a), splat(uint32_t(Format::nan_code)), code));
}

}  // namespace kv8::cpu::KV8_ISA
