// The two products of attention over one tile of keys, q.k and p.v, on float32 rows in the first-level cache. Rows are
// taken several at a time so that a loaded key serves them all; each result is formed in the same order however many
// rows or keys stand beside it.
#pragma once

#include "cpu/kv_tile.h"
#include "cpu/registers.h"

namespace kv8::cpu::KV8_ISA {

// scores[r][key] = q[r] . k[key]:  q [Rows][head_size], k [16][head_size], scores [Rows][16].
template <int Rows>
KV8_INLINE void dot_rows(const float* q, const float* k, int head_size, float* scores) {
    constexpr int kKeys = kSums / Rows;
    for (int key = 0; key < kTileKeys; key += kKeys) {
        rf sums[kSums] = {};
        for (int d = 0; d < head_size; d += kWidth) {
            rf keys[kKeys];
            for (int i = 0; i < kKeys; i++) keys[i] = load<rf>(k + (key + i) * head_size + d);
            for (int r = 0; r < Rows; r++) {
                const rf query = load<rf>(q + r * head_size + d);
                for (int i = 0; i < kKeys; i++) sums[r * kKeys + i] = fused(query, keys[i], sums[r * kKeys + i]);
            }
        }
        float totals[kSums];
        sums_of(sums, totals);
        for (int r = 0; r < Rows; r++) std::memcpy(scores + r * kTileKeys + key, totals + r * kKeys, kKeys * 4);
    }
}

inline void dot_tile(const float* q, int rows, const float* k, int head_size, float* scores) {
    int r = 0;
    for (; r + 4 <= rows; r += 4) dot_rows<4>(q + r * head_size, k, head_size, scores + r * kTileKeys);
    if (r + 2 <= rows) {
        dot_rows<2>(q + r * head_size, k, head_size, scores + r * kTileKeys);
        r += 2;
    }
    if (r < rows) dot_rows<1>(q + r * head_size, k, head_size, scores + r * kTileKeys);
}

// sums[r] = sums[r] * decay[r] + sum over keys in [first, last) of p[r][key] * v[key], for `Registers` registers of
// each row.
template <int Rows, int Registers>
KV8_INLINE void accumulate_columns(const float* p, const float* v, int first, int last, int head_size,
                                   const float* decay, float* sums) {
    rf total[Rows][Registers];
    for (int r = 0; r < Rows; r++)
        for (int i = 0; i < Registers; i++) total[r][i] = load<rf>(sums + r * head_size + i * kWidth) * decay[r];
    for (int key = first; key < last; key++) {
        rf value[Registers];
        for (int i = 0; i < Registers; i++) value[i] = load<rf>(v + key * head_size + i * kWidth);
        for (int r = 0; r < Rows; r++) {
            const rf weight = all(p[r * kTileKeys + key]);
            for (int i = 0; i < Registers; i++) total[r][i] = fused(weight, value[i], total[r][i]);
        }
    }
    for (int r = 0; r < Rows; r++)
        for (int i = 0; i < Registers; i++) store(sums + r * head_size + i * kWidth, total[r][i]);
}

// All columns, as many registers at a time as fit.
template <int Rows, int Registers = kSums / Rows>
KV8_INLINE void accumulate_rows(const float* p, const float* v, int first, int last, int head_size, int columns,
                                const float* decay, float* sums) {
    int d = 0;
    for (; d + Registers * kWidth <= columns; d += Registers * kWidth)
        accumulate_columns<Rows, Registers>(p, v + d, first, last, head_size, decay, sums + d);
    if constexpr (Registers > 1)
        if (d < columns)
            accumulate_rows<Rows, Registers / 2>(p, v + d, first, last, head_size, columns - d, decay, sums + d);
}

// p [rows][16], v [16][head_size], decay [rows], sums [rows][head_size].
inline void accumulate_tile(const float* p, int rows, const float* v, int first, int last, int head_size,
                            const float* decay, float* sums) {
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        accumulate_rows<4>(p + r * kTileKeys, v, first, last, head_size, head_size, decay + r, sums + r * head_size);
    if (r + 2 <= rows) {
        accumulate_rows<2>(p + r * kTileKeys, v, first, last, head_size, head_size, decay + r, sums + r * head_size);
        r += 2;
    }
    if (r < rows)
        accumulate_rows<1>(p + r * kTileKeys, v, first, last, head_size, head_size, decay + r, sums + r * head_size);
}

}  // namespace kv8::cpu::KV8_ISA
