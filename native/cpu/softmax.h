// The functions that softmax and softcap need, on registers of float32.
#pragma once

#include "cpu/registers.h"

namespace kv8::cpu::KV8_ISA {

// e^x for x <= 0, within 2 ulp; 0 below -87.33, where the result would be subnormal, and for -inf; NaN for NaN.
KV8_INLINE rf exp_of_negative(rf x) {
    // Adding 1.5 * 2^23 leaves the nearest integer n of x / ln 2 in the low bits; the rest of x is at most ln(2) / 2.
    const rf ruler = all(12582912.0f);
    const rf shifted = fused(x, all(1.44269504088896341f), ruler);
    const rf n = shifted - ruler;
    rf r = fused(n, all(-0.693359375f), x);
    r = fused(n, all(2.12194440e-4f), r);
    // Minimax polynomial of degree 5 for (e^r - 1 - r) / r^2 (Cephes, expf).
    rf p = all(1.9875691500e-4f);
    p = fused(p, r, all(1.3981999507e-3f));
    p = fused(p, r, all(8.3334519073e-3f));
    p = fused(p, r, all(4.1665795894e-2f));
    p = fused(p, r, all(1.6666665459e-1f));
    p = fused(p, r, all(5.0000001201e-1f));
    p = fused(p, r * r, r) + 1.0f;
    typedef uint32_t ru __attribute__((vector_size(kWidth * 4)));
    const ru power = (bits<ru>(shifted) - bits<ru>(ruler) + 127u) << 23;
    return x < all(-87.33f) ? rf{} : p * bits<rf>(power);
}

// 2^x for x <= 0, within 2 ulp, and 1 where products are fused; 0 below -126, where the result would be subnormal, and for -inf; NaN for NaN.
KV8_INLINE rf exp2_of_negative(rf x) {
    // The sum's low bits are float32's exponent field of 2^n, n being the integer nearest to x.
    const rf ruler = all(12582912.0f + 127.0f);
    const rf shifted = x + ruler;
    const rf r = x - (shifted - ruler);
    // Minimax polynomial of degree 5 for (2^r - 1) / r on [-1/2, 1/2], by relative error of 2^r: 2e-9 before rounding.
    rf p = all(1.5353362e-4f);
    p = fused(p, r, all(1.3398875e-3f));
    p = fused(p, r, all(9.6184369e-3f));
    p = fused(p, r, all(5.5503324e-2f));
    p = fused(p, r, all(2.4022648e-1f));
    p = fused(p, r, all(6.9314718e-1f));
    p = fused(p, r, all(1.0f));
    return x < all(-126.0f) ? rf{} : p * bits<rf>(bits<ri>(shifted) << 23);
}

// tanh(x), within 3 ulp.
KV8_INLINE rf tanh_of(rf x) {
    const rf magnitude = bits<rf>(bits<ri>(x) & 0x7fffffff);
    const rf z = x * x;
    // Near 0 an odd polynomial (Cephes, tanhf), where 1 - e^-2x would cancel.
    rf p = all(-5.70498872745e-3f);
    p = fused(p, z, all(2.06390887954e-2f));
    p = fused(p, z, all(-5.37397155531e-2f));
    p = fused(p, z, all(1.33314422036e-1f));
    p = fused(p, z, all(-3.33332819422e-1f));
    const rf near = fused(p * z, x, x);
    const rf e = exp_of_negative(magnitude * -2.0f);
    const rf far = bits<rf>(bits<ri>((1.0f - e) / (1.0f + e)) | (bits<ri>(x) & (ri{} + INT32_MIN)));
    return magnitude < all(0.625f) ? near : far;
}

}  // namespace kv8::cpu::KV8_ISA
