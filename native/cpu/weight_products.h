// Products of rows with a weight matrix that lies in memory as a checkpoint has it, [outputs][inputs]. What bounds few rows is
// reading the weights, so these are read once, in order, whatever their type, and transposed in registers: an output is a lane. One or two rows
// are multiplied there and then; more are served by a tile of widened weights in the first-level cache.
//
// A result's bits are those of its own row and weights alone. It is the sum, one after the other, of partial sums of sum_length
// inputs each, and a partial sum adds one product after the other, fused where the hardware can. GEMM libraries that keep an
// output in a lane add so too, with a length of their own, so that their products of many rows can be equal bit for bit.
#pragma once

#include <algorithm>

#include "cpu/registers.h"
#include "cpu/row_io.h"

namespace kv8::cpu::KV8_ISA {

constexpr int kGroups = 2;                       // of weight rows, each a register of outputs
constexpr int kBlockOutputs = kGroups * kWidth;  // computed together
constexpr int kTileInputs = 128;
constexpr int kPassRows = 32;     // that a tile serves while it is there
constexpr int kAheadBytes = 256;  // of each weight row that are asked for early
constexpr int kFewRows = 2;       // and fewer take weights from registers, without a tile

// How many rows' sums of a block stay in registers.
#if defined(__AVX512F__) || defined(KV8_NEON)
constexpr int kRowsAtOnce = 12;
#else
constexpr int kRowsAtOnce = 6;
#endif

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

// The last inputs, fewer than a step.
template <class Element>
KV8_INLINE rf widen_one(const uint8_t* const* rows, int64_t input) {
    rf wide;
    for (int r = 0; r < kWidth; r++) wide[r] = load_part<Element>(rows[r] + input * Element::bytes, 1)[0];
    return wide;
}

template <class Element>
KV8_INLINE void ask_for(const uint8_t* const* rows, int64_t input) {
    if (input * Element::bytes % 64 != 0) return;
    for (int r = 0; r < kWidth; r++) __builtin_prefetch(rows[r] + input * Element::bytes + kAheadBytes, 0, 3);
}

// sums[row][output] += sum over inputs [begin, end) of x[row][input] * weight[output][input], weights from memory to products
// in registers.
template <class Element, int Rows>
KV8_INLINE void add_products(const uint8_t* const* rows, int64_t begin, int64_t end, const float* const* x,
                             float* sums) {
    using Step = WeightStep<Element>;
    rf sum[Rows][kGroups];
    for (int r = 0; r < Rows; r++)
        for (int g = 0; g < kGroups; g++) sum[r][g] = load<rf>(sums + r * kBlockOutputs + g * kWidth);
    int64_t input = begin;
    for (; input + Step::kInputs <= end; input += Step::kInputs) {
        for (int g = 0; g < kGroups; g++) {
            ask_for<Element>(rows + g * kWidth, input);
            rf wide[Step::kInputs];
            Step::widen(rows + g * kWidth, input, wide);
            for (int i = 0; i < Step::kInputs; i++)
                for (int r = 0; r < Rows; r++) sum[r][g] = fused(all(x[r][input + i]), wide[i], sum[r][g]);
        }
    }
    for (; input < end; input++)
        for (int g = 0; g < kGroups; g++) {
            const rf wide = widen_one<Element>(rows + g * kWidth, input);
            for (int r = 0; r < Rows; r++) sum[r][g] = fused(all(x[r][input]), wide, sum[r][g]);
        }
    for (int r = 0; r < Rows; r++)
        for (int g = 0; g < kGroups; g++) store(sums + r * kBlockOutputs + g * kWidth, sum[r][g]);
}

// tile[input][output] of inputs [begin, end).
template <class Element>
KV8_INLINE void widen_tile(const uint8_t* const* rows, int64_t begin, int64_t end, float* tile) {
    using Step = WeightStep<Element>;
    for (int g = 0; g < kGroups; g++) {
        float* to = tile + g * kWidth;
        int64_t input = begin;
        for (; input + Step::kInputs <= end; input += Step::kInputs) {
            ask_for<Element>(rows + g * kWidth, input);
            rf wide[Step::kInputs];
            Step::widen(rows + g * kWidth, input, wide);
            for (int i = 0; i < Step::kInputs; i++, to += kBlockOutputs) store(to, wide[i]);
        }
        for (; input < end; input++, to += kBlockOutputs) store(to, widen_one<Element>(rows + g * kWidth, input));
    }
}

// As add_products, with weights from a tile; x from its first input on.
template <int Rows>
KV8_INLINE void add_tile(const float* tile, int count, const float* const* x, int64_t begin, float* sums) {
    rf sum[Rows][kGroups];
    for (int r = 0; r < Rows; r++)
        for (int g = 0; g < kGroups; g++) sum[r][g] = load<rf>(sums + r * kBlockOutputs + g * kWidth);
    for (int i = 0; i < count; i++) {
        rf weight[kGroups];
        for (int g = 0; g < kGroups; g++) weight[g] = load<rf>(tile + i * kBlockOutputs + g * kWidth);
        for (int r = 0; r < Rows; r++) {
            const rf input = all(x[r][begin + i]);
            for (int g = 0; g < kGroups; g++) sum[r][g] = fused(input, weight[g], sum[r][g]);
        }
    }
    for (int r = 0; r < Rows; r++)
        for (int g = 0; g < kGroups; g++) store(sums + r * kBlockOutputs + g * kWidth, sum[r][g]);
}

template <int Rows = kRowsAtOnce>
KV8_INLINE void add_tile_to_rows(const float* tile, int count, const float* const* x, int64_t begin, int rows,
                                 float* sums) {
    int r = 0;
    for (; r + Rows <= rows; r += Rows) add_tile<Rows>(tile, count, x + r, begin, sums + r * kBlockOutputs);
    if constexpr (Rows > 1)
        if (r < rows) add_tile_to_rows<Rows / 2>(tile, count, x + r, begin, rows - r, sums + r * kBlockOutputs);
}

template <class Element>
KV8_INLINE void add_partial(const uint8_t* const* rows, int64_t begin, int64_t end, const float* const* x, int tokens,
                            float* sums) {
    switch (tokens) {
        case 1:
            return add_products<Element, 1>(rows, begin, end, x, sums);
        case kFewRows:
            return add_products<Element, kFewRows>(rows, begin, end, x, sums);
    }
    alignas(64) float tile[kTileInputs * kBlockOutputs];
    for (int64_t input = begin; input < end; input += kTileInputs) {
        const int64_t tile_end = std::min<int64_t>(input + kTileInputs, end);
        widen_tile<Element>(rows, input, tile_end, tile);
        add_tile_to_rows(tile, int(tile_end - input), x, input, tokens, sums);
    }
}

// One block of outputs of at most kPassRows rows.
template <class Element>
void multiply_rows(const kv8_matmul_args& args, int64_t first_output, int64_t first_token, int tokens) {
    alignas(64) float partial[kPassRows * kBlockOutputs];
    alignas(64) float total[kPassRows * kBlockOutputs];
    const uint8_t* rows[kBlockOutputs];  // behind the last output comes the last one again
    for (int o = 0; o < kBlockOutputs; o++) {
        const int64_t output = std::min<int64_t>(first_output + o, args.outputs - 1);
        rows[o] = reinterpret_cast<const uint8_t*>(args.weights.ptr) + output * args.inputs * Element::bytes;
    }
    const float* x[kPassRows];
    for (int t = 0; t < tokens; t++) x[t] = reinterpret_cast<const float*>(row_at(args.x, first_token + t, 0));

    const int64_t length = args.sum_length > 0 ? args.sum_length : args.inputs;
    for (int64_t begin = 0; begin < args.inputs; begin += length) {
        const int64_t end = std::min<int64_t>(begin + length, args.inputs);
        for (int i = 0; i < tokens * kBlockOutputs; i += kWidth) store(partial + i, rf{});
        add_partial<Element>(rows, begin, end, x, tokens, partial);
        for (int i = 0; i < tokens * kBlockOutputs; i += kWidth) {
            const rf sum = load<rf>(partial + i);
            store(total + i, begin == 0 ? sum : load<rf>(total + i) + sum);
        }
    }

    const int outputs = int(std::min<int64_t>(kBlockOutputs, args.outputs - first_output));
    const float* bias = reinterpret_cast<const float*>(args.bias.ptr);
    for (int t = 0; t < tokens; t++) {
        float* sums = total + t * kBlockOutputs;
        if (bias != nullptr)
            for (int o = 0; o < outputs; o++) sums[o] += bias[first_output + o];
        uint8_t* y = row_at(args.y, first_token + t, 0) + first_output * 4;
        std::memcpy(y, sums, size_t(outputs) * 4);
    }
}

// Blocks [begin, end) of outputs, of all rows.
inline void multiply_blocks(const kv8_matmul_args& args, int64_t begin, int64_t end) {
    with_row_dtype(args.weights_dtype, [&](auto element) {
        for (int64_t block = begin; block < end; block++)
            for (int token = 0; token < args.tokens; token += kPassRows)
                multiply_rows<decltype(element)>(args, block * kBlockOutputs, token,
                                                 std::min(kPassRows, args.tokens - token));
    });
}

}  // namespace kv8::cpu::KV8_ISA
