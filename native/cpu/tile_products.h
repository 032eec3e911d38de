// The two products of attention over a chunk of keys, q.k and p.v, with rows of K and V in one of the forms of row_forms.h.
// Query rows are taken several at a time so that a loaded and converted key serves them all; each result is formed in the
// same order however many rows or keys stand beside it.
#pragma once

#include "cpu/row_forms.h"

namespace kv8::cpu::KV8_ISA {

// Of float32 rows, which need no register for a conversion, sixteen registers hold twelve sums: two multiplications can begin in each
// cycle, whose results come four cycles later, and of eight sums each would have to be ready just in time.
constexpr int kManyRows = kSums == 8 ? 3 : 4, kAtOnceOfMany = 4;

// scores[r][key] = q[r] . k[key]:  q [Rows][head_size], `count` keys, `Keys` at a time, scores [Rows][kTileKeys].
template <class Form, int Rows, int Keys = kSums / Rows>
KV8_INLINE void dot_rows(const float* q, const uint8_t* const* k, int count, int head_size, float* scores) {
    for (int first = 0; first < count; first += Keys) {
        rf sums[Rows * Keys] = {};
        for (int d = 0; d < head_size; d += kWidth) {
            rf queries[Rows];
            for (int r = 0; r < Rows; r++) queries[r] = kept(load<rf>(q + r * head_size + d));
            for (int i = 0; i < Keys; i++) {
                const rf key = kept(Form::load(k[first + i] + d * Form::bytes));
                for (int r = 0; r < Rows; r++) sums[r * Keys + i] = fused(queries[r], key, sums[r * Keys + i]);
            }
        }
        float totals[Rows * Keys];
        sums_of<Rows * Keys>(sums, totals);
        for (int r = 0; r < Rows; r++) std::memcpy(scores + r * kTileKeys + first, totals + r * Keys, Keys * 4);
    }
}

// body(some, r) for all rows, `some` at a time from row r on; it is a constant.
template <class Form, class Body>
KV8_INLINE void by_rows(int rows, const Body& body) {
    int r = 0;
    const auto take = KV8_LAMBDA(auto some) {
        for (; rows - r >= some; r += some) body(some, r);
    };
    if constexpr (std::is_same_v<Form, FloatForm> && kManyRows != 4)
        for (; rows - r > 4 || rows - r == kManyRows; r += kManyRows) body(std::integral_constant<int, kManyRows>{}, r);
    take(std::integral_constant<int, 4>{});
    take(std::integral_constant<int, 2>{});
    take(std::integral_constant<int, 1>{});
}

// All rows; `count` is a multiple of kSums.
template <class Form>
KV8_INLINE void dot_chunk(const float* q, int rows, const uint8_t* const* k, int count, int head_size, float* scores) {
    by_rows<Form>(
        rows, KV8_LAMBDA(auto some, int r) {
            constexpr int kKeys = some == kManyRows ? kAtOnceOfMany : kSums / some;
            dot_rows<Form, some, kKeys>(q + r * head_size, k, count, head_size, scores + r * kTileKeys);
        });
}

// sums[r] += sum over `count` keys of p[r][key] * v[key], for `Registers` registers of each row from column d on.
template <class Form, int Rows, int Registers>
KV8_INLINE void accumulate_columns(const float* p, const uint8_t* const* v, int count, int head_size, int d,
                                   float* sums) {
    rf totals[Rows][Registers];
    KV8_UNROLL(16)
    for (int r = 0; r < Rows; r++) {
        KV8_UNROLL(16)
        for (int i = 0; i < Registers; i++) totals[r][i] = load<rf>(sums + r * head_size + d + i * kWidth);
    }
    KV8_UNROLL(2)
    for (int key = 0; key < count; key++) {
        const uint8_t* const from = v[key] + d * Form::bytes;
        rf weights[Rows];
        for (int r = 0; r < Rows; r++) weights[r] = kept(all(p[r * kTileKeys + key]));
        for (int i = 0; i < Registers; i++) {
            const rf value = kept(Form::load(from + i * kWidth * Form::bytes));
            for (int r = 0; r < Rows; r++) totals[r][i] = fused(weights[r], value, totals[r][i]);
        }
    }
    KV8_UNROLL(16)
    for (int r = 0; r < Rows; r++) {
        KV8_UNROLL(16)
        for (int i = 0; i < Registers; i++) store(sums + r * head_size + d + i * kWidth, totals[r][i]);
    }
}

// All columns from d on, as many registers at a time as fit.
template <class Form, int Rows, int Registers>
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
    by_rows<Form>(
        rows, KV8_LAMBDA(auto some, int r) {
            constexpr int kRegisters = some == kManyRows ? kAtOnceOfMany : kSums / some;
            accumulate_rows<Form, some, kRegisters>(p + r * kTileKeys, v, count, head_size, sums + r * head_size);
        });
}

}  // namespace kv8::cpu::KV8_ISA
