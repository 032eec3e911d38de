// The two products of attention over a chunk of keys, q.k and p.v, with rows of K and V in one of the forms of row_forms.h.
// Query rows are taken several at a time so that a loaded and converted key serves them all; each result is formed in the
// same order however many rows or keys stand beside it.
#pragma once

#include "cpu/row_forms.h"

namespace kv8::cpu::KV8_ISA {

// How many keys the products with so many query rows take at a time.
constexpr int keys_at_a_time(int rows) { return kSums / rows; }

// scores[r][key] = q[r] . k[key]:  q [Rows][head_size], `count` keys, scores [Rows][kTileKeys].
template <class Form, int Rows>
KV8_INLINE void dot_rows(const float* q, const uint8_t* const* k, int count, int head_size, float* scores) {
    constexpr int kKeys = keys_at_a_time(Rows);
    for (int key = 0; key < count; key += kKeys) {
        rf sums[kSums] = {};
        for (int d = 0; d < head_size; d += kWidth) {
            if constexpr (Rows == 1) {
                // A key is used as soon as it is read: all of them and the sums do not fit the registers.
                const rf query = kept(load<rf>(q + d));
                for (int i = 0; i < kKeys; i++)
                    sums[i] = fused(query, Form::load(k[key + i] + d * Form::bytes), sums[i]);
                continue;
            }
            rf keys[kKeys];
            for (int i = 0; i < kKeys; i++) keys[i] = Form::load(k[key + i] + d * Form::bytes);
            for (int r = 0; r < Rows; r++) {
                const rf query = kept(load<rf>(q + r * head_size + d));
                for (int i = 0; i < kKeys; i++) sums[r * kKeys + i] = fused(query, keys[i], sums[r * kKeys + i]);
            }
        }
        float totals[kSums];
        sums_of(sums, totals);
        for (int r = 0; r < Rows; r++) std::memcpy(scores + r * kTileKeys + key, totals + r * kKeys, kKeys * 4);
    }
}

// All rows; `count` is a multiple of kSums.
template <class Form>
KV8_INLINE void dot_chunk(const float* q, int rows, const uint8_t* const* k, int count, int head_size, float* scores) {
    int r = 0;
    for (; r + 4 <= rows; r += 4) dot_rows<Form, 4>(q + r * head_size, k, count, head_size, scores + r * kTileKeys);
    if (r + 2 <= rows) {
        dot_rows<Form, 2>(q + r * head_size, k, count, head_size, scores + r * kTileKeys);
        r += 2;
    }
    if (r < rows) dot_rows<Form, 1>(q + r * head_size, k, count, head_size, scores + r * kTileKeys);
}

// sums[r] += sum over `count` keys of p[r][key] * v[key], for `Registers` registers of each row from column d on.
template <class Form, int Rows, int Registers>
KV8_INLINE void accumulate_columns(const float* p, const uint8_t* const* v, int count, int head_size, int d,
                                   float* sums) {
    rf total[Rows][Registers];
    for (int r = 0; r < Rows; r++)
        for (int i = 0; i < Registers; i++) total[r][i] = load<rf>(sums + r * head_size + d + i * kWidth);
    for (int key = 0; key < count; key++) {
        if constexpr (Rows == 1) {
            const uint8_t* const from = v[key] + d * Form::bytes;
            const rf weight = kept(all(p[key]));
            for (int i = 0; i < Registers; i++)
                total[0][i] = fused(weight, Form::load(from + i * kWidth * Form::bytes), total[0][i]);
            continue;
        }
        rf value[Registers];
        for (int i = 0; i < Registers; i++) value[i] = Form::load(v[key] + (d + i * kWidth) * Form::bytes);
        for (int r = 0; r < Rows; r++) {
            const rf weight = all(p[r * kTileKeys + key]);
            for (int i = 0; i < Registers; i++) total[r][i] = fused(weight, value[i], total[r][i]);
        }
    }
    for (int r = 0; r < Rows; r++)
        for (int i = 0; i < Registers; i++) store(sums + r * head_size + d + i * kWidth, total[r][i]);
}

// All columns from d on, as many registers at a time as fit.
template <class Form, int Rows, int Registers = kSums / Rows>
KV8_INLINE void accumulate_rows(const float* p, const uint8_t* const* v, int count, int head_size, float* sums,
                                int d = 0) {
    for (; d + Registers * kWidth <= head_size; d += Registers * kWidth)
        accumulate_columns<Form, Rows, Registers>(p, v, count, head_size, d, sums);
    if constexpr (Registers > 1)
        if (d < head_size) accumulate_rows<Form, Rows, Registers / 2>(p, v, count, head_size, sums, d);
}

// p [rows][kTileKeys], sums [rows][head_size].
template <class Form>
KV8_INLINE void accumulate_chunk(const float* p, int rows, const uint8_t* const* v, int count, int head_size,
                                 float* sums) {
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        accumulate_rows<Form, 4>(p + r * kTileKeys, v, count, head_size, sums + r * head_size);
    if (r + 2 <= rows) {
        accumulate_rows<Form, 2>(p + r * kTileKeys, v, count, head_size, sums + r * head_size);
        r += 2;
    }
    if (r < rows) accumulate_rows<Form, 1>(p + r * kTileKeys, v, count, head_size, sums + r * head_size);
}

}  // namespace kv8::cpu::KV8_ISA
