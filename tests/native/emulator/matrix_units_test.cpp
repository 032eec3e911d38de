// The matrix instructions against the published layouts: small integers are dealt out to the lanes by the tables, multiplied by
// the emulated instruction, and collected by the tables again. Their products and sums are exact in every format.
#include <algorithm>
#include <cstdlib>
#include <random>

#include "emulator/conversions.h"
#include "emulated.h"
#include "published_layouts.h"

namespace {

using namespace kv8::gpu;
using namespace kv8_test;

constexpr int kMostWords = 8;

struct Registers {
    uint32_t a[kMostWords], b[kMostWords];
    float c[kMostWords];
};

struct Params {
    Registers* lanes;
    bool bf16;
};

template <int kCount, class T>
KV8_DEVICE void read(T (&to)[kCount], const T* from) {
    for (int i = 0; i < kCount; i++) to[i] = load<T>(from + i);
}

template <int kA, int kB, int kC, class Instruction>
KV8_DEVICE void multiply(const Params& params, const Instruction& instruction) {
    Registers& mine = params.lanes[thread()];
    uint32_t a[kA], b[kB];
    float c[kC];
    read(a, mine.a);
    read(b, mine.b);
    read(c, mine.c);
    instruction(c, a, b);
    for (int i = 0; i < kC; i++) store(mine.c + i, c[i]);
}

KV8_KERNEL(mma, kLanes, 1, Params) {
    multiply<4, 2, 4>(params, [&](auto& c, auto& a, auto& b) {
        params.bf16 ? mma_bf16(c, a, b[0], b[1]) : mma_f16(c, a, b[0], b[1]);
    });
}
KV8_KERNEL(mfma, kLanes, 1, Params) {
    multiply<2, 2, 4>(params, [&](auto& c, auto& a, auto& b) {
        const Words2 left{a[0], a[1]}, right{b[0], b[1]};
        params.bf16 ? mfma_bf16(c, left, right) : mfma_f16(c, left, right);
    });
}
KV8_KERNEL(wmma3, kLanes, 1, Params) {
    multiply<8, 8, 8>(params, [&](auto& c, auto& a, auto& b) { params.bf16 ? wmma_bf16(c, a, b) : wmma_f16(c, a, b); });
}
KV8_KERNEL(wmma4, kLanes, 1, Params) {
    multiply<4, 4, 8>(params, [&](auto& c, auto& a, auto& b) { params.bf16 ? wmma_bf16(c, a, b) : wmma_f16(c, a, b); });
}

struct Holder {
    int lane, index;
};

std::vector<std::vector<Holder>> holders_of(const Layout& layout) {
    std::vector<std::vector<Holder>> rows;
    for (const char* text : layout) {
        rows.emplace_back();
        for (char* at = const_cast<char*>(text); *at != 0;) {
            const int lane = static_cast<int>(std::strtol(at, &at, 10));
            const int index = static_cast<int>(std::strtol(at + 1, &at, 10));
            rows.back().push_back({lane, index});
        }
    }
    return rows;
}

void put(uint32_t* words, int index, uint16_t bits) { words[index / 2] |= uint32_t{bits} << (index % 2 * 16); }

void expect_product(const char* kernel, const Layout& layout_a, const Layout& layout_b, const Layout& layout_c) {
    const auto a_at = holders_of(layout_a), b_at = holders_of(layout_b), c_at = holders_of(layout_c);
    std::mt19937 random(7);
    const auto small = [&] { return static_cast<int>(random() % 17) - 8; };
    for (const bool bf16 : {false, true}) {
        const auto bits_of = [&](int x) {
            const float value = static_cast<float>(x);
            return bf16 ? kv8::emulator::narrow_bf16(value) : kv8::emulator::narrow_f16(value);
        };
        std::vector<Registers> lanes(kLanes);
        std::vector<std::vector<int>> a(16, std::vector<int>(16)), b(16, std::vector<int>(b_at[0].size())), want = b;
        for (size_t row = 0; row < 16; row++)
            for (size_t k = 0; k < 16; k++) {
                a[row][k] = small();
                put(lanes[static_cast<size_t>(a_at[row][k].lane)].a, a_at[row][k].index, bits_of(a[row][k]));
            }
        for (size_t k = 0; k < 16; k++)
            for (size_t column = 0; column < b[k].size(); column++) {
                b[k][column] = small();
                put(lanes[static_cast<size_t>(b_at[k][column].lane)].b, b_at[k][column].index, bits_of(b[k][column]));
            }
        for (size_t row = 0; row < 16; row++)
            for (size_t column = 0; column < want[row].size(); column++) {
                int& sum = want[row][column];
                sum = small() * 1000;
                lanes[static_cast<size_t>(c_at[row][column].lane)].c[c_at[row][column].index] = static_cast<float>(sum);
                for (size_t k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
            }
        if (kMatrixUnit == MatrixUnit::kWmma3)
            for (size_t lane = 0; lane < 16; lane++) {
                std::copy_n(lanes[lane].a, kMostWords, lanes[lane + 16].a);
                std::copy_n(lanes[lane].b, kMostWords, lanes[lane + 16].b);
            }
        ASSERT_EQ(error_of(kernel, Params{lanes.data(), bf16}), "");
        for (size_t row = 0; row < 16; row++)
            for (size_t column = 0; column < want[row].size(); column++) {
                const Holder at = c_at[row][column];
                EXPECT_EQ(lanes[static_cast<size_t>(at.lane)].c[at.index], static_cast<float>(want[row][column]))
                    << kernel << (bf16 ? " bf16" : " f16") << " row " << row << " column " << column;
            }
    }
}

TEST(MatrixUnits, MultiplyInThePublishedLayout) {
    switch (kMatrixUnit) {
        case MatrixUnit::kMma:
            return expect_product("mma", kMmaA, kMmaB, kMmaC);
        case MatrixUnit::kMfma:
            return expect_product("mfma", kMfmaA, kMfmaB, kMfmaC);
        case MatrixUnit::kWmma3:
            return expect_product("wmma3", kWmma3A, kWmma3B, kWmma3C);
        case MatrixUnit::kWmma4:
            return expect_product("wmma4", kWmma4A, kWmma4B, kWmma4C);
    }
}

TEST(MatrixUnits, TakeSubnormalFactorsAsTheArchitectureDoes) {
    if (kMatrixUnit != MatrixUnit::kMfma) GTEST_SKIP() << "only CDNA2 takes them for zero";
    for (const bool bf16 : {false, true})
        for (const bool in_a : {true, false}) {
            std::vector<Registers> lanes(kLanes);
            const uint32_t least = 0x00010001u, one = bf16 ? 0x3F803F80u : 0x3C003C00u;
            for (Registers& lane : lanes) {
                std::fill_n(lane.a, 2, in_a ? least : one);
                std::fill_n(lane.b, 2, in_a ? one : least);
            }
            ASSERT_EQ(error_of("mfma", Params{lanes.data(), bf16}), "");
            const float sum = kv8::emulator::kArch.flushes_subnormals ? 0.0f : bf16 ? 0x1p-129f : 0x1p-20f;
            for (const Registers& lane : lanes)
                for (int i = 0; i < 4; i++) EXPECT_EQ(lane.c[i], sum);
        }
}

TEST(MatrixUnits, RefuseTheInstructionsOfOtherArchitectures) {
    std::vector<Registers> lanes(kLanes);
    const Params params{lanes.data(), false};
    const struct {
        const char* kernel;
        MatrixUnit unit;
    } all[] = {{"mma", MatrixUnit::kMma},
               {"mfma", MatrixUnit::kMfma},
               {"wmma3", MatrixUnit::kWmma3},
               {"wmma4", MatrixUnit::kWmma4}};
    for (const auto& each : all)
        if (each.unit != kMatrixUnit) EXPECT_ERROR(error_of(each.kernel, params), "which this architecture lacks");
}

TEST(MatrixUnits, WantRepeatedOperandsOnRdna3) {
    if (kMatrixUnit != MatrixUnit::kWmma3) GTEST_SKIP() << "RDNA3 only";
    for (const bool in_a : {true, false}) {
        std::vector<Registers> lanes(kLanes);
        (in_a ? lanes[21].a : lanes[21].b)[7] = 1;
        EXPECT_ERROR(error_of("wmma3", Params{lanes.data(), false}),
                     "thread 21: gives wmma_f16 other operands than lane 5, sixteen below it");
    }
}

struct LoadParams {
    uint32_t* loaded;  // [kLanes][4]
    int matrices;
    bool transposed;
};

constexpr int kPitch = 48;  // bytes from one row to the next

uint16_t element_of(int matrix, int row, int column) { return static_cast<uint16_t>(matrix * 64 + row * 8 + column); }

KV8_KERNEL(load_matrices, kLanes, 1, LoadParams) {
    const Shared row = Shared{0} + lane() * kPitch;
    for (int column = 0; column < 8; column++) store(row + 2 * column, element_of(lane() / 8, lane() % 8, column));
    sync_warp();
    uint32_t r[4] = {}, pair[2] = {};
    if (params.matrices == 4)
        params.transposed ? load_matrix_x4_transposed(r, row) : load_matrix_x4(r, row);
    else {
        // The other lanes' addresses are not used.
        const Shared used = lane() < 16 ? row : Shared{0xFFFFFF01u};
        params.transposed ? load_matrix_x2_transposed(pair, used) : load_matrix_x2(pair, used);
        r[0] = pair[0], r[1] = pair[1];
    }
    for (int i = 0; i < 4; i++) store(params.loaded + lane() * 4 + i, r[i]);
}

TEST(MatrixUnits, LoadMatricesInThePublishedLayout) {
    if (kMatrixUnit != MatrixUnit::kMma) GTEST_SKIP() << "NVIDIA only";
    for (const bool transposed : {false, true})
        for (const int matrices : {2, 4}) {
            std::vector<uint32_t> loaded(kLanes * 4);
            ASSERT_EQ(error_of("load_matrices", LoadParams{loaded.data(), matrices, transposed}), "");
            const auto at = holders_of(transposed ? kLoadedColumns : kLoadedRows);
            for (int matrix = 0; matrix < matrices; matrix++)
                for (int row = 0; row < 8; row++)
                    for (int column = 0; column < 8; column++) {
                        const Holder holder = at[static_cast<size_t>(row)][static_cast<size_t>(column)];
                        const uint32_t word = loaded[static_cast<size_t>(holder.lane * 4 + matrix)];
                        EXPECT_EQ(word >> (16 * holder.index) & 0xFFFF, element_of(matrix, row, column))
                            << "matrix " << matrix << " of " << matrices << (transposed ? " transposed" : "")
                            << ", row " << row << ", column " << column;
                    }
        }
}

}  // namespace
