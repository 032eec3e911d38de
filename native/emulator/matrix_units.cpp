// Sources of the layouts: NVIDIA PTX ISA, "Matrix Fragments for mma.m16n8k16" and "ldmatrix"; AMD matrix instruction calculator
// and the CDNA3, RDNA3 and RDNA4 instruction set manuals, "Matrix Arithmetic Instructions" and "Wave Matrix Multiply
// Accumulate".
#include "emulator/matrix_units.h"

#include <cstring>

#include "emulator/conversions.h"

namespace kv8::emulator {
namespace {

constexpr int kLanes = kArch.lanes, kDepth = 16;

uint16_t factor(uint16_t x, uint16_t exponent) {
    return kArch.flushes_subnormals && (x & exponent) == 0 ? uint16_t{0} : x;
}

struct F16 {
    static float widen(uint16_t x) { return widen_f16(factor(x, 0x7C00)); }
};
struct BF16 {
    static float widen(uint16_t x) { return widen_bf16(factor(x, 0x7F80)); }
};

struct Place {
    int row, column;
};

// Each unit: the product's shape, the words that a lane gives, and where its elements lie: a[row][k], b[k][column],
// c[row][column].
struct Mma {
    static constexpr int kRows = 16, kColumns = 8, kWordsA = 4, kWordsB = 2, kFloats = 4;
    static Place a(int lane, int i) { return {lane / 4 + i / 2 % 2 * 8, lane % 4 * 2 + i % 2 + i / 4 * 8}; }
    static Place b(int lane, int i) { return {lane % 4 * 2 + i % 2 + i / 2 * 8, lane / 4}; }
    static Place c(int lane, int i) { return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2}; }
};
struct Mfma {
    static constexpr int kRows = 16, kColumns = 16, kWordsA = 2, kWordsB = 2, kFloats = 4;
    static Place a(int lane, int i) { return {lane % 16, lane / 16 * 4 + i}; }
    static Place b(int lane, int i) { return {lane / 16 * 4 + i, lane % 16}; }
    static Place c(int lane, int i) { return {lane / 16 * 4 + i, lane % 16}; }
};
struct Wmma3 {
    static constexpr int kRows = 16, kColumns = 16, kWordsA = 8, kWordsB = 8, kFloats = 8;
    static Place a(int lane, int i) { return {lane % 16, i}; }
    static Place b(int lane, int i) { return {i, lane % 16}; }
    static Place c(int lane, int i) { return {2 * i + lane / 16, lane % 16}; }
};
struct Wmma4 {
    static constexpr int kRows = 16, kColumns = 16, kWordsA = 4, kWordsB = 4, kFloats = 8;
    static Place a(int lane, int i) { return {lane % 16, i % 4 + lane / 16 * 4 + i / 4 * 8}; }
    static Place b(int lane, int i) { return {i % 4 + lane / 16 * 4 + i / 4 * 8, lane % 16}; }
    static Place c(int lane, int i) { return {lane / 16 * 8 + i, lane % 16}; }
};

uint16_t element(const uint32_t* words, int i) { return static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16)); }

template <class Number>
void widen(float* to, const uint16_t* from, int count) {
    for (int i = 0; i < count; i++) to[i] = Number::widen(from[i]);
}

template <class Unit, class Number>
void multiply(Warp& warp) {
    uint16_t stored_a[Unit::kRows][kDepth], stored_b[kDepth][Unit::kColumns];
    float a[Unit::kRows][kDepth], b[kDepth][Unit::kColumns], c[Unit::kRows][Unit::kColumns];
    for (int lane = 0; lane < kLanes; lane++) {
        const MatrixProduct& product = warp.operands<MatrixProduct>(lane);
        for (int i = 0; i < 2 * Unit::kWordsA; i++) {
            const Place at = Unit::a(lane, i);
            stored_a[at.row][at.column] = element(product.a, i);
        }
        for (int i = 0; i < 2 * Unit::kWordsB; i++) {
            const Place at = Unit::b(lane, i);
            stored_b[at.row][at.column] = element(product.b, i);
        }
        for (int i = 0; i < Unit::kFloats; i++) {
            const Place at = Unit::c(lane, i);
            c[at.row][at.column] = product.c[i];
        }
    }
    widen<Number>(a[0], stored_a[0], Unit::kRows * kDepth);
    widen<Number>(b[0], stored_b[0], kDepth * Unit::kColumns);
    for (int row = 0; row < Unit::kRows; row++)
        for (int k = 0; k < kDepth; k++)
            for (int column = 0; column < Unit::kColumns; column++) c[row][column] += a[row][k] * b[k][column];
    for (int lane = 0; lane < kLanes; lane++)
        for (int i = 0; i < Unit::kFloats; i++) {
            const Place at = Unit::c(lane, i);
            warp.operands<MatrixProduct>(lane).c[i] = c[at.row][at.column];
        }
}

// Lanes 16 to 31 must give what lanes 0 to 15 give.
template <class Number>
void multiply_replicated(Warp& warp) {
    for (int lane = 0; lane < 16; lane++) {
        const MatrixProduct &low = warp.operands<MatrixProduct>(lane), &high = warp.operands<MatrixProduct>(lane + 16);
        if (std::memcmp(low.a, high.a, 4 * Wmma3::kWordsA) != 0 || std::memcmp(low.b, high.b, 4 * Wmma3::kWordsB) != 0)
            fail(warp.lanes[lane + 16], warp.lanes[lane].site, "gives %s other operands than lane %d, sixteen below it",
                 warp.meeting->name, lane);
    }
    multiply<Wmma3, Number>(warp);
}

// Matrix m consists of the rows that lanes 8m to 8m + 7 read. A lane's word holds two neighbours of a row, or of a column.
void load_matrix(Warp& warp) {
    for (int lane = 0; lane < kLanes; lane++)
        for (int m = 0; m < 4; m++)
            warp.operands<MatrixRows>(lane).loaded[m] = warp.operands<MatrixRows>(8 * m + lane / 4).row[lane % 4];
}
void load_matrix_transposed(Warp& warp) {
    for (int lane = 0; lane < kLanes; lane++)
        for (int m = 0; m < 4; m++) {
            const int first = 8 * m + lane % 4 * 2, column = lane / 4;
            warp.operands<MatrixRows>(lane).loaded[m] =
                pair_of(element(warp.operands<MatrixRows>(first).row, column),
                        element(warp.operands<MatrixRows>(first + 1).row, column));
        }
}

}  // namespace

const Meeting kLoadMatrix{"load_matrix", load_matrix};
const Meeting kLoadMatrixTransposed{"load_matrix_transposed", load_matrix_transposed};
const Meeting kMmaF16{"mma_f16", multiply<Mma, F16>}, kMmaBf16{"mma_bf16", multiply<Mma, BF16>};
const Meeting kMfmaF16{"mfma_f16", multiply<Mfma, F16>}, kMfmaBf16{"mfma_bf16", multiply<Mfma, BF16>};
const Meeting kWmma3F16{"wmma_f16", multiply_replicated<F16>}, kWmma3Bf16{"wmma_bf16", multiply_replicated<BF16>};
const Meeting kWmma4F16{"wmma_f16", multiply<Wmma4, F16>}, kWmma4Bf16{"wmma_bf16", multiply<Wmma4, BF16>};

}  // namespace kv8::emulator
