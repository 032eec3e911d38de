// The two products of attention over a chunk of keys with pairs of bfloat16, beside tile_products.h: q.k takes two elements of a
// row at a time, p.v two keys. Each result is formed in the same order however many rows or keys stand beside it.
//
// A float32 that is no bfloat16 is taken as the sum of two, which costs as many products of pairs as there would be of float32,
// but no conversion of K and V: the weights always, queries where they are float16.
//
// How far off they are. K, V and the parts are bfloat16 as they are, so products are exact, and sums are float32. q of bfloat16
// is its own part; q of float16 has 11 bits, 8 go into the first part and the others fit the second. All scales come after the
// sum. So scores are as good as those of float32 products, however large. A weight's first part is off by 2^-8 of it at most, the
// second by 2^-8 of that, so out is off by 2^-16 sum p|v| and float32's sums, whatever q and the number of keys.
//
// How sums are rounded. Both instructions round twice, the sum of two products and its sum with the register: VDPBF16PS to nearest,
// BFDOT to odd (Arm Architecture Reference Manual, where FPCR.EBF is 0), which is off by less than a unit of the last place
// and not by half of one. NEON takes as many steps in p.v as with float32 products and no more in q.k, so there the bounds of
// float32's sums double: to 2^-23 of the sum at each of a split's 512 steps, 6e-5 sum p|v| if all were off the same way. What is
// subnormal, a number or a sum, is zero to both instructions: a bfloat16 cache loses values below 2^-126.
//
// A weight of one part would be off by 2^-8; sums of half floats (VFMADDPH) by 2^-11 of themselves at each of up to 32 steps in p.v,
// and in q.k by an estimated 0.01 for scores of 50. Neither stays below 2e-3.
#pragma once

#include "cpu/kv_tile.h"
#include "cpu/pairs.h"

#if KV8_PAIRS

namespace kv8::cpu::KV8_ISA {

// scores[r][key] = q[r] . k[key]:  q [Rows][Parts][head_size] and k of bfloat16, `count` keys, scores [Rows][kTileKeys].
template <int Rows, int Parts>
KV8_INLINE void dot_pair_rows(const uint8_t* q, const uint8_t* const* k, int count, int head_size, float* scores) {
    constexpr int kKeys = kSums / Rows;
    for (int key = 0; key < count; key += kKeys) {
        rf sums[kSums] = {};
        const auto add = KV8_LAMBDA(int d, const auto& load_some) {
            rp keys[kKeys];
            for (int i = 0; i < kKeys; i++) keys[i] = load_some(k[key + i] + d * 2);
            for (int r = 0; r < Rows; r++)
                for (int part = 0; part < Parts; part++) {
                    const rp query = load_some(q + ((r * Parts + part) * head_size + d) * 2);
                    for (int i = 0; i < kKeys; i++)
                        sums[r * kKeys + i] = add_products(sums[r * kKeys + i], query, keys[i]);
                }
        };
        int d = 0;
        for (; d + kPairElements <= head_size; d += kPairElements) add(d, load_pairs<>);
        if constexpr (kPairElements > kLanes)
            if (d < head_size) add(d, load_pairs<kWidth>);
        float totals[kSums];
        sums_of<kSums>(sums, totals);
        for (int r = 0; r < Rows; r++) std::memcpy(scores + r * kTileKeys + key, totals + r * kKeys, kKeys * 4);
    }
}

// All rows; `count` is a multiple of kSums.
template <int Parts>
KV8_INLINE void dot_pair_chunk(const uint8_t* q, int rows, const uint8_t* const* k, int count, int head_size,
                               float* scores) {
    const int row_bytes = Parts * head_size * 2;
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        dot_pair_rows<4, Parts>(q + r * row_bytes, k, count, head_size, scores + r * kTileKeys);
    if (r + 2 <= rows) {
        dot_pair_rows<2, Parts>(q + r * row_bytes, k, count, head_size, scores + r * kTileKeys);
        r += 2;
    }
    if (r < rows) dot_pair_rows<1, Parts>(q + r * row_bytes, k, count, head_size, scores + r * kTileKeys);
}

// Two keys' rows of V. A key that takes no part has a weight of zero and a row of zeros.
struct KeyPair {
    const uint8_t *first, *second;
};

// sums[r] += sum over `count` pairs of keys of p[r][key] * v[key], for `Registers` registers of each row from column d on. p is
// [Rows][2][kTileKeys] of bfloat16, a weight's two parts.
template <int Rows, int Registers>
KV8_INLINE void accumulate_pair_columns(const uint16_t* p, const KeyPair* v, int count, int head_size, int d,
                                        float* sums) {
    rf total[Rows][Registers];
    for (int r = 0; r < Rows; r++)
        for (int i = 0; i < Registers; i++) total[r][i] = load<rf>(sums + r * head_size + d + i * kWidth);
    for (int pair = 0; pair < count; pair++) {
        rp value[Registers];
        const uint8_t *const first = v[pair].first + d * 2, *const second = v[pair].second + d * 2;
        if constexpr (Registers == 1) {
            value[0] = pair_first(load_pairs<kWidth>(first), load_pairs<kWidth>(second));
        } else {
            for (int i = 0; i < Registers; i += 2) {
                const rp a = load_pairs<>(first + i * kWidth * 2), b = load_pairs<>(second + i * kWidth * 2);
                value[i] = pair_first(a, b);
                value[i + 1] = pair_second(a, b);
            }
        }
        for (int r = 0; r < Rows; r++) {
            const uint16_t* const weights = p + r * 2 * kTileKeys + 2 * pair;
            const SharedPair parts[2] = {shared_pair(weights), shared_pair(weights + kTileKeys)};
            for (const SharedPair& part : parts)
                for (int i = 0; i < Registers; i++) total[r][i] = add_shared_products(total[r][i], part, value[i]);
        }
    }
    for (int r = 0; r < Rows; r++)
        for (int i = 0; i < Registers; i++) store(sums + r * head_size + d + i * kWidth, total[r][i]);
}

// All columns from d on, as many registers at a time as fit beside the values'.
template <int Rows, int Registers = kSums / Rows>
KV8_INLINE void accumulate_pair_rows(const uint16_t* p, const KeyPair* v, int count, int head_size, float* sums,
                                     int d = 0) {
    for (; d + Registers * kWidth <= head_size; d += Registers * kWidth)
        accumulate_pair_columns<Rows, Registers>(p, v, count, head_size, d, sums);
    if constexpr (Registers * kWidth > kLanes)
        if (d < head_size) accumulate_pair_rows<Rows, Registers / 2>(p, v, count, head_size, sums, d);
}

// Keys [begin, end) of a tile: weights p [rows][2][kTileKeys], from the tile's first key on and zero for keys outside the range in
// the pairs at its ends, v the rows of the keys from `begin` on, sums [rows][head_size].
KV8_INLINE void accumulate_pair_chunk(const uint16_t* p, int rows, const uint8_t* const* v, int begin, int end,
                                      int head_size, float* sums) {
    static constexpr uint8_t kZeros[kMaxHeadSize * 2] = {};
    KeyPair pairs[kChunkKeys / 2 + 1];
    int count = 0;
    for (int key = begin & ~1; key < end; key += 2)
        pairs[count++] = {key < begin ? kZeros : v[key - begin], key + 1 < end ? v[key + 1 - begin] : kZeros};
    p += begin & ~1;
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        accumulate_pair_rows<4>(p + r * 2 * kTileKeys, pairs, count, head_size, sums + r * head_size);
    if (r + 2 <= rows) {
        accumulate_pair_rows<2, 8>(p + r * 2 * kTileKeys, pairs, count, head_size, sums + r * head_size);
        r += 2;
    }
    if (r < rows) accumulate_pair_rows<1, 8>(p + r * 2 * kTileKeys, pairs, count, head_size, sums + r * head_size);
}

}  // namespace kv8::cpu::KV8_ISA

#endif
