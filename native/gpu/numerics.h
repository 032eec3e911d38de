// FP8 codes to float32 and back on the device, bit for bit what fp8.h computes: by the hardware's instruction where it
// converts the format, else by integers and one float16 conversion. The dialects' instructions saturate and give the
// canonical NaN. And e^x, which the vendors' libraries must not give each in their own way.
#pragma once

#include "gpu/dialect.h"

// fp8.h after dialect.h, which may have to name the vendor's attributes first.
#include "fp8/fp8.h"

namespace kv8::gpu {

using fp8::bits_of;
using fp8::float_of;

constexpr float kFloatMin = 0x1p-126f, kFloatMax = 0x1.fffffep127f;

KV8_DEVICE float magnitude_of(float x) { return __builtin_fabsf(x); }
KV8_DEVICE bool is_nan(float x) { return x != x; }

// Instruction sets differ in the NaN that arithmetic gives; what is stored as float32 is the canonical one.
KV8_DEVICE uint32_t canonical_bits(float x) { return is_nan(x) ? fp8::kFloatNan : bits_of(x); }

template <class Format>
constexpr bool kConverts = Format::fnuz ? kConvertsFnuz : kConvertsOcp;

namespace detail {

// The low two codes as two float16. A dialect has the instructions of its formats only: the arguments' types are
// parameters, so that the others' names are never looked up.
template <class Format, class Word>
KV8_DEVICE uint32_t widen(Word codes) {
    if constexpr (Format::fnuz)
        return Format::mantissa_bits == 3 ? widen_e4m3fnuz(codes) : widen_e5m2fnuz(codes);
    else
        return Format::mantissa_bits == 3 ? widen_e4m3fn(codes) : widen_e5m2(codes);
}

template <class Format, class Float>
KV8_DEVICE uint32_t narrow(Float low, Float high) {
    if constexpr (Format::fnuz)
        return Format::mantissa_bits == 3 ? narrow_e4m3fnuz(low, high) : narrow_e5m2fnuz(low, high);
    else
        return Format::mantissa_bits == 3 ? narrow_e4m3fn(low, high) : narrow_e5m2(low, high);
}

// Of the code in the word's top byte, whatever lies below.
template <class Format>
KV8_DEVICE float decode_in_software(uint32_t word) {
    using D = fp8::Derived<Format>;
    if constexpr (Format::mantissa_bits == 2 && !Format::fnuz) {  // the upper half of a float16, infinities too
        const uint32_t half = word >> 16 & 0xFF00u;
        return (half & 0x7F00u) > uint32_t(Format::last_number) << 8 ? float_of(fp8::kFloatNan)
                                                                     : widen_f16(uint16_t(half));
    } else {
        // A float32 holds exponent and mantissa but for a power of two; its own subnormals serve the code's. The shift
        // fills up with the sign, of which the first bit is kept.
        constexpr uint32_t kMagnitude = 0x7Fu << D::shift;
        const uint32_t bits = uint32_t(int32_t(word) >> (24 - D::shift)) & (0x80000000u | kMagnitude);
        const bool nan = Format::fnuz ? bits == 0x80000000u : (bits & kMagnitude) == kMagnitude;
        return nan ? float_of(fp8::kFloatNan) : float_of(bits) * float_of(uint32_t(254 - Format::bias) << 23);
    }
}

template <class Format>
KV8_DEVICE uint32_t encode_in_software(float x) {
    using D = fp8::Derived<Format>;
    const uint32_t word = bits_of(x), magnitude = word & 0x7FFFFFFFu;
    const uint32_t m = magnitude < D::max_finite ? magnitude : D::max_finite;
    const uint32_t normal = ((m + ((1u << (D::shift - 1)) - 1u) + (m >> D::shift & 1u)) >> D::shift) - D::rebias;
    // Added to 2^23 units, a number is rounded to whole units by the addition itself.
    constexpr uint32_t kRuler = D::unit + (23u << 23);
    const uint32_t subnormal = bits_of(float_of(m) + float_of(kRuler)) - kRuler;
    const uint32_t code = m < D::min_normal ? subnormal : normal;
    const uint32_t sign = Format::fnuz && code == 0 ? 0u : word >> 24 & 0x80u;
    return magnitude > fp8::kFloatInfinity ? uint32_t(Format::nan_code) : code | sign;
}

// Four FNUZ codes by the instruction for OCP's format of the same bits, where a code is worth twice as much, so that numbers
// are doubled. OCP's formats end earlier. E4M3 lacks one code, that of all numbers past the last it has. E5M2 lacks a binade:
// numbers there are not doubled, for which four is added to the code, and the same is done to all past 1.
template <class Format>
KV8_DEVICE uint32_t encode_as_twin(float x0, float x1, float x2, float x3) {
    constexpr bool kE4M3 = Format::mantissa_bits == 3;
    constexpr float kPast = kE4M3 ? Format::saturates_above : 1.0f;
    const auto doubled = [](float x) { return kE4M3 || !(magnitude_of(x) > kPast) ? x + x : x; };
    const auto pair = [&](float low, float high) {
        return kE4M3 ? narrow_e4m3fn(doubled(low), doubled(high)) : narrow_e5m2(doubled(low), doubled(high));
    };
    const auto added = [](float x, int shift) { return magnitude_of(x) > kPast ? (kE4M3 ? 1u : 4u) << shift : 0u; };
    const uint32_t codes = pair(x0, x1) | pair(x2, x3) << 16, magnitudes = codes & 0x7F7F7F7Fu;
    const uint32_t unsigned_zeros = codes & (0x7F7F7F7Fu | (magnitudes + 0x7F7F7F7Fu));
    const uint32_t nans = (magnitudes + 0x01010101u) >> 7 & 0x01010101u;  // no number has become 0x7F; a NaN is 0x80
    return unsigned_zeros + nans + (added(x0, 0) | added(x1, 8)) + (added(x2, 16) | added(x3, 24));
}

}  // namespace detail

// Four codes in a word, the first in the low byte.
template <class Format>
KV8_DEVICE void decode(uint32_t codes, float& x0, float& x1, float& x2, float& x3) {
    if constexpr (kConverts<Format>) {
        const uint32_t low = detail::widen<Format>(codes), high = detail::widen<Format>(codes >> 16);
        x0 = widen_f16(uint16_t(low));
        x1 = widen_f16(uint16_t(low >> 16));
        x2 = widen_f16(uint16_t(high));
        x3 = widen_f16(uint16_t(high >> 16));
    } else {
        x0 = detail::decode_in_software<Format>(codes << 24);
        x1 = detail::decode_in_software<Format>(codes << 16);
        x2 = detail::decode_in_software<Format>(codes << 8);
        x3 = detail::decode_in_software<Format>(codes);
    }
}

template <class Format>
KV8_DEVICE uint32_t encode(float x0, float x1, float x2, float x3) {
    if constexpr (kConverts<Format>)
        return detail::narrow<Format>(x0, x1) | detail::narrow<Format>(x2, x3) << 16;
    else if constexpr (Format::fnuz && kConvertsOcp)
        return detail::encode_as_twin<Format>(x0, x1, x2, x3);
    else
        return detail::encode_in_software<Format>(x0) | detail::encode_in_software<Format>(x1) << 8 |
               detail::encode_in_software<Format>(x2) << 16 | detail::encode_in_software<Format>(x3) << 24;
}

// e^x for x <= 0, within 2 ulp; 0 below -87.33, where the result would be subnormal, and for -inf; NaN for NaN.
KV8_DEVICE float exp_of_negative(float x) {
    // Adding 1.5 * 2^23 leaves the nearest integer n of x / ln 2 in the low bits; the rest of x is at most ln(2) / 2.
    constexpr float kRuler = 12582912.0f;
    const float shifted = fused(x, 1.44269504088896341f, kRuler);
    const float n = shifted - kRuler;
    float r = fused(n, -0.693359375f, x);
    r = fused(n, 2.12194440e-4f, r);
    // Minimax polynomial of degree 5 for (e^r - 1 - r) / r^2 (Cephes, expf).
    float p = 1.9875691500e-4f;
    p = fused(p, r, 1.3981999507e-3f);
    p = fused(p, r, 8.3334519073e-3f);
    p = fused(p, r, 4.1665795894e-2f);
    p = fused(p, r, 1.6666665459e-1f);
    p = fused(p, r, 5.0000001201e-1f);
    p = fused(p, r * r, r) + 1.0f;
    const uint32_t power = (bits_of(shifted) - bits_of(kRuler) + 127u) << 23;
    return x < -87.33f ? 0.0f : p * float_of(power);
}

// tanh(x) with e = e^-2|x|, within 3 ulp where that is within 2: near 0 an odd polynomial (Cephes, tanhf), where 1 - e would
// cancel.
KV8_DEVICE float tanh_by(float x, float e) {
    const float magnitude = x < 0 ? -x : x;
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = fused(p, z, 2.06390887954e-2f);
    p = fused(p, z, -5.37397155531e-2f);
    p = fused(p, z, 1.33314422036e-1f);
    p = fused(p, z, -3.33332819422e-1f);
    const float near = fused(p * z, x, x);
    const float far = divide(1.0f - e, 1.0f + e);
    return magnitude < 0.625f ? near : x < 0 ? -far : far;
}

// e^x in float64 for -700 <= x <= 0, within 1 ulp (fdlibm, e_exp).
KV8_DEVICE double exp_of_negative(double x) {
    constexpr double kRuler = 6755399441055744.0;  // 1.5 * 2^52
    const double shifted = x * 1.44269504088896338700e+00 + kRuler;
    const double n = shifted - kRuler;
    // ln 2 in two parts, the first so short that its product with n is exact.
    const double high = x - n * 6.93147180369123816490e-01, low = n * 1.90821492927058770002e-10, r = high - low;
    // r (e^r + 1) / (e^r - 1) is 2 plus an even function, of which these are the minimax coefficients on [0, ln(2) /
    // 2].
    const double t = r * r;
    double c = 4.13813679705723846039e-08;
    c = c * t - 1.65339022054652515390e-06;
    c = c * t + 6.61375632143793436117e-05;
    c = c * t - 2.77777777770155933842e-03;
    c = c * t + 1.66666666666666019037e-01;
    c = r - t * c;
    const double p = 1.0 - ((low - r * c / (2.0 - c)) - high);
    const uint64_t power = (__builtin_bit_cast(uint64_t, shifted) - __builtin_bit_cast(uint64_t, kRuler) + 1023u) << 52;
    return p * __builtin_bit_cast(double, power);
}

}  // namespace kv8::gpu
