// Registers of pairs of bfloat16, whose products an instruction adds to a register of float32: VDPBF16PS on x86, BFDOT on NEON.
// KV8_PAIRS says whether the instruction set of this file has them.
//
// A product of two bfloat16 has 16 bits of significand, so float32 holds it exactly; the sums are float32's. Subnormal bfloat16
// count as zero, below 2^-126, and so do subnormal sums. FP8 codes of all formats are normal bfloat16 numbers, subnormal codes too.
#pragma once

#include "cpu/registers.h"
#include "cpu/row_io.h"

#if (defined(__AVX512BF16__) && defined(__AVX512VBMI__)) || \
    (defined(KV8_NEON) && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC))
#define KV8_PAIRS 1
#else
#define KV8_PAIRS 0
#endif

namespace kv8::cpu::KV8_ISA {

constexpr bool kPairs = KV8_PAIRS;

#if KV8_PAIRS

constexpr int kPairElements = 2 * kWidth;  // of a register

typedef uint32_t rp __attribute__((vector_size(kWidth * 4)));

// kPairElements of a row from `from` on; or only the first kWidth, and zeros, where the row's rest is shorter.
template <int Elements = kPairElements>
KV8_INLINE rp load_pairs(const uint8_t* from) {
#if defined(__AVX512F__)
    if constexpr (Elements < kPairElements)
        return (rp)_mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#else
    static_assert(Elements == kPairElements, "head sizes are multiples of it");
#endif
    return load<rp>(from);
}

// sums[i] + a[i].first * b[i].first + a[i].second * b[i].second
KV8_INLINE rf add_products(rf sums, rp a, rp b) {
#if defined(__AVX512F__)
    return (rf)_mm512_dpbf16_ps((__m512)sums, (__m512bh)a, (__m512bh)b);
#else
    return (rf)vbfdotq_f32((float32x4_t)sums, (bfloat16x8_t)a, (bfloat16x8_t)b);
#endif
}

// A pair that is multiplied with all lanes: NEON's instruction takes it from one lane, x86's wants it in each.
#if defined(__AVX512F__)
typedef rp SharedPair;
#else
typedef bfloat16x4_t SharedPair;
#endif
KV8_INLINE SharedPair shared_pair(const void* from) {
#if defined(__AVX512F__)
    return rp{} + load<uint32_t>(from);
#else
    return (SharedPair)uint32x2_t{load<uint32_t>(from), 0};
#endif
}

// sums[i] + a.first * b[i].first + a.second * b[i].second
KV8_INLINE rf add_shared_products(rf sums, SharedPair a, rp b) {
#if defined(__AVX512F__)
    return add_products(sums, a, b);
#else
    return (rf)vbfdotq_lane_f32((float32x4_t)sums, (bfloat16x8_t)b, a, 0);
#endif
}

// Pairs (a, b) of the elements [0, kWidth) of two registers, and of the elements [kWidth, kPairElements).
KV8_INLINE rp pair_first(rp a, rp b) {
#if defined(__AVX512F__)
    const __m512i from = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                          37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    return (rp)_mm512_permutex2var_epi16((__m512i)a, from, (__m512i)b);
#else
    return (rp)vzip1q_u16((uint16x8_t)a, (uint16x8_t)b);
#endif
}
KV8_INLINE rp pair_second(rp a, rp b) {
#if defined(__AVX512F__)
    const __m512i from = _mm512_set_epi16(63, 31, 62, 30, 61, 29, 60, 28, 59, 27, 58, 26, 57, 25, 56, 24, 55, 23, 54,
                                          22, 53, 21, 52, 20, 51, 19, 50, 18, 49, 17, 48, 16);
    return (rp)_mm512_permutex2var_epi16((__m512i)a, from, (__m512i)b);
#else
    return (rp)vzip2q_u16((uint16x8_t)a, (uint16x8_t)b);
#endif
}

// kWidth numbers rounded to bfloat16, to nearest, ties to even; returns what that takes from them.
KV8_INLINE rf store_bfloats(void* to, rf x) {
#if defined(__AVX512F__)
    const __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)x);
    store(to, rounded);
    return x - (rf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16);
#else
    const bfloat16x4_t rounded = vcvt_bf16_f32((float32x4_t)x);
    store(to, rounded);
    return x - (rf)vcvt_f32_bf16(rounded);
#endif
}

// The bfloat16 of the first codes without a sign, low bytes and high bytes.
template <class Format, int Codes>
struct BFloatTable {
    alignas(64) uint8_t low[Codes];
    alignas(64) uint8_t high[Codes];

    constexpr BFloatTable() : low(), high() {
        for (int code = 0; code < Codes; code++) {
            const uint32_t bits = fp8::bits_of(fp8::decode<Format>(uint8_t(code)));
            low[code] = uint8_t(bits >> 16);
            high[code] = uint8_t(bits >> 24);
        }
    }
};

// Rows of codes as rows of bfloat16, one after the other, while as many others are asked for.
#if defined(__AVX512F__)
// 64 codes by two look-ups in a table of 128 bytes.
template <class Format>
void widen_to_bfloat(const uint8_t* const* rows, const uint8_t* const* asked, int count, int head_size, uint8_t* wide) {
    static constexpr BFloatTable<Format, 128> kTable;
    const __m512i low_table[2] = {load<__m512i>(kTable.low), load<__m512i>(kTable.low + 64)};
    const __m512i high_table[2] = {load<__m512i>(kTable.high), load<__m512i>(kTable.high + 64)};
    // Bytes are joined to words within 16 bytes, the lower 8 of all first.
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __m512i sign = _mm512_set1_epi8(char(0x80));
    for (int i = 0; i < count; i++) {
        for (int d = 0; d < head_size; d += 64, wide += 128) {
            __builtin_prefetch(asked[i] + d);
            const int rest = head_size - d;
            const __mmask64 in_row = rest >= 64 ? ~uint64_t(0) : (uint64_t(1) << rest) - 1;
            const __m512i codes = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi8(in_row, rows[i] + d));
            __m512i low = _mm512_permutex2var_epi8(low_table[0], codes, low_table[1]);  // by the lower 7 bits
            __m512i high = _mm512_permutex2var_epi8(high_table[0], codes, high_table[1]);
            high = _mm512_ternarylogic_epi64(high, codes, sign, 0xF8);  // high | (codes & sign)
            if constexpr (Format::fnuz) {
                const __mmask64 nan = _mm512_cmpeq_epi8_mask(codes, sign);
                low = _mm512_mask_mov_epi8(low, nan, _mm512_set1_epi8(char(0xC0)));
                high = _mm512_mask_mov_epi8(high, nan, _mm512_set1_epi8(0x7F));
            }
            _mm512_mask_storeu_epi16(wide, __mmask32(in_row), _mm512_unpacklo_epi8(low, high));
            _mm512_mask_storeu_epi16(wide + 64, __mmask32(in_row >> 32), _mm512_unpackhi_epi8(low, high));
        }
        wide -= (64 - head_size % 64) % 64 * 2;
    }
}
#else
// A normal code's bfloat16 is the code and a constant, shifted, which bytes do as well. Subnormal codes and zero are looked up: a
// table of 16 bytes takes one instruction of every processor, one of 128 bytes eight of some.
template <class Format>
void widen_to_bfloat(const uint8_t* const* rows, const uint8_t* const* asked, int count, int head_size, uint8_t* wide) {
    static constexpr BFloatTable<Format, 16> kTable;
    constexpr int kShift = 7 - Format::mantissa_bits, kRebias = fp8::Derived<Format>::rebias;
    constexpr uint8_t kLowRebias = kRebias & (0xFF >> kShift), kHighRebias = kRebias >> (8 - kShift);
    const auto low_table = load<uint8x16_t>(kTable.low), high_table = load<uint8x16_t>(kTable.high);
    for (int i = 0; i < count; i++) {
        const uint8_t* const row = rows[i];
        KV8_UNROLL(2)
        for (int d = 0; d < head_size; d += 16, wide += 32) {
            if (d % 64 == 0) __builtin_prefetch(asked[i] + d);
            const auto codes = load<uint8x16_t>(row + d);
            const uint8x16_t magnitude = codes & 0x7F, number = magnitude + kLowRebias;
            uint8x16_t low = vqtbx1q_u8(number << kShift, low_table, magnitude);
            uint8x16_t high = vqtbx1q_u8((number >> (8 - kShift)) + kHighRebias, high_table, magnitude);
            const auto special = (uint8x16_t)(Format::fnuz ? codes == 0x80 : magnitude > Format::max_code);
            if constexpr (Format::fnuz) low |= special;
            high = vbslq_u8(vdupq_n_u8(0x7F), high | special, codes);  // the sign is the code's
            store(wide, vzip1q_u8(low, high));
            store(wide + 16, vzip2q_u8(low, high));
        }
    }
}
#endif

#endif

}  // namespace kv8::cpu::KV8_ISA
