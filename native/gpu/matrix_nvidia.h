// The unit of gpu/matrix.h on mma.m16n8k16 and ldmatrix (PTX ISA; both move 16-bit elements).
//
// K of 8-bit codes: ldmatrix hands lane (g, q) = (lane / 4, lane % 4) the codes of dims 4q..4q+3 of token g, and those dims are
// declared the instruction's k = 2q, 2q+1, 2q+8, 2q+9; Q is loaded with the same permutation.
// V of 8-bit codes: ldmatrix.trans moves pairs of dims, so that a lane gets dims 2g and 2g+1 of tokens 2q and 2q+1. One
// instruction multiplies the even dims, one the odd ones, and a lane ends with four consecutive dims of the output.
#pragma once

#include "gpu/formats.h"

namespace kv8::gpu {

namespace nvidia {

// Codes to f16, kScale times their value. `pairs` takes the codes in order: {0, 1} and {2, 3}; `alternating` {0, 2} and {1, 3}.
template <class Format>
struct Widen;

template <>
struct Widen<E5M2> {  // a code is the upper byte of its f16
    static constexpr float kScale = 1.0f;
    KV8_DEVICE static void pairs(uint32_t codes, uint32_t& first, uint32_t& second) {
        first = permute_bytes(codes, 0, 0x1404);
        second = permute_bytes(codes, 0, 0x3424);
    }
    KV8_DEVICE static void alternating(uint32_t codes, uint32_t& even, uint32_t& odd) {
        even = permute_bytes(codes, 0, 0x2404);
        odd = permute_bytes(codes, 0, 0x3414);
    }
};

// Sign, four exponent and three mantissa bits go to their places in an f16, whose bias is larger by 8: subnormals included,
// every code but NaN becomes 2^-8 times its value.
template <bool kHardware>
struct WidenE4M3FN {
    static constexpr float kScale = 0x1p-8f;
    KV8_DEVICE static void alternating(uint32_t codes, uint32_t& even, uint32_t& odd) {
        const uint32_t shifted = codes << 8;
        even = (shifted & 0x80008000u) | ((shifted & 0x7F007F00u) >> 1);
        odd = (codes & 0x80008000u) | ((codes & 0x7F007F00u) >> 1);
    }
};

template <>
struct WidenE4M3FN<true> {
    static constexpr float kScale = 1.0f;
    KV8_DEVICE static void pairs(uint32_t codes, uint32_t& first, uint32_t& second) {
        widen_e4m3fn(codes, first, second);
    }
    KV8_DEVICE static void alternating(uint32_t codes, uint32_t& even, uint32_t& odd) {
        pairs(permute_bytes(codes, 0, 0x3120), even, odd);
    }
};

template <>
struct Widen<E4M3FN> : WidenE4M3FN<kConvertsOcp> {};

// Whether K is widened in the order of its dims; otherwise in alternating order, which Q then follows.
template <class Format>
constexpr bool kInOrder = Format::dtype != KV8_E4M3FN || kConvertsOcp;

// What all formats share: who holds which element, and the weights.
template <class Format>
struct Layout {
    static constexpr bool kBf16 = Format::dtype == KV8_BF16;
    static constexpr int kRows = 2, kTokens = 4, kDims = 4;
    static constexpr int kHeldAtoms = Format::bytes == 1 ? 0 : 12;  // FP8 caches' second part of q wants registers too

    KV8_DEVICE static int row(int r) { return lane() / 4 + 8 * r; }
    KV8_DEVICE static int token(int t) { return lane() % 4 * 2 + t % 2 + t / 2 * 8; }

    struct Query {
        uint32_t x[4];
    };
    struct Weights {
        uint32_t x[4];
    };

    KV8_DEVICE static void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
        if constexpr (kBf16)
            mma_bf16(c, a, b0, b1);
        else
            mma_f16(c, a, b0, b1);
    }

    // Scores of tokens 0..7 and 8..15 as the instruction leaves them.
    KV8_DEVICE static void spread(float (&s)[kRows][kTokens], const float (&left)[4], const float (&right)[4]) {
        s[0][0] = left[0], s[0][1] = left[1], s[0][2] = right[0], s[0][3] = right[1];
        s[1][0] = left[2], s[1][1] = left[3], s[1][2] = right[2], s[1][3] = right[3];
    }

    KV8_DEVICE static uint32_t pack_pair(float low, float high) {
        return kBf16 ? pack_bf16(low, high) : pack_f16(low, high);
    }
    KV8_DEVICE static Weights pack(const float (&p)[kRows][kTokens]) {
        return {{pack_pair(p[0][0], p[0][1]), pack_pair(p[1][0], p[1][1]), pack_pair(p[0][2], p[0][3]),
                 pack_pair(p[1][2], p[1][3])}};
    }

    KV8_DEVICE static void store_weights(Shared to, int pitch, const Weights& w) {
        const Shared at = to + (row(0) * pitch + token(0) * 2);
        store(at, w.x[0]);
        store(at + 8 * pitch, w.x[1]);
        store(at + 16, w.x[2]);
        store(at + (8 * pitch + 16), w.x[3]);
    }
    KV8_DEVICE static Weights load_weights(Shared from, int pitch) {
        Weights w;
        load_matrix_x4(w.x, from + (lane() % 16 * pitch + lane() / 16 * 16));
        return w;
    }

    // The four lanes of equal lane / 4 hold a row.
    KV8_DEVICE static float row_maximum(float x) {
        x = maximum(x, shuffle_xor(x, 1));
        return maximum(x, shuffle_xor(x, 2));
    }
    KV8_DEVICE static float row_sum(float x) {
        x += shuffle_xor(x, 1);
        return x + shuffle_xor(x, 2);
    }
};

}  // namespace nvidia

// 8-bit codes.
template <class Format>
struct Matrix : nvidia::Layout<Format> {
    using Base = nvidia::Layout<Format>;
    using typename Base::Query;
    using typename Base::Weights;
    using Widen = nvidia::Widen<Format>;
    using Base::kDims;
    using Base::kRows;
    using Base::kTokens;
    static constexpr float kStoredK = Widen::kScale, kStoredV = Widen::kScale;

    KV8_DEVICE static int dim(int i) { return lane() % 4 * 4 + i; }

    // An atom's operand lies as the lanes hold it, 16 bytes each: it is read for every tile, by one load.
    static constexpr int kAtomBytes = 512;
    KV8_DEVICE static void store_query(Shared rows, int, int row, int pair, uint32_t dims) {
        const Shared atom = rows + (pair / 8 * 512 + (row % 8 * 4 + pair % 8 / 2) * 16 + row / 8 * 4);
        const int odd = pair % 2;
        if constexpr (nvidia::kInOrder<Format>) {
            store(atom + 8 * odd, dims);
        } else {  // dims 0 and 2 of four are one word, 1 and 3 the other
            store(atom + 2 * odd, uint16_t(dims));
            store(atom + (8 + 2 * odd), uint16_t(dims >> 16));
        }
    }
    template <int kAtoms>
    KV8_DEVICE static Query load_query(Shared rows, int, int atom) {
        const Words4 words = load<Words4>(rows + (atom * 512 + lane() * 16));
        return {{words.x, words.y, words.z, words.w}};
    }

    KV8_DEVICE static void multiply_keys(float (&c)[4], const Query& q, uint32_t codes) {
        uint32_t b0, b1;
        if constexpr (nvidia::kInOrder<Format>)
            Widen::pairs(codes, b0, b1);
        else
            Widen::alternating(codes, b0, b1);
        Base::multiply(c, q.x, b0, b1);
    }

    template <int kAtoms>
    KV8_DEVICE static void scores(float (&s)[kRows][kTokens], const Query (&q)[kAtoms], Shared k, int pitch) {
        float left[4] = {}, right[4] = {};  // tokens 0..7 and 8..15
#pragma unroll
        for (int atom = 0; atom + 2 <= kAtoms; atom += 2) {
            uint32_t r[4];  // {left, right} x {atom, atom + 1}
            load_matrix_x4(r, k + ((lane() % 8 + lane() / 16 * 8) * pitch + (atom + lane() / 8 % 2) * 16));
            multiply_keys(left, q[atom], r[0]);
            multiply_keys(right, q[atom], r[2]);
            multiply_keys(left, q[atom + 1], r[1]);
            multiply_keys(right, q[atom + 1], r[3]);
        }
        if constexpr (kAtoms % 2 != 0) {
            uint32_t r[2];
            load_matrix_x2(r, k + (lane() % 16 * pitch + (kAtoms - 1) * 16));
            multiply_keys(left, q[kAtoms - 1], r[0]);
            multiply_keys(right, q[kAtoms - 1], r[1]);
        }
        Base::spread(s, left, right);
    }

    template <int kAtoms>
    KV8_DEVICE static void accumulate(float (&o)[kAtoms][kRows][kDims], const Weights& w, Shared v, int pitch,
                                      int atoms) {
        const Shared token_row = v + lane() % 16 * pitch;
#pragma unroll
        for (int atom = 0; atom < kAtoms; atom += 2) {
            if (atom + 1 < kAtoms && atom + 1 < atoms) {
                uint32_t r[4];
                load_matrix_x4_transposed(r, token_row + (atom + lane() / 16) * 16);
                multiply_values(o[atom], w, r[0], r[1]);
                multiply_values(o[atom + 1 < kAtoms ? atom + 1 : atom], w, r[2], r[3]);
            } else if (atom < atoms) {
                uint32_t r[2];
                load_matrix_x2_transposed(r, token_row + atom * 16);
                multiply_values(o[atom], w, r[0], r[1]);
            }
        }
    }

  private:
    KV8_DEVICE static void multiply_values(float (&o)[kRows][kDims], const Weights& w, uint32_t early, uint32_t late) {
        uint32_t even0, odd0, even1, odd1;
        Widen::alternating(early, even0, odd0);
        Widen::alternating(late, even1, odd1);
        float even[4] = {o[0][0], o[0][2], o[1][0], o[1][2]}, odd[4] = {o[0][1], o[0][3], o[1][1], o[1][3]};
        Base::multiply(even, w.x, even0, even1);
        Base::multiply(odd, w.x, odd0, odd1);
        o[0][0] = even[0], o[0][1] = odd[0], o[0][2] = even[1], o[0][3] = odd[1];
        o[1][0] = even[2], o[1][1] = odd[2], o[1][2] = even[3], o[1][3] = odd[3];
    }
};

namespace nvidia {

// 16-bit elements, which the instructions take as they are.
template <class Format>
struct Plain : Layout<Format> {
    using Base = Layout<Format>;
    using Base::kDims;
    using Base::kRows;
    using Base::kTokens;
    using typename Base::Query;
    using typename Base::Weights;
    static constexpr float kStoredK = 1.0f, kStoredV = 1.0f;

    KV8_DEVICE static int dim(int i) { return lane() % 4 * 2 + i % 2 + i / 2 * 8; }

    static constexpr int kAtomBytes = 32;
    KV8_DEVICE static void store_query(Shared rows, int pitch, int row, int pair, uint32_t dims) {
        store(rows + (row * pitch + pair * 4), dims);
    }
    template <int kAtoms>
    KV8_DEVICE static Query load_query(Shared rows, int pitch, int atom) {
        Query q;
        load_matrix_x4(q.x, rows + (lane() % 16 * pitch + atom * 32 + lane() / 16 * 16));
        return q;
    }

    template <int kAtoms>
    KV8_DEVICE static void scores(float (&s)[kRows][kTokens], const Query (&q)[kAtoms], Shared k, int pitch) {
        float left[4] = {}, right[4] = {};
#pragma unroll
        for (int atom = 0; atom < kAtoms; atom++) {
            uint32_t r[4];  // tokens {0..7, 8..15} x dims {0..7, 8..15}
            load_matrix_x4(r, k + ((lane() % 8 + lane() / 16 * 8) * pitch + atom * 32 + lane() / 8 % 2 * 16));
            Base::multiply(left, q[atom].x, r[0], r[1]);
            Base::multiply(right, q[atom].x, r[2], r[3]);
        }
        Base::spread(s, left, right);
    }

    template <int kAtoms>
    KV8_DEVICE static void accumulate(float (&o)[kAtoms][kRows][kDims], const Weights& w, Shared v, int pitch,
                                      int atoms) {
#pragma unroll
        for (int atom = 0; atom < kAtoms; atom++) {
            if (atom >= atoms) break;
            uint32_t r[4];  // dims {0..7, 8..15} x tokens {0..7, 8..15}
            load_matrix_x4_transposed(r, v + (lane() % 16 * pitch + atom * 32 + lane() / 16 * 16));
            float first[4] = {o[atom][0][0], o[atom][0][1], o[atom][1][0], o[atom][1][1]};
            float second[4] = {o[atom][0][2], o[atom][0][3], o[atom][1][2], o[atom][1][3]};
            Base::multiply(first, w.x, r[0], r[1]);
            Base::multiply(second, w.x, r[2], r[3]);
            o[atom][0][0] = first[0], o[atom][0][1] = first[1], o[atom][1][0] = first[2], o[atom][1][1] = first[3];
            o[atom][0][2] = second[0], o[atom][0][3] = second[1], o[atom][1][2] = second[2], o[atom][1][3] = second[3];
        }
    }
};

}  // namespace nvidia

template <>
struct Matrix<F16> : nvidia::Plain<F16> {};
template <>
struct Matrix<BF16> : nvidia::Plain<BF16> {};

}  // namespace kv8::gpu
