// Products of rows with a weight matrix that lies in memory as a checkpoint has it, [outputs][inputs]. What bounds few rows is
// reading the weights, so these are read once from memory, in order, whatever their type, and transposed in registers: an output is a
// lane. Several rows take the weights from there at once; the next ones read them again, from a cache. Such rows are laid side by side
// first: rows of 4 KiB, each on its own, would want the same few lines of the first-level cache.
//
// A result's bits are those of its own row and weights alone. It is the sum, one after the other, of partial sums of sum_length
// inputs each, and a partial sum adds one product after the other, fused where the hardware can. GEMM libraries that keep an
// output in a lane add so too, with a length of their own, so that their products of many rows can be equal bit for bit.
#pragma once

#include <algorithm>

#include "cpu/registers.h"
#include "cpu/row_io.h"

namespace kv8::cpu::KV8_ISA {

constexpr int kBlockOutputs = kWidth;  // computed together, an output in a lane

constexpr int kRowsAtOnce = 8;  // whose sums stay in registers: as many as two FMA units with a latency of four need

typedef uint32_t ru __attribute__((vector_size(kWidth * 4)));

// Lanes of a and b within each 16 bytes: a0 b0 a1 b1, a2 b2 a3 b3; and halves: a01 b01, a23 b23.
KV8_INLINE ru low_words(ru a, ru b) {
#if defined(__AVX512F__)
    return (ru)_mm512_unpacklo_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (ru)_mm256_unpacklo_epi32((__m256i)a, (__m256i)b);
#else
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
KV8_INLINE ru high_words(ru a, ru b) {
#if defined(__AVX512F__)
    return (ru)_mm512_unpackhi_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (ru)_mm256_unpackhi_epi32((__m256i)a, (__m256i)b);
#else
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}
KV8_INLINE ru low_pairs(ru a, ru b) {
#if defined(__AVX512F__)
    return (ru)_mm512_unpacklo_epi64((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (ru)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b);
#else
    return __builtin_shufflevector(a, b, 0, 1, 4, 5);
#endif
}
KV8_INLINE ru high_pairs(ru a, ru b) {
#if defined(__AVX512F__)
    return (ru)_mm512_unpackhi_epi64((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (ru)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b);
#else
    return __builtin_shufflevector(a, b, 2, 3, 6, 7);
#endif
}

// Sixteen bytes of each of rows 0, 4, 8, ... side by side.
KV8_INLINE ru every_fourth(const uint8_t* const* rows, int64_t offset) {
#if defined(__AVX512F__)
    __m512i r = _mm512_castsi128_si512(load<__m128i>(rows[0] + offset));
    r = _mm512_inserti32x4(r, load<__m128i>(rows[4] + offset), 1);
    r = _mm512_inserti32x4(r, load<__m128i>(rows[8] + offset), 2);
    return (ru)_mm512_inserti32x4(r, load<__m128i>(rows[12] + offset), 3);
#elif defined(__AVX2__)
    const __m256i r = _mm256_castsi128_si256(load<__m128i>(rows[0] + offset));
    return (ru)_mm256_inserti128_si256(r, load<__m128i>(rows[4] + offset), 1);
#else
    return load<ru>(rows[0] + offset);
#endif
}

// words[i][row] = word i of sixteen bytes of each of kWidth rows.
KV8_INLINE void transpose(const uint8_t* const* rows, int64_t offset, ru* words) {
    const ru a = every_fourth(rows, offset), b = every_fourth(rows + 1, offset), c = every_fourth(rows + 2, offset),
             d = every_fourth(rows + 3, offset);
    const ru ab01 = low_words(a, b), ab23 = high_words(a, b), cd01 = low_words(c, d), cd23 = high_words(c, d);
    words[0] = low_pairs(ab01, cd01);
    words[1] = high_pairs(ab01, cd01);
    words[2] = low_pairs(ab23, cd23);
    words[3] = high_pairs(ab23, cd23);
}

// wide[input][row] of kWidth weight rows from input `first` on, as many inputs as a step of the type has.
template <class Element>
struct WeightStep;

template <>
struct WeightStep<Float32> {
    static constexpr int kInputs = 4;
    static KV8_INLINE void widen(const uint8_t* const* rows, int64_t first, rf* wide) {
        ru words[4];
        transpose(rows, first * 4, words);
        for (int i = 0; i < 4; i++) wide[i] = (rf)words[i];
    }
};

// A word is two neighbours: the lower half is the first.
template <>
struct WeightStep<BFloat16> {
    static constexpr int kInputs = 8;
    static KV8_INLINE void widen(const uint8_t* const* rows, int64_t first, rf* wide) {
        ru words[4];
        transpose(rows, first * 2, words);
        for (int i = 0; i < 4; i++) {
            wide[2 * i] = (rf)(words[i] << 16);
            wide[2 * i + 1] = (rf)(words[i] & 0xffff0000u);
        }
    }
};

template <>
struct WeightStep<Float16> {
    static constexpr int kInputs = 16;
    static KV8_INLINE void widen(const uint8_t* const* rows, int64_t first, rf* wide) {
        float values[kWidth][16];
        const uint8_t* value_rows[kWidth];
        for (int r = 0; r < kWidth; r++) {
            store(values[r], Float16::load(rows[r] + first * 2));
            value_rows[r] = reinterpret_cast<const uint8_t*>(values[r]);
        }
        for (int i = 0; i < 16; i += 4) WeightStep<Float32>::widen(value_rows, i, wide + i);
    }
};

// One of the last inputs, fewer than a step. Not inline, as store_outputs, because they would be so for each type and number of rows.
template <class Element>
__attribute__((noinline)) rf widen_one(const uint8_t* const* rows, int64_t input) {
    rf wide;
    for (int r = 0; r < kWidth; r++) wide[r] = load_part<Element>(rows[r] + input * Element::bytes, 1)[0];
    return wide;
}

// The weights of a block of outputs. Behind the last output comes the last one again.
template <class Element>
struct WeightBlock {
    const uint8_t* rows[kBlockOutputs];
    const uint8_t* next;  // block

    WeightBlock(const kv8_matmul_args& args, int64_t first_output) {
        const uint8_t* weights = reinterpret_cast<const uint8_t*>(args.weights.ptr);
        const int64_t row_bytes = int64_t(args.inputs) * Element::bytes;
        for (int o = 0; o < kBlockOutputs; o++)
            rows[o] = weights + std::min<int64_t>(first_output + o, args.outputs - 1) * row_bytes;
        next = weights + (first_output + kBlockOutputs) * row_bytes;
    }

    // While a step is computed, its share of the next block is asked for: in the order in which it lies there, which memory
    // serves faster than as many rows in turn.
    KV8_INLINE void ask_for_next(int64_t input) const {
        constexpr int kStepBytes = WeightStep<Element>::kInputs * Element::bytes * kBlockOutputs;
        const uint8_t* share = next + input * Element::bytes * kBlockOutputs;
        for (int i = 0; i < kStepBytes; i += 64) __builtin_prefetch(share + i, 0, 2);
    }
};

// sums[row] += x[input][row] * weight[input], over inputs [begin, end).
template <class Element, int Rows>
KV8_INLINE void add_products(const WeightBlock<Element>& block, int64_t begin, int64_t end, const float* x, rf* sums) {
    using Step = WeightStep<Element>;
    int64_t input = begin;
    for (; input + Step::kInputs <= end; input += Step::kInputs) {
        block.ask_for_next(input);
        rf wide[Step::kInputs];
        Step::widen(block.rows, input, wide);
        for (int i = 0; i < Step::kInputs; i++)
            for (int r = 0; r < Rows; r++) sums[r] = fused(all(x[(input + i) * Rows + r]), wide[i], sums[r]);
    }
    for (; input < end; input++) {
        const rf wide = widen_one<Element>(block.rows, input);
        for (int r = 0; r < Rows; r++) sums[r] = fused(all(x[input * Rows + r]), wide, sums[r]);
    }
}

// A block's outputs of one row, with their bias.
inline __attribute__((noinline)) void store_outputs(const kv8_matmul_args& args, rf total, int64_t first_output,
                                                    int64_t row) {
    float sums[kBlockOutputs];
    store(sums, total);
    const int outputs = int(std::min<int64_t>(kBlockOutputs, args.outputs - first_output));
    const float* bias = reinterpret_cast<const float*>(args.bias.ptr);
    if (bias != nullptr)
        for (int o = 0; o < outputs; o++) sums[o] += bias[first_output + o];
    std::memcpy(row_at(args.y, row, 0) + first_output * 4, sums, size_t(outputs) * 4);
}

// A block's outputs of `Rows` rows, x[input][row].
template <class Element, int Rows>
void multiply_rows(const kv8_matmul_args& args, const WeightBlock<Element>& block, int64_t first_output,
                   int64_t first_row, const float* x) {
    const int64_t length = args.sum_length > 0 ? args.sum_length : args.inputs;
    rf total[Rows] = {};
    for (int64_t begin = 0; begin < args.inputs; begin += length) {
        rf partial[Rows] = {};
        add_products<Element, Rows>(block, begin, std::min<int64_t>(begin + length, args.inputs), x, partial);
        for (int r = 0; r < Rows; r++) total[r] = begin == 0 ? partial[r] : total[r] + partial[r];
    }

    for (int r = 0; r < Rows; r++) store_outputs(args, total[r], first_output, first_row + r);
}

template <class Element, int Most = kRowsAtOnce>
KV8_INLINE void multiply_some(int rows, const kv8_matmul_args& args, const WeightBlock<Element>& block,
                              int64_t first_output, int64_t first_row, const float* x) {
    if constexpr (Most > 1)
        if (rows < Most) return multiply_some<Element, Most - 1>(rows, args, block, first_output, first_row, x);
    multiply_rows<Element, Most>(args, block, first_output, first_row, x);
}

// Calls body(first row, rows) for rows that are multiplied at once: all, shared out evenly, for one sum alone would wait for
// itself.
template <class Body>
KV8_INLINE void for_rows_at_once(int64_t tokens, const Body& body) {
    const int64_t passes = (tokens + kRowsAtOnce - 1) / kRowsAtOnce;
    for (int64_t pass = 0, row = 0; pass < passes; pass++) {
        const int64_t next_row = tokens * (pass + 1) / passes;
        body(row, int(next_row - row));
        row = next_row;
    }
}

// Inputs [begin, end) of all rows, those of rows at once beside each other: side_by_side[rows before * inputs][input][row].
inline void lay_side_by_side(const kv8_matmul_args& args, int64_t begin, int64_t end, float* side_by_side) {
    for_rows_at_once(
        args.tokens, KV8_LAMBDA(int64_t first, int rows) {
            for (int r = 0; r < rows; r++) {
                const float* x = reinterpret_cast<const float*>(row_at(args.x, first + r, 0));
                for (int64_t i = begin; i < end; i++) side_by_side[first * args.inputs + i * rows + r] = x[i];
            }
        });
}

// Blocks [begin, end) of outputs, of all rows.
inline void multiply_blocks(const kv8_matmul_args& args, const float* side_by_side, int64_t begin, int64_t end) {
    with_row_dtype(args.weights_dtype, [&](auto element) {
        for (int64_t output = begin * kBlockOutputs; output < end * kBlockOutputs; output += kBlockOutputs) {
            const WeightBlock<decltype(element)> block(args, output);
            for_rows_at_once(
                args.tokens, KV8_LAMBDA(int64_t first, int rows) {
                    multiply_some<decltype(element)>(rows, args, block, output, first,
                                                     side_by_side + first * args.inputs);
                });
        }
    });
}

}  // namespace kv8::cpu::KV8_ISA
