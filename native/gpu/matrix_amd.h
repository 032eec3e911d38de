// The unit of gpu/matrix.h on AMD's 16 x 16 x 16 matrix instructions: MFMA (CDNA), WMMA (RDNA3, RDNA4).
//
// Both products are computed transposed. Scores: a = 16 tokens of K, b = the queries, so that a lane gets one query, lane % 16,
// and several tokens. Output: a = 16 dims of V by the tokens, b = the weights, which MFMA and RDNA4 take in just the registers
// where the scores were; on RDNA3, whose operands are whole in both halves of a wave, the halves exchange theirs once.
//
// Only the result's layout binds. Which dims of K a lane multiplies is free as long as Q follows, and so are the rows of a and
// the tokens of V. They are chosen so that a lane reads K by 16 bytes, dims of several atoms, and V by four dims of as many
// atoms, which it transposes with the byte permutation that widening takes anyhow.
//
// Banks: eight lanes that read 16 bytes of K each meet eight rows that differ modulo 8, in an odd pitch all banks once. The rows
// of V that a wave reads at once are four apart, which puts half the banks between them. Weights go by 8 bytes of sixteen rows,
// which lie an odd number of 8 bytes apart.
#pragma once

#include "gpu/formats.h"

namespace kv8::gpu {

namespace amd {

constexpr bool kRdna3 = kMatrixUnit == MatrixUnit::kWmma3;
constexpr int kSums = 256 / kLanes;            // a lane's elements of a result
constexpr int kFactors = kRdna3 ? 16 : kSums;  // a lane's elements of an operand
constexpr int kWords = kFactors / 2;

// The lanes of a part have the sixteen columns of a result, and of operands the sixteen rows of a or columns of b.
KV8_DEVICE int line() { return lane() % 16; }
KV8_DEVICE int part() { return lane() / 16; }
KV8_DEVICE int operand_part() { return kRdna3 ? 0 : part(); }

// Row i of a becomes row i of the result: that part's element.
KV8_DEVICE int part_of_row(int i) { return kRdna3 ? i % 2 : i / kSums; }
KV8_DEVICE int element_of_row(int i) { return kRdna3 ? i / 2 : i % kSums; }

// Ascending. Modulo 8 a part's eight tokens differ, and two parts' tokens of the same t by 4.
KV8_DEVICE int token(int part, int t) { return t < 4 ? 4 * part + t : 8 - 4 * part + t; }

struct Operand {
    uint32_t x[kWords];
};

template <bool kBf16, int kCount>
KV8_DEVICE void multiply(float (&c)[kCount], const Operand& a, const Operand& b) {
    if constexpr (kCount == 4) {
        const Words2 a_words{a.x[0], a.x[1]}, b_words{b.x[0], b.x[1]};
        if constexpr (kBf16)
            mfma_bf16(c, a_words, b_words);
        else
            mfma_f16(c, a_words, b_words);
    } else {
        if constexpr (kBf16)
            wmma_bf16(c, a.x, b.x);
        else
            wmma_f16(c, a.x, b.x);
    }
}

// kBytes of a row.
template <int kBytes>
struct Piece {
    uint32_t word[(kBytes + 3) / 4];
};

template <int kBytes>
KV8_DEVICE Piece<kBytes> load_piece(Shared from) {
    if constexpr (kBytes == 1) return {{load<uint8_t>(from)}};
    if constexpr (kBytes == 2) return {{load<uint16_t>(from)}};
    if constexpr (kBytes == 4) return {{load<uint32_t>(from)}};
    if constexpr (kBytes == 8) {
        const Words2 w = load<Words2>(from);
        return {{w.x, w.y}};
    }
    if constexpr (kBytes >= 16) {
        Piece<kBytes> piece;
#pragma unroll
        for (int i = 0; i < kBytes / 16; i++) {
            const Words4 w = load<Words4>(from + 16 * i);
            piece.word[4 * i] = w.x, piece.word[4 * i + 1] = w.y;
            piece.word[4 * i + 2] = w.z, piece.word[4 * i + 3] = w.w;
        }
        return piece;
    }
}

// ---- widening: four codes to two words of f16, kScale times their value: codes 0, 2 and 1, 3 if kAlternating, else 0, 1 and
// 2, 3.

template <class Format>
struct Widen {  // 16-bit elements
    static constexpr float kScale = 1.0f;
    static constexpr bool kAlternating = false;
};

template <>
struct Widen<E5M2> {  // a code is the upper byte of its f16
    static constexpr float kScale = 1.0f;
    static constexpr bool kAlternating = false;
    KV8_DEVICE static void split(uint32_t codes, uint32_t& first, uint32_t& second) {
        first = permute_bytes(codes, 0, 0x1404);
        second = permute_bytes(codes, 0, 0x3424);
    }
};

// Sign, four exponent and three mantissa bits go to their places in an f16, whose bias is larger by kShort: subnormals included,
// every code but NaN becomes 2^-kShort times its value.
template <class Format, bool kHardware>
struct WidenE4M3 {
    static constexpr int kShort = Format::dtype == KV8_E4M3FN ? 8 : 7;
    static constexpr bool kAlternating = true;
    KV8_DEVICE static uint32_t from_upper_bytes(uint32_t w) {
        typedef int16_t Pair
            __attribute__((vector_size(4)));  // copies the sign where it is shifted: one packed instruction
        return uint32_t(Pair(w) >> 1) & 0xBF80BF80u;
    }
#if defined(KV8_MATRIX_FLUSHES_SUBNORMALS)  // so they are multiplied out of that range
    static constexpr float kScale = 1.0f;
    KV8_DEVICE static uint32_t widen(uint32_t w) {
        constexpr uint32_t kPower = (15 + kShort) << 10;
        return multiply_f16(from_upper_bytes(w), kPower << 16 | kPower);
    }
#else
    static constexpr float kScale = 1.0f / (1 << kShort);
    KV8_DEVICE static uint32_t widen(uint32_t w) { return from_upper_bytes(w); }
#endif
    KV8_DEVICE static void split(uint32_t codes, uint32_t& first, uint32_t& second) {
        first = widen(codes << 8);
        second = widen(codes);
    }
};

template <class Format>
struct WidenE4M3<Format, true> {
    static constexpr float kScale = 1.0f;
    static constexpr bool kAlternating = false;
    KV8_DEVICE static void split(uint32_t codes, uint32_t& first, uint32_t& second) {
        if constexpr (Format::dtype == KV8_E4M3FN)
            first = widen_e4m3fn(codes), second = widen_e4m3fn(codes >> 16);
        else
            first = widen_e4m3fnuz(codes), second = widen_e4m3fnuz(codes >> 16);
    }
};

template <>
struct Widen<E4M3FN> : WidenE4M3<E4M3FN, kConvertsOcp> {};
template <>
struct Widen<E4M3FNUZ> : WidenE4M3<E4M3FNUZ, kConvertsFnuz> {};

#if defined(KV8_CONVERTS_FNUZ)
template <>
struct Widen<E5M2FNUZ> {  // an f16 of half the code's number, but above 28672: for hardware that converts
    static constexpr float kScale = 1.0f;
    static constexpr bool kAlternating = false;
    KV8_DEVICE static void split(uint32_t codes, uint32_t& first, uint32_t& second) {
        first = widen_e5m2fnuz(codes), second = widen_e5m2fnuz(codes >> 16);
    }
};
#endif

// ---- atoms are taken together by up to `widest`, a power of two: the group that holds an atom of kAtoms

constexpr int group_size(int widest, int atoms, int atom) {
    while (atom / widest * widest + widest > atoms) widest /= 2;
    return widest;
}

}  // namespace amd

template <class Format>
struct Matrix {
    static constexpr int kRows = 1, kTokens = amd::kSums, kDims = amd::kSums;
    using Widen = amd::Widen<Format>;
    // A wave of 32 has as many registers for half the lanes, and on RDNA3 operands take twice as many.
    static constexpr int kHeldAtoms = amd::kRdna3 ? 4 : kLanes == 32 ? 8 : 16;
    static constexpr float kStoredK = Widen::kScale, kStoredV = Widen::kScale;
    using Query = amd::Operand;
    using Weights = amd::Operand;

    KV8_DEVICE static int row(int) { return amd::line(); }
    KV8_DEVICE static int token(int t) { return amd::token(amd::part(), t); }
    KV8_DEVICE static int dim(int i) { return kDims * amd::part() + i; }

    static constexpr int kAtomBytes = 32;
    KV8_DEVICE static void store_query(Shared rows, int pitch, int row, int pair, uint32_t dims) {
        store(rows + (row * pitch + pair * 4), dims);
    }
    template <int kAtoms>
    KV8_DEVICE static Query load_query(Shared rows, int pitch, int atom) {
        const int group = amd::group_size(kWidest, kAtoms, atom);
        const int first_dim = atom / group * group * 16 + (amd::operand_part() * group + atom % group) * amd::kFactors;
        const auto piece = amd::load_piece<4 * amd::kWords>(rows + (amd::line() * pitch + first_dim * 2));
        Query q;
#pragma unroll
        for (int i = 0; i < amd::kWords; i += 2) {
            const uint32_t first = piece.word[i], second = piece.word[i + 1];
            q.x[i] = Widen::kAlternating ? permute_bytes(first, second, 0x5410) : first;
            q.x[i + 1] = Widen::kAlternating ? permute_bytes(first, second, 0x7632) : second;
        }
        return q;
    }

    template <int kAtoms>
    KV8_DEVICE static void scores(float (&s)[kRows][kTokens], const Query (&q)[kAtoms], Shared k, int pitch) {
        const int i = amd::line();
        const Shared key = k + amd::token(amd::part_of_row(i), amd::element_of_row(i)) * pitch;
        float sums[kTokens] = {};
        add_keys<0>(sums, q, key);
#pragma unroll
        for (int t = 0; t < kTokens; t++) s[0][t] = sums[t];
    }

    KV8_DEVICE static Weights pack(const float (&p)[kRows][kTokens]) {
        uint32_t own[kTokens / 2];
#pragma unroll
        for (int i = 0; i < kTokens / 2; i++) own[i] = pack_pair(p[0][2 * i], p[0][2 * i + 1]);
        Weights w;
        if constexpr (amd::kRdna3) {
            // Tokens in order: 0..3 are of the lower half, 4..11 of the upper, 12..15 of the lower again.
            const bool upper = amd::part() != 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const uint32_t other = shuffle_xor(own[i], 16);
                const uint32_t lower_half = upper ? other : own[i], upper_half = upper ? own[i] : other;
                w.x[i < 2 ? i : i + 4] = lower_half;
                w.x[i + 2] = upper_half;
            }
        } else {
#pragma unroll
            for (int i = 0; i < kTokens / 2; i++) w.x[i] = own[i];
        }
        return w;
    }

    KV8_DEVICE static void store_weights(Shared to, int pitch, const Weights& w) {
        const Shared row = to + amd::line() * pitch;
        if constexpr (amd::kRdna3) {
            const bool upper = amd::part() != 0;
            const auto own = [&](int i) {  // by value: a choice between places would keep w in memory
                const uint32_t of_lower = w.x[i], of_upper = w.x[i + 4];
                return upper ? of_upper : of_lower;
            };
            store(row + 16 * amd::part(), Words2{own(0), own(1)});
            store(row + (16 * amd::part() + 8), Words2{own(2), own(3)});
        } else {
#pragma unroll
            for (int i = 0; i < amd::kWords; i += 2) store(row + 2 * token(2 * i), Words2{w.x[i], w.x[i + 1]});
        }
    }
    KV8_DEVICE static Weights load_weights(Shared from, int pitch) {
        const Shared row = from + amd::line() * pitch;
        Weights w;
#pragma unroll
        for (int i = 0; i < amd::kWords; i += 2) {
            const Words2 words = load<Words2>(row + (amd::kRdna3 ? 4 * i : 2 * token(2 * i)));
            w.x[i] = words.x, w.x[i + 1] = words.y;
        }
        return w;
    }

    template <int kAtoms>
    KV8_DEVICE static void accumulate(float (&o)[kAtoms][kRows][kDims], const Weights& w, Shared v, int pitch,
                                      int atoms) {
        add_values<0>(o, w, v, pitch, atoms);
    }

    // The lanes of equal lane % 16 hold a row.
    KV8_DEVICE static float row_maximum(float x) {
        x = maximum(x, shuffle_xor(x, 16));
        return kLanes == 64 ? maximum(x, shuffle_xor(x, 32)) : x;
    }
    KV8_DEVICE static float row_sum(float x) {
        x += shuffle_xor(x, 16);
        return kLanes == 64 ? x + shuffle_xor(x, 32) : x;
    }

  private:
    static constexpr bool kBf16 = Format::dtype == KV8_BF16;
    static constexpr int kOperandBytes = amd::kFactors * Format::bytes;           // of a row of K, for one atom
    static constexpr int kWidest = kOperandBytes >= 16 ? 1 : 16 / kOperandBytes;  // atoms of K in one access
    // Atoms of V in one access; on RDNA3 a lane holds all sixteen tokens' pieces.
    static constexpr int kWidestOfV = amd::kRdna3 && Format::bytes == 2 ? 2 : 4;

    KV8_DEVICE static uint32_t pack_pair(float low, float high) {
        return kBf16 ? pack_bf16(low, high) : pack_f16(low, high);
    }

    // The atoms of a group lie interleaved: a part's dims of all of them are consecutive.
    template <int kFirst, int kAtoms>
    KV8_DEVICE static void add_keys(float (&sums)[kTokens], const Query (&q)[kAtoms], Shared key) {
        constexpr int kGroup = amd::group_size(kWidest, kAtoms, kFirst);
        constexpr int kBytes = kGroup * kOperandBytes;
        const auto piece = amd::load_piece<kBytes>(key + (kFirst * 16 * Format::bytes + amd::operand_part() * kBytes));
#pragma unroll
        for (int atom = 0; atom < kGroup; atom++) {
            amd::Operand keys;
#pragma unroll
            for (int i = 0; i < amd::kWords; i += 2) {
                if constexpr (Format::bytes == 1)
                    Widen::split(piece.word[(atom * amd::kWords + i) / 2], keys.x[i], keys.x[i + 1]);
                else
                    keys.x[i] = piece.word[atom * amd::kWords + i],
                    keys.x[i + 1] = piece.word[atom * amd::kWords + i + 1];
            }
            amd::multiply<kBf16>(sums, keys, q[kFirst + atom]);
        }
        if constexpr (kFirst + kGroup < kAtoms) add_keys<kFirst + kGroup>(sums, q, key);
    }

    template <int kFirst, int kAtoms>
    KV8_DEVICE static void add_values(float (&o)[kAtoms][kRows][kDims], const Weights& w, Shared v, int pitch,
                                      int atoms) {
        constexpr int kGroup = amd::group_size(kWidestOfV, kAtoms, kFirst);
        add_values_of_group<kFirst, kGroup>(o, w, v, pitch, atoms);
        if constexpr (kFirst + kGroup < kAtoms) add_values<kFirst + kGroup>(o, w, v, pitch, atoms);
    }

    template <int kFirst, int kGroup, int kAtoms>
    KV8_DEVICE static void add_values_of_group(float (&o)[kAtoms][kRows][kDims], const Weights& w, Shared v, int pitch,
                                               int atoms) {
        if (kFirst + kGroup <= atoms) {
            multiply_values<kFirst, kGroup>(o, w, v, pitch);
        } else if constexpr (kGroup > 1) {
            add_values_of_group<kFirst, kGroup / 2>(o, w, v, pitch, atoms);
            add_values_of_group<kFirst + kGroup / 2, kGroup / 2>(o, w, v, pitch, atoms);
        }
    }

    // A lane reads kGroup consecutive dims of its tokens, one for each of as many products. It reads them where its row of a
    // becomes, in all these products together, kDims consecutive dims of each atom in every part.
    template <int kFirst, int kGroup, int kAtoms>
    KV8_DEVICE static void multiply_values(float (&o)[kAtoms][kRows][kDims], const Weights& w, Shared v, int pitch) {
        constexpr int kReads = kDims / kGroup;  // of an atom's dims in a part
        const int i = amd::line(), element = amd::element_of_row(i);
        const int first_dim =
            (kFirst + element / kReads) * 16 + amd::part_of_row(i) * kDims + element % kReads * kGroup;
        constexpr int kBytes = kGroup * Format::bytes;
        amd::Piece<kBytes> piece[amd::kFactors];
#pragma unroll
        for (int j = 0; j < amd::kFactors; j++) {
            const int four = amd::kRdna3 ? j - j % 4 : token(j - j % 4);  // consecutive tokens, at constant distances
            piece[j] = amd::load_piece<kBytes>(v + (four * pitch + first_dim * Format::bytes) + j % 4 * pitch);
        }

#pragma unroll
        for (int d = 0; d < kGroup; d += 2) {
            amd::Operand values[2];
#pragma unroll
            for (int j = 0; j < amd::kWords; j++)
                pair_up(piece[2 * j], piece[2 * j + 1], d, values[0].x[j], values[1].x[j]);
#pragma unroll
            for (int e = 0; e < 2 && d + e < kGroup; e++) {
                float sums[kDims];
#pragma unroll
                for (int r = 0; r < kDims; r++) sums[r] = o[kFirst + r / kReads][0][r % kReads * kGroup + d + e];
                amd::multiply<kBf16>(sums, values[e], w);
#pragma unroll
                for (int r = 0; r < kDims; r++) o[kFirst + r / kReads][0][r % kReads * kGroup + d + e] = sums[r];
            }
        }
    }

    // Dims d and d + 1 of two tokens to the tokens' pair of each dim.
    template <int kBytes>
    KV8_DEVICE static void pair_up(const amd::Piece<kBytes>& token0, const amd::Piece<kBytes>& token1, int d,
                                   uint32_t& first, uint32_t& second) {
        if constexpr (Format::bytes == 1) {
            const uint32_t order = Widen::kAlternating ? 0x5410 : 0x5140;
            Widen::split(permute_bytes(token0.word[0], token1.word[0], order + d * 0x1111), first, second);
        } else {
            first = permute_bytes(token0.word[d / 2], token1.word[d / 2], 0x5410);
            second = permute_bytes(token0.word[d / 2], token1.word[d / 2], 0x7632);
        }
    }
};

}  // namespace kv8::gpu
