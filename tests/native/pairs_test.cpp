// The primitives of attention's products of pairs: what rows of codes are widened to, which pairs are made, what a product is.
// Compiled once per instruction set that has them.
#include "cpu/pairs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "test_devices.h"

namespace {

using namespace kv8::cpu::KV8_ISA;
namespace fp8 = kv8::fp8;

float value_of_bfloat(uint16_t bits) { return fp8::float_of(uint32_t(bits) << 16); }

// Rows that hold all codes, the last first.
template <class Format>
void expect_decoded(int head_size) {
    SCOPED_TRACE(testing::Message() << "head size " << head_size);
    constexpr uint16_t kUntouched = 0x1234;
    const int count = (256 + head_size - 1) / head_size, elements = count * head_size;
    std::vector<uint8_t> codes(size_t(elements), 0);
    std::vector<const uint8_t*> rows;
    for (int i = 0; i < count; i++) {
        uint8_t* const row = codes.data() + (count - 1 - i) * head_size;
        for (int d = 0; d < head_size; d++) row[d] = uint8_t(i * head_size + d);
        rows.push_back(row);
    }
    std::vector<uint16_t> wide(size_t(elements) + 1, kUntouched);
    widen_to_bfloat<Format>(rows.data(), rows.data(), count, head_size, reinterpret_cast<uint8_t*>(wide.data()));
    EXPECT_EQ(kUntouched, wide.back());
    for (int i = 0; i < elements; i++) {
        const float want = fp8::decode<Format>(uint8_t(i)), got = value_of_bfloat(wide[size_t(i)]);
        SCOPED_TRACE(testing::Message() << "code " << (i & 0xFF));
        if (std::isnan(want))
            ASSERT_TRUE(std::isnan(got)) << got;
        else
            ASSERT_EQ(fp8::bits_of(want), fp8::bits_of(got));
        ASSERT_NE(FP_SUBNORMAL, std::fpclassify(got)) << "products take it for zero";
    }
}

TEST(Pairs, WidenEveryCodeToItsValue) {
    for (int head_size = kLanes; head_size <= kMaxHeadSize; head_size += kLanes) {
        expect_decoded<fp8::E4M3FN>(head_size);
        expect_decoded<fp8::E5M2>(head_size);
        expect_decoded<fp8::E4M3FNUZ>(head_size);
        expect_decoded<fp8::E5M2FNUZ>(head_size);
    }
}

TEST(Pairs, TwoPartsHoldANumberUpTo2ToTheMinus16OfIt) {
    for (uint32_t bits = 0x0D800000; bits < 0x7F000000; bits += 65537) {  // from 2^-100 on: the second part is normal
        rf x;
        for (int i = 0; i < kWidth; i++) x[i] = fp8::float_of((bits + uint32_t(i) * 977) | uint32_t(i & 1) << 31);
        uint16_t first[kWidth], second[kWidth];
        store_bfloats(second, store_bfloats(first, x));
        for (int i = 0; i < kWidth; i++) {
            const double size = std::abs(double(x[i])), rest = double(x[i]) - value_of_bfloat(first[i]);
            ASSERT_LE(std::abs(rest), 0x1p-8 * size) << x[i];
            ASSERT_LE(std::abs(rest - value_of_bfloat(second[i])), 0x1p-16 * size) << x[i];
        }
    }
}

TEST(Pairs, ProductsOfTwoRowsElements) {
    uint16_t a[kPairElements], b[kPairElements];
    for (int i = 0; i < kPairElements; i++) {
        a[i] = uint16_t(fp8::bits_of(float(1 + i)) >> 16);
        b[i] = uint16_t(fp8::bits_of(float(100 - i)) >> 16);
    }
    const rp first = load_pairs<>(reinterpret_cast<const uint8_t*>(a));
    const rp second = load_pairs<>(reinterpret_cast<const uint8_t*>(b));
    const uint32_t ten_and_one = 0x3F804120;
    const rf sums = add_products(all(0.5f), first, second);
    const rf lower = add_shared_products(rf{}, shared_pair(&ten_and_one), pair_first(first, second));
    const rf upper = add_shared_products(rf{}, shared_pair(&ten_and_one), pair_second(first, second));
    const auto product = [&](int i) { return float((1 + i) * (100 - i)); };
    const auto joined = [&](int i) { return float(10 * (1 + i) + 100 - i); };
    for (int i = 0; i < kWidth; i++) {
        EXPECT_EQ(0.5f + product(2 * i) + product(2 * i + 1), sums[i]);
        EXPECT_EQ(joined(i), lower[i]);
        EXPECT_EQ(joined(kWidth + i), upper[i]);
    }
}

// How subnormal bfloat16 count is the instruction's, and said in pairs.h.
TEST(Pairs, SubnormalNumbersCountAsZero) {
    const rp largest_subnormal = rp{} + 0x007F007Fu, least_normal = rp{} + 0x00800080u, large = rp{} + 0x7E007E00u;
    EXPECT_EQ(1.0f, add_products(all(1.0f), largest_subnormal, large)[0]);
    EXPECT_EQ(2.0f, add_products(all(1.0f), least_normal, large)[0]);
}

}  // namespace
