// The four FP8 formats and their conversions: the one definition that every backend shares, on host and device.
//
// Rounding is done by integers on the bits, so that no compiler flag (flush to zero, fast math) and no rounding mode can
// change a code. Encoding rounds once from float32, to nearest, ties to even, keeps subnormals and saturates; decoding is
// exact. Functions are always inlined: a kernel file built for one instruction set must not lend its copy to another.
#pragma once

#include <cstdint>

#if defined(__CUDACC__) || defined(__HIPCC__)
#define KV8_HOST_DEVICE __attribute__((host)) __attribute__((device))
#else
#define KV8_HOST_DEVICE
#endif
#define KV8_FP8_FUNCTION KV8_HOST_DEVICE constexpr inline __attribute__((always_inline))

namespace kv8::fp8 {

// A code is a sign bit, exponent bits and mantissa bits; its magnitude is the code without the sign.
//
// A cache keeps within max_cached. FNUZ leaves out what OCP's twin of the same bytes and half the scale could not hold, so that
// a block moves between the two. Up to saturates_above, half a step further, saturation is no more than rounding.
struct E4M3FN {
    static constexpr int mantissa_bits = 3;
    static constexpr int bias = 7;
    static constexpr float max_value = 448.0f;
    static constexpr float max_cached = 448.0f;
    static constexpr float saturates_above = 464.0f;
    static constexpr uint8_t max_code = 0x7E;
    static constexpr uint8_t last_number = 0x7E;  // the greatest magnitude that is not NaN
    static constexpr uint8_t nan_code = 0x7F;
    static constexpr bool fnuz = false;
};

struct E5M2 {
    static constexpr int mantissa_bits = 2;
    static constexpr int bias = 15;
    static constexpr float max_value = 57344.0f;
    static constexpr float max_cached = 57344.0f;
    static constexpr float saturates_above = 61440.0f;
    static constexpr uint8_t max_code = 0x7B;
    static constexpr uint8_t last_number = 0x7C;  // infinity: decoded, never encoded
    static constexpr uint8_t nan_code = 0x7F;
    static constexpr bool fnuz = false;
};

// FNUZ: finite, NaN, unsigned zero. The code that would be -0 is the only NaN.
struct E4M3FNUZ {
    static constexpr int mantissa_bits = 3;
    static constexpr int bias = 8;
    static constexpr float max_value = 240.0f;
    static constexpr float max_cached = 224.0f;
    static constexpr float saturates_above = 232.0f;
    static constexpr uint8_t max_code = 0x7F;
    static constexpr uint8_t last_number = 0x7F;
    static constexpr uint8_t nan_code = 0x80;
    static constexpr bool fnuz = true;
};

struct E5M2FNUZ {
    static constexpr int mantissa_bits = 2;
    static constexpr int bias = 16;
    static constexpr float max_value = 57344.0f;
    static constexpr float max_cached = 28672.0f;
    static constexpr float saturates_above = 30720.0f;
    static constexpr uint8_t max_code = 0x7F;
    static constexpr uint8_t last_number = 0x7F;
    static constexpr uint8_t nan_code = 0x80;
    static constexpr bool fnuz = true;
};

constexpr uint32_t kFloatNan = 0x7FC00000u;
constexpr uint32_t kFloatInfinity = 0x7F800000u;

// What follows from a format's traits. Members without another unit are float32 bits.
template <class Format>
struct Derived {
    static constexpr int shift = 23 - Format::mantissa_bits;     // from a code's mantissa to a float32's
    static constexpr int min_exponent = 127 - Format::bias + 1;  // float32 exponent field of the smallest normal value
    static constexpr uint32_t rebias = uint32_t(127 - Format::bias) << Format::mantissa_bits;  // in a code's place
    static constexpr uint32_t min_normal = uint32_t(min_exponent) << 23;
    static constexpr uint32_t max_finite = (uint32_t(Format::max_code) + rebias) << shift;
    static constexpr uint32_t unit = uint32_t(min_exponent - Format::mantissa_bits) << 23;  // the smallest subnormal
};

KV8_FP8_FUNCTION uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
KV8_FP8_FUNCTION float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

// Whether a number and its reciprocal are normal and positive: what is multiplied by it is divided by it again. Without
// branches, so that the compiler does many at a time.
KV8_FP8_FUNCTION bool is_scale(float x) { return (x >= 0x1p-126f) & (x <= 0x1p126f); }

template <class Format>
KV8_FP8_FUNCTION bool is_nan(uint8_t code) {
    return Format::fnuz ? code == Format::nan_code : (code & 0x7F) > Format::last_number;
}

template <class Format>
KV8_FP8_FUNCTION uint8_t encode(float x) {
    using D = Derived<Format>;
    const uint32_t bits = bits_of(x);
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > kFloatInfinity) return Format::nan_code;
    if (magnitude > D::max_finite) magnitude = D::max_finite;

    uint32_t code = 0;
    if (magnitude >= D::min_normal) {
        const uint32_t odd = (magnitude >> D::shift) & 1u;
        code = ((magnitude + (1u << (D::shift - 1)) - 1u + odd) >> D::shift) - D::rebias;
    } else {
        // A subnormal code counts units; below half a unit it is zero. The shift of a float32 subnormal is always too far.
        const int shift = D::shift + D::min_exponent - int(magnitude >> 23);
        if (shift <= 24) {
            const uint32_t mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
            const uint32_t odd = (mantissa >> shift) & 1u;
            code = (mantissa + (1u << (shift - 1)) - 1u + odd) >> shift;
        }
    }
    if (Format::fnuz && code == 0) return 0;
    return uint8_t(code | (bits >> 24 & 0x80u));
}

template <class Format>
KV8_FP8_FUNCTION float decode(uint8_t code) {
    using D = Derived<Format>;
    if (is_nan<Format>(code)) return float_of(kFloatNan);
    const uint32_t sign = uint32_t(code & 0x80) << 24, magnitude = code & 0x7Fu;
    if (magnitude > Format::max_code) return float_of(sign | kFloatInfinity);
    if (magnitude >= 1u << Format::mantissa_bits) return float_of(sign | (magnitude + D::rebias) << D::shift);
    return float_of(sign | bits_of(float(magnitude) * float_of(D::unit)));
}

}  // namespace kv8::fp8
