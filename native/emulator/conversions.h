// Numbers of 16 bits by integer arithmetic: one rounding, to nearest even, whatever the host's processor is.
#pragma once

#include <cstdint>

#include "fp8/fp8.h"

namespace kv8::emulator {

using fp8::bits_of;
using fp8::float_of;

constexpr uint16_t kNanF16 = 0x7E00, kNanBf16 = 0x7FC0;

// Without branches: the compiler widens several at once.
constexpr float widen_f16(uint16_t x) {
    const uint32_t magnitude = (x & 0x7FFFu) << 13, special = -uint32_t(magnitude >= 0x0F800000u) & fp8::kFloatInfinity;
    // The exponent's bias grows by 112, which makes subnormals whole too.
    return float_of(bits_of(float_of(magnitude) * 0x1p112f) | special | uint32_t(x & 0x8000u) << 16);
}

constexpr uint16_t narrow_f16(float x) {
    const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > fp8::kFloatInfinity) return kNanF16;
    if (magnitude >= 0x477FF000u) return uint16_t(sign | 0x7C00u);  // from half a unit beyond 65504: infinity
    if (magnitude >= 0x38800000u)
        return uint16_t(sign | (((magnitude + 0xFFFu + (magnitude >> 13 & 1u)) >> 13) - 0x1C000u));
    // Subnormal, in units of 2^-24: one of float32's additions rounds it, for 0.5 has that unit.
    return uint16_t(sign | (bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f)));
}

constexpr float widen_bf16(uint16_t x) { return float_of(uint32_t(x) << 16); }

constexpr uint16_t narrow_bf16(float x) {
    const uint32_t bits = bits_of(x);
    if ((bits & 0x7FFFFFFFu) > fp8::kFloatInfinity) return kNanBf16;
    return uint16_t((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

constexpr uint32_t pair_of(uint16_t low, uint16_t high) { return low | uint32_t(high) << 16; }

// Two codes to two f16, exactly, and back.
template <class Format>
constexpr uint32_t widen_codes(uint32_t codes) {
    return pair_of(narrow_f16(fp8::decode<Format>(uint8_t(codes))),
                   narrow_f16(fp8::decode<Format>(uint8_t(codes >> 8))));
}
template <class Format>
constexpr uint32_t narrow_to_codes(float low, float high) {
    return fp8::encode<Format>(low) | uint32_t(fp8::encode<Format>(high)) << 8;
}

}  // namespace kv8::emulator
