// fp8.h, one value at a time, against exact arithmetic.
#include "fp8/fp8.h"

#include <gtest/gtest.h>

#include <random>

#include "test_devices.h"
#include "exact_fp8.h"

namespace {

using namespace kv8_test;
namespace fp8 = kv8::fp8;

template <kv8_dtype D, class F>
struct Case {
    static constexpr kv8_dtype dtype = D;
    using Format = F;
};

template <class C>
class Fp8 : public testing::Test {
  protected:
    using Format = typename C::Format;
    static constexpr kv8_dtype dtype = C::dtype;

    // Both signs of a float32, encoded.
    static void expect_encodes(uint32_t bits) {
        for (uint32_t sign : {0u, 0x80000000u}) {
            const uint32_t x = bits | sign;
            ASSERT_EQ(fp8::encode<Format>(fp8::float_of(x)), exact::convert(KV8_F32, dtype, x))
                << name_of(dtype) << " of float32 bits 0x" << std::hex << x;
        }
    }
};

using Formats = testing::Types<Case<KV8_E4M3FN, fp8::E4M3FN>, Case<KV8_E5M2, fp8::E5M2>,
                               Case<KV8_E4M3FNUZ, fp8::E4M3FNUZ>, Case<KV8_E5M2FNUZ, fp8::E5M2FNUZ>>;
TYPED_TEST_SUITE(Fp8, Formats);

TYPED_TEST(Fp8, DecodesEveryCode) {
    for (uint32_t code = 0; code < 256; code++)
        EXPECT_EQ(fp8::bits_of(fp8::decode<typename TestFixture::Format>(static_cast<uint8_t>(code))),
                  exact::convert(TestFixture::dtype, KV8_F32, code))
            << name_of(TestFixture::dtype) << " code 0x" << std::hex << code;
}

TYPED_TEST(Fp8, EncodesAtEveryBoundary) {
    for (uint32_t bits : exact::boundaries(TestFixture::dtype)) this->expect_encodes(bits);
}

TYPED_TEST(Fp8, EncodesAnyFloat) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    SCOPED_TRACE(testing::Message() << "seed " << seed());
    for (int i = 0; i < 200'000; i++) this->expect_encodes(random() & 0x7FFFFFFFu);
    // Most of all floats are out of range: as many within the format's.
    using D = fp8::Derived<typename TestFixture::Format>;
    std::uniform_int_distribution<uint32_t> in_range(D::unit / 2, D::max_finite);
    for (int i = 0; i < 200'000; i++) this->expect_encodes(in_range(random));
}

TEST(Fp8Formats, HaveTheLimitsOfTheirStandards) {
    EXPECT_EQ(fp8::E4M3FN::max_value, 448.0f);
    EXPECT_EQ(fp8::E5M2::max_value, 57344.0f);
    EXPECT_EQ(fp8::E4M3FNUZ::max_value, 240.0f);
    EXPECT_EQ(fp8::E5M2FNUZ::max_value, 57344.0f);
    EXPECT_EQ(fp8::decode<fp8::E4M3FN>(fp8::E4M3FN::max_code), 448.0f);
    EXPECT_EQ(fp8::decode<fp8::E5M2>(fp8::E5M2::max_code), 57344.0f);
    EXPECT_EQ(fp8::decode<fp8::E4M3FNUZ>(fp8::E4M3FNUZ::max_code), 240.0f);
    EXPECT_EQ(fp8::decode<fp8::E5M2FNUZ>(fp8::E5M2FNUZ::max_code), 57344.0f);
    EXPECT_EQ(fp8::decode<fp8::E4M3FN>(1), 0x1p-9f);
    EXPECT_EQ(fp8::decode<fp8::E5M2>(1), 0x1p-16f);
    EXPECT_EQ(fp8::decode<fp8::E4M3FNUZ>(1), 0x1p-10f);
    EXPECT_EQ(fp8::decode<fp8::E5M2FNUZ>(1), 0x1p-17f);
}

TEST(Fp8Formats, SaturateAndKeepTheSignOfZeroOnlyWhereThereIsOne) {
    const float infinity = fp8::float_of(fp8::kFloatInfinity), nan = fp8::float_of(fp8::kFloatNan);
    EXPECT_EQ(fp8::encode<fp8::E4M3FN>(infinity), 0x7E);
    EXPECT_EQ(fp8::encode<fp8::E5M2>(-infinity), 0xFB);
    EXPECT_EQ(fp8::encode<fp8::E4M3FNUZ>(-infinity), 0xFF);
    EXPECT_EQ(fp8::encode<fp8::E4M3FN>(-nan), 0x7F);
    EXPECT_EQ(fp8::encode<fp8::E5M2FNUZ>(nan), 0x80);
    EXPECT_EQ(fp8::encode<fp8::E4M3FN>(-0.0f), 0x80);
    EXPECT_EQ(fp8::encode<fp8::E5M2>(-1e-30f), 0x80);
    EXPECT_EQ(fp8::encode<fp8::E4M3FNUZ>(-0.0f), 0x00);
    EXPECT_EQ(fp8::encode<fp8::E5M2FNUZ>(-1e-30f), 0x00);
}

// The design's claim: a block moves from OCP to FNUZ storage by doubling the scale, NaN and -0 apart.
TEST(Fp8Formats, FnuzCodeIsHalfTheOcpValue) {
    for (uint32_t code = 0; code < 256; code++) {
        const auto c = static_cast<uint8_t>(code);
        if ((c & 0x7F) == 0x7F || c == 0x80) continue;
        EXPECT_EQ(fp8::decode<fp8::E4M3FNUZ>(c) * 2, fp8::decode<fp8::E4M3FN>(c)) << code;
        if ((c & 0x7F) < 0x7C) {
            EXPECT_EQ(fp8::decode<fp8::E5M2FNUZ>(c) * 2, fp8::decode<fp8::E5M2>(c)) << code;
        }
    }
}

static_assert(fp8::encode<fp8::E4M3FN>(1.0f) == 0x38 && fp8::decode<fp8::E4M3FN>(0x38) == 1.0f,
              "usable at compile time");

}  // namespace
