// Floating point by the definition, in integers only: what a number is, which representable one is nearest. It shares no
// code and no trick with native/fp8, is slow, and is what the conversions are measured against.
#pragma once

#include <cassert>
#include <cstdint>
#include <vector>

#include "kv8/kv8.h"

namespace exact {

using Wide = unsigned __int128;

// (-1)^negative * mantissa * 2^exponent, and with `more` a little further from zero (less than one mantissa unit).
struct Number {
    enum Kind { kFinite, kInfinite, kNan } kind = kFinite;
    bool negative = false;
    uint64_t mantissa = 0;
    int exponent = 0;
    bool more = false;
};

inline Number nan() { return {Number::kNan}; }

// An IEEE-like format of sign, exponent and mantissa bits; its subnormal unit is 2^(1 - bias - mantissa_bits).
struct Format {
    int exponent_bits;
    int mantissa_bits;
    int bias;
    enum Special { kIeee, kFn, kFnuz } special;  // kFn: all ones is NaN; kFnuz: only -0's code is NaN

    int bits() const { return 1 + exponent_bits + mantissa_bits; }
    uint32_t sign() const { return 1u << (exponent_bits + mantissa_bits); }
    uint32_t exponent_mask() const { return ((1u << exponent_bits) - 1) << mantissa_bits; }
    uint32_t nan() const {
        if (special == kFnuz) return sign();
        if (special == kFn || exponent_bits + mantissa_bits == 7) return sign() - 1;
        return exponent_mask() | 1u << (mantissa_bits - 1);
    }
    // The greatest finite magnitude.
    uint32_t max() const { return special == kFnuz ? sign() - 1 : special == kFn ? sign() - 2 : exponent_mask() - 1; }
};

inline Format format_of(kv8_dtype dtype) {
    switch (dtype) {
        case KV8_F32:
            return {8, 23, 127, Format::kIeee};
        case KV8_F16:
            return {5, 10, 15, Format::kIeee};
        case KV8_BF16:
            return {8, 7, 127, Format::kIeee};
        case KV8_E4M3FN:
            return {4, 3, 7, Format::kFn};
        case KV8_E5M2:
            return {5, 2, 15, Format::kIeee};
        case KV8_E4M3FNUZ:
            return {4, 3, 8, Format::kFnuz};
        case KV8_E5M2FNUZ:
            return {5, 2, 16, Format::kFnuz};
    }
    assert(false);
    return {};
}

inline Number decode(const Format& f, uint32_t code) {
    Number n;
    n.negative = code & f.sign();
    const uint32_t magnitude = code & (f.sign() - 1);
    const uint32_t fraction = magnitude & ((1u << f.mantissa_bits) - 1);
    const int exponent = static_cast<int>(magnitude >> f.mantissa_bits);
    if (f.special == Format::kFnuz && code == f.sign()) return nan();
    if (f.special == Format::kFn && magnitude == f.sign() - 1) return nan();
    if (f.special == Format::kIeee && magnitude >= f.exponent_mask()) {
        n.kind = fraction ? Number::kNan : Number::kInfinite;
        return n;
    }
    n.mantissa = exponent ? fraction + (1u << f.mantissa_bits) : fraction;
    n.exponent = (exponent ? exponent : 1) - f.bias - f.mantissa_bits;
    return n;
}

inline int bit_length(uint64_t x) { return x ? 64 - __builtin_clzll(x) : 0; }

// -1, 0 or 1 as |a| is less than, equal to or greater than |b|; finite, and b without `more`.
inline int compare_magnitudes(const Number& a, const Number& b) {
    assert(!b.more);
    if (a.mantissa == 0 || b.mantissa == 0) return a.mantissa ? 1 : b.mantissa ? -1 : a.more;
    const int a_top = bit_length(a.mantissa) + a.exponent, b_top = bit_length(b.mantissa) + b.exponent;
    if (a_top != b_top) return a_top < b_top ? -1 : 1;
    assert(!a.more || a.exponent <= b.exponent);
    // Equal tops: the exponents differ by less than 64.
    const int low = a.exponent < b.exponent ? a.exponent : b.exponent;
    const Wide x = static_cast<Wide>(a.mantissa) << (a.exponent - low);
    const Wide y = static_cast<Wide>(b.mantissa) << (b.exponent - low);
    return x < y ? -1 : x > y ? 1 : a.more;
}

// Half of the sum of two neighbours' magnitudes.
inline Number midpoint(const Number& a, const Number& b) {
    const int low = a.exponent < b.exponent ? a.exponent : b.exponent;
    Number m;
    m.mantissa = (a.mantissa << (a.exponent - low)) + (b.mantissa << (b.exponent - low));
    m.exponent = low - 1;
    return m;
}

// The code of the nearest representable number, ties to the even code. Beyond the greatest finite one: an FP8 format
// saturates, infinities too; another overflows to infinity from half a unit beyond. NaN is canonical.
inline uint32_t encode(const Format& f, const Number& x) {
    if (x.kind == Number::kNan) return f.nan();
    const bool saturates = f.bits() == 8;
    uint32_t low = 0, high = f.max();
    if (x.kind == Number::kInfinite) {
        low = saturates ? high : high + 1;
    } else if (compare_magnitudes(x, decode(f, high)) >= 0) {
        low = high;
        if (!saturates) {
            Number beyond = decode(f, high);
            beyond.mantissa = 2 * beyond.mantissa + 1;  // half a unit more
            beyond.exponent--;
            if (compare_magnitudes(x, beyond) >= 0) low++;
        }
    } else {
        while (high - low > 1) {  // the representable neighbours below (or at) and above x
            const uint32_t middle = low + (high - low) / 2;
            (compare_magnitudes(x, decode(f, middle)) >= 0 ? low : high) = middle;
        }
        const int side = compare_magnitudes(x, midpoint(decode(f, low), decode(f, high)));
        if (side > 0 || (side == 0 && low % 2 == 1)) low = high;
    }
    if (f.special == Format::kFnuz && low == 0) return 0;
    return low | (x.negative ? f.sign() : 0);
}

// Products of mantissas must fit 64 bits.
inline Number multiply(const Number& a, const Number& b) {
    if (a.kind == Number::kNan || b.kind == Number::kNan) return nan();
    Number n;
    n.negative = a.negative != b.negative;
    if (a.kind == Number::kInfinite || b.kind == Number::kInfinite) {
        const bool zero =
            (a.kind == Number::kFinite && a.mantissa == 0) || (b.kind == Number::kFinite && b.mantissa == 0);
        n.kind = zero ? Number::kNan : Number::kInfinite;
        return n;
    }
    assert(bit_length(a.mantissa) + bit_length(b.mantissa) <= 64);
    n.mantissa = a.mantissa * b.mantissa;
    n.exponent = a.exponent + b.exponent;
    return n;
}

// a / b for a finite b > 0 and mantissas of at most 24 bits, to 40 bits or more and whether anything remains.
inline Number divide(const Number& a, const Number& b) {
    assert(b.kind == Number::kFinite && b.mantissa != 0);
    Number n = a;
    if (a.kind != Number::kFinite) return n;
    const int longer = bit_length(a.mantissa) - bit_length(b.mantissa);
    const int shift = longer > 0 ? 63 - longer : 63;
    const Wide shifted = static_cast<Wide>(a.mantissa) << shift;
    n.negative = a.negative != b.negative;
    n.mantissa = static_cast<uint64_t>(shifted / b.mantissa);
    n.more = shifted % b.mantissa != 0;
    n.exponent = a.exponent - b.exponent - shift;
    return n;
}

inline uint32_t convert(kv8_dtype from, kv8_dtype to, uint32_t code) {
    return encode(format_of(to), decode(format_of(from), code));
}

// encode(x / scale): the quotient is rounded to float32 first, as the casts promise.
inline uint32_t quantize(kv8_dtype from, kv8_dtype to, uint32_t code, uint32_t scale) {
    const Format f32 = format_of(KV8_F32);
    const uint32_t quotient = encode(f32, divide(decode(format_of(from), code), decode(f32, scale)));
    return convert(KV8_F32, to, quotient);
}

// decode(code) * scale, rounded to float32 and then to the destination.
inline uint32_t dequantize(kv8_dtype from, kv8_dtype to, uint32_t code, uint32_t scale) {
    const Format f32 = format_of(KV8_F32);
    const uint32_t product = encode(f32, multiply(decode(format_of(from), code), decode(f32, scale)));
    return convert(KV8_F32, to, product);
}

// Every float32 (as bits, positive) at which an FP8 format's result changes or could: the representable numbers, the points
// halfway between neighbours, the format's limits, each with its two float32 neighbours, and float32's own limits.
inline std::vector<uint32_t> boundaries(kv8_dtype dtype) {
    const Format f = format_of(dtype), f32 = format_of(KV8_F32);
    std::vector<uint32_t> points;
    const auto add = [&](uint32_t bits) {
        for (int d = -1; d <= 1; d++)
            if (bits + d <= 0x7F800000u) points.push_back(bits + d);
    };
    for (uint32_t code = 0; code <= f.max(); code++) {
        add(encode(f32, decode(f, code)));
        if (code < f.max()) add(encode(f32, midpoint(decode(f, code), decode(f, code + 1))));
    }
    Number beyond = decode(f, f.max());  // where rounding without saturation would leave the format
    beyond.mantissa = 2 * beyond.mantissa + 1;
    beyond.exponent--;
    add(encode(f32, beyond));
    for (uint32_t bits : {0x00000001u, 0x007FFFFFu, 0x00800000u, 0x7F7FFFFFu, 0x7F800000u}) add(bits);
    for (uint32_t bits : {0x7F800001u, 0x7FBFFFFFu, 0x7FC00000u, 0x7FFFFFFFu}) points.push_back(bits);  // NaN payloads
    return points;
}

}  // namespace exact
