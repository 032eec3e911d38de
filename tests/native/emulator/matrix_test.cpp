// The unit of gpu/matrix.h against plain loops: every format and number of atoms, on the matrix instruction of the emulated
// architecture. Inputs are exact in the operands' types, so that only the order of float32 sums may differ.
#include "gpu/matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "fp8/fp8.h"

namespace kv8::gpu {
namespace {

struct MatrixParams {
    const uint8_t* q;  // [16][head size] of 16-bit floats
    const uint8_t* k;  // [16][head size] of the cache's elements, and so is v
    const uint8_t* v;
    const float* weights;  // [16 rows][16 tokens]
    float* scores;         // [16 rows][16 tokens]
    float* maxima;         // of the scores of each row
    float* sums;
    float* out;         // [16 rows][head size], added to
    int32_t atoms;      // of out, that are added to
    int32_t exchanges;  // whether weights go through shared memory
};

constexpr int odd_pitch(int row_bytes) { return (row_bytes / 16 | 1) * 16; }

KV8_DEVICE void share_rows(Shared to, int pitch, const uint8_t* from, int row_bytes) {
    for (int i = lane(); i < 16 * row_bytes / 16; i += kLanes)
        store(to + (i / (row_bytes / 16) * pitch + i % (row_bytes / 16) * 16), load<Words4>(from + i * 16));
}

template <class Format, int kAtoms>
KV8_DEVICE void multiply(const MatrixParams& params) {
    using M = Matrix<Format>;
    constexpr int kHeadSize = 16 * kAtoms, kRowBytes = kHeadSize * Format::bytes, kPitch = odd_pitch(kRowBytes);
    constexpr int kQueryPitch = odd_pitch(2 * kHeadSize), kWeightPitch = odd_pitch(2 * 16);
    constexpr Shared kQueries{0}, kKeys = kQueries + 16 * kQueryPitch, kValues = kKeys + 16 * kPitch,
                                  kWeights = kValues + 16 * kPitch;
    for (int i = lane(); i < 16 * kHeadSize / 2; i += kLanes)
        M::store_query(kQueries, kQueryPitch, i / (kHeadSize / 2), i % (kHeadSize / 2),
                       load<uint32_t>(params.q + 4 * i));
    share_rows(kKeys, kPitch, params.k, kRowBytes);
    share_rows(kValues, kPitch, params.v, kRowBytes);
    sync_warp();

    typename M::Query q[kAtoms];
    for (int atom = 0; atom < kAtoms; atom++) q[atom] = M::template load_query<kAtoms>(kQueries, kQueryPitch, atom);
    float s[M::kRows][M::kTokens];
    M::scores(s, q, kKeys, kPitch);
    for (int r = 0; r < M::kRows; r++) {
        float most = s[r][0], sum = 0;
        for (int t = 0; t < M::kTokens; t++) {
            store(params.scores + (M::row(r) * 16 + M::token(t)), s[r][t]);
            most = maximum(most, s[r][t]);
            sum += s[r][t];
        }
        store(params.maxima + M::row(r), M::row_maximum(most));
        store(params.sums + M::row(r), M::row_sum(sum));
    }

    float p[M::kRows][M::kTokens];
    for (int r = 0; r < M::kRows; r++)
        for (int t = 0; t < M::kTokens; t++) p[r][t] = load<float>(params.weights + (M::row(r) * 16 + M::token(t)));
    typename M::Weights w = M::pack(p);
    if (params.exchanges) {
        M::store_weights(kWeights, kWeightPitch, w);
        sync_warp();
        w = M::load_weights(kWeights, kWeightPitch);
    }
    float o[kAtoms][M::kRows][M::kDims];
    const auto out = [&](int atom, int r, int i) {
        return params.out + (M::row(r) * kHeadSize + atom * 16 + M::dim(i));
    };
    for (int atom = 0; atom < kAtoms; atom++)
        for (int r = 0; r < M::kRows; r++)
            for (int i = 0; i < M::kDims; i++) o[atom][r][i] = load<float>(out(atom, r, i));
    M::accumulate(o, w, kValues, kPitch, params.atoms);
    for (int atom = 0; atom < kAtoms; atom++)
        for (int r = 0; r < M::kRows; r++)
            for (int i = 0; i < M::kDims; i++) store(out(atom, r, i), o[atom][r][i]);
}

#define KV8_MULTIPLY(Format, atoms) \
    KV8_KERNEL(multiply_##Format##_##atoms, kLanes, 1, MatrixParams) { multiply<Format, atoms>(params); }
#define KV8_MULTIPLY_ALL(Format) \
    KV8_MULTIPLY(Format, 1)      \
    KV8_MULTIPLY(Format, 2)      \
    KV8_MULTIPLY(Format, 3)      \
    KV8_MULTIPLY(Format, 4)      \
    KV8_MULTIPLY(Format, 5)      \
    KV8_MULTIPLY(Format, 6)      \
    KV8_MULTIPLY(Format, 7) KV8_MULTIPLY(Format, 8) KV8_MULTIPLY(Format, 12) KV8_MULTIPLY(Format, 16)
#if !defined(KV8_MATRIX_FLUSHES_SUBNORMALS)
KV8_MULTIPLY_ALL(F16)
KV8_MULTIPLY_ALL(E5M2)
#endif
KV8_MULTIPLY_ALL(BF16)
KV8_MULTIPLY_ALL(E4M3FN)
#if defined(KV8_MATRIX_AMD)
KV8_MULTIPLY_ALL(E4M3FNUZ)
#endif
#if defined(KV8_CONVERTS_FNUZ)
KV8_MULTIPLY_ALL(E5M2FNUZ)
#endif
constexpr int kAtomCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 16};

// Bits of half floats that are subnormal or zero; only zero where the unit takes the others for it.
#if defined(KV8_MATRIX_FLUSHES_SUBNORMALS)
constexpr uint32_t kBelowNormal = 0x8000u;
#else
constexpr uint32_t kBelowNormal = 0x83FFu;
#endif

// A finite element of the format, chosen by 16 random bits: its bits and its value.
template <class Format>
struct Element {
    uint16_t bits;
    float value;

    explicit Element(uint32_t random) {
        if constexpr (Format::dtype == KV8_F16) {
            bits = random % 16 == 0 ? uint16_t(random >> 8 & kBelowNormal)
                                    : narrow_f16(float(int(random % 4001) - 2000) * 0x1p-9f);
            value = widen_f16(bits);
        } else if constexpr (Format::dtype == KV8_BF16) {
            bits = narrow_bf16(float(int(random % 4001) - 2000) * 0x1p-9f);
            value = widen_bf16(bits);
        } else {
            using OfThreeBits = std::conditional_t<Format::dtype == KV8_E4M3FN, fp8::E4M3FN, fp8::E4M3FNUZ>;
            using OfTwoBits = std::conditional_t<Format::dtype == KV8_E5M2, fp8::E5M2, fp8::E5M2FNUZ>;
            constexpr bool kThree = Format::dtype == KV8_E4M3FN || Format::dtype == KV8_E4M3FNUZ;
            using Codes = std::conditional_t<kThree, OfThreeBits, OfTwoBits>;
            bits = uint16_t(random % 256);
            value = fp8::decode<Codes>(uint8_t(bits));
            if (!std::isfinite(value)) bits = 0x01, value = fp8::decode<Codes>(0x01);
        }
    }
};

// What q and the weights are for a cache of Format.
template <class Format>
using Operand = std::conditional_t<Format::dtype == KV8_BF16, BF16, F16>;

template <class Format>
struct Rows {
    std::vector<uint8_t> bytes;
    std::vector<float> values;

    Rows(int elements, std::mt19937& random) {
        for (int i = 0; i < elements; i++) {
            const Element<Format> element(uint32_t(random()) >> 8);
            for (int b = 0; b < Format::bytes; b++) bytes.push_back(uint8_t(element.bits >> (8 * b)));
            values.push_back(element.value);
        }
    }
};

void expect_near(float got, double exact, double magnitude, const char* what, int row, int column) {
    EXPECT_LE(std::fabs(got - exact), 1e-5 * magnitude + 1e-30)
        << what << " of row " << row << ", " << column << ": " << got << ", not " << exact;
}

template <class Format>
void expect_products(const char* format, int kernel_atoms, int atoms, bool exchanges) {
    SCOPED_TRACE(std::string(format) + ", " + std::to_string(atoms) + " of " + std::to_string(kernel_atoms) +
                 " atoms, weights " + (exchanges ? "through shared memory" : "in registers"));
    const int head_size = 16 * kernel_atoms;
    std::mt19937 random(uint32_t(1000 * kernel_atoms + 10 * atoms + exchanges));
    const Rows<Operand<Format>> q(16 * head_size, random), p(16 * 16, random);
    const Rows<Format> k(16 * head_size, random), v(16 * head_size, random);
    std::vector<float> scores(16 * 16), maxima(16), sums(16), out(size_t(16 * head_size));
    for (size_t i = 0; i < out.size(); i++) out[i] = float(i % 7);
    const std::vector<float> before = out;

    const MatrixParams params{q.bytes.data(), k.bytes.data(), v.bytes.data(), p.values.data(), scores.data(),
                              maxima.data(),  sums.data(),    out.data(),     atoms,           exchanges};
    const std::string name = std::string("multiply_") + format + "_" + std::to_string(kernel_atoms);
    const emulator::Kernel* kernel = emulator::find_kernel(KV8_TEXT(KV8_MODULE), name.c_str());
    ASSERT_NE(kernel, nullptr) << name;
    constexpr int kSharedBytes = 60 * 1024;
    emulator::run(*kernel, &params, 1, kSharedBytes);

    for (int row = 0; row < 16; row++) {
        double sum = 0, sum_magnitude = 0;
        float most = scores[size_t(row * 16)];
        for (int token = 0; token < 16; token++) {
            double exact = 0, magnitude = 0;
            for (int d = 0; d < head_size; d++) {
                const double product =
                    double(q.values[size_t(row * head_size + d)]) * k.values[size_t(token * head_size + d)];
                exact += product;
                magnitude += std::fabs(product);
            }
            const float got = scores[size_t(row * 16 + token)];
            expect_near(got / Matrix<Format>::kStoredK, exact, magnitude, "score", row, token);
            most = std::max(most, got);
            sum += got;
            sum_magnitude += std::fabs(got);
        }
        EXPECT_EQ(maxima[size_t(row)], most) << "maximum of row " << row;
        expect_near(sums[size_t(row)], sum, sum_magnitude, "sum", row, 0);

        for (int d = 0; d < head_size; d++) {
            const size_t at = size_t(row * head_size + d);
            if (d >= 16 * atoms) {
                EXPECT_EQ(out[at], before[at]) << "dim " << d << " is beyond the atoms asked for";
                continue;
            }
            double exact = before[at], magnitude = before[at];
            for (int token = 0; token < 16; token++) {
                const double product = double(p.values[size_t(row * 16 + token)]) *
                                       v.values[size_t(token * head_size + d)] * Matrix<Format>::kStoredV;
                exact += product;
                magnitude += std::fabs(product);
            }
            expect_near(out[at], exact, magnitude, "output", row, d);
        }
    }
}

template <class Format>
void expect_products_of_all_sizes(const char* format) {
    for (int kernel_atoms : kAtomCounts)
        for (int atoms = 0; atoms <= kernel_atoms; atoms++)
            if (atoms <= 4 || atoms + 4 >= kernel_atoms)
                for (bool exchanges : {false, true}) expect_products<Format>(format, kernel_atoms, atoms, exchanges);
}

#if !defined(KV8_MATRIX_FLUSHES_SUBNORMALS)
TEST(Matrix, MultipliesF16) { expect_products_of_all_sizes<F16>("F16"); }
TEST(Matrix, MultipliesE5M2) { expect_products_of_all_sizes<E5M2>("E5M2"); }
#endif
TEST(Matrix, MultipliesBf16) { expect_products_of_all_sizes<BF16>("BF16"); }
TEST(Matrix, MultipliesE4M3FN) { expect_products_of_all_sizes<E4M3FN>("E4M3FN"); }
#if defined(KV8_MATRIX_AMD)
TEST(Matrix, MultipliesE4M3FNUZ) { expect_products_of_all_sizes<E4M3FNUZ>("E4M3FNUZ"); }
#endif
#if defined(KV8_CONVERTS_FNUZ)
TEST(Matrix, MultipliesE5M2FNUZ) { expect_products_of_all_sizes<E5M2FNUZ>("E5M2FNUZ"); }
#endif

}  // namespace
}  // namespace kv8::gpu
