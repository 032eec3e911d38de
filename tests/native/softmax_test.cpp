// The attention kernels' own e^x and tanh against the C library's in float64, in units of the last place. Compiled once per
// instruction set: some fuse a product with a sum.
#include "cpu/softmax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "elements.h"

namespace {

using namespace kv8::cpu::KV8_ISA;

// The largest |f(x) - exact(x)| in units of exact's last place, over every `step`th float32 from `first` on, as bits.
template <class Function, class Exact>
double worst_error(uint32_t first, uint32_t last, uint32_t step, const Function& f, const Exact& exact) {
    double worst = 0;
    for (uint64_t bits = first; bits <= last; bits += step * uint64_t(kWidth)) {
        rf x;
        for (int i = 0; i < kWidth; i++)
            x[i] = kv8_test::float_of(uint32_t(std::min<uint64_t>(bits + uint64_t(i) * step, last)));
        const rf y = f(x);
        for (int i = 0; i < kWidth; i++) {
            const double want = exact(double(x[i]));
            int exponent;
            std::frexp(want, &exponent);
            const double error = std::abs(y[i] - want) / std::ldexp(1.0, std::max(exponent - 24, -149));
            if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
        }
    }
    return worst;
}

TEST(Softmax, ExpIsWithinTwoUnitsOfTheLastPlace) {
    const auto f = [](rf x) { return exp_of_negative(x); };
    const auto exact = [](double x) { return std::exp(x); };
    EXPECT_LE(worst_error(kv8_test::bits_of(-0.0f), kv8_test::bits_of(-87.33f), 257, f, exact), 2.0);
    EXPECT_LE(worst_error(kv8_test::bits_of(-0.25f), kv8_test::bits_of(-8.0f), 11, f, exact), 2.0);
    EXPECT_EQ(1.0f, exp_of_negative(all(0.0f))[0]);
    EXPECT_EQ(0.0f, exp_of_negative(all(-87.34f))[0]);
    EXPECT_EQ(0.0f, exp_of_negative(all(-3e38f))[0]);
    EXPECT_EQ(0.0f, exp_of_negative(all(-INFINITY))[0]);
    EXPECT_TRUE(std::isnan(exp_of_negative(all(NAN))[0]));
}

TEST(Softmax, Exp2IsWithinTwoUnitsOfTheLastPlaceAndOneWhereProductsAreFused) {
    constexpr double kMost = kFuses ? 1.0 : 2.0;
    const auto f = [](rf x) { return exp2_of_negative(x); };
    const auto exact = [](double x) { return std::exp2(x); };
    EXPECT_LE(worst_error(kv8_test::bits_of(-0.0f), kv8_test::bits_of(-126.0f), 257, f, exact), kMost);
    EXPECT_LE(worst_error(kv8_test::bits_of(-0.25f), kv8_test::bits_of(-8.0f), 11, f, exact), kMost);
    EXPECT_EQ(1.0f, exp2_of_negative(all(0.0f))[0]);
    EXPECT_EQ(0x1p-126f, exp2_of_negative(all(-126.0f))[0]);
    EXPECT_EQ(0.0f, exp2_of_negative(all(-126.00001f))[0]);
    EXPECT_EQ(0.0f, exp2_of_negative(all(-3e38f))[0]);
    EXPECT_EQ(0.0f, exp2_of_negative(all(-INFINITY))[0]);
    EXPECT_TRUE(std::isnan(exp2_of_negative(all(NAN))[0]));
}

TEST(Softmax, TanhIsWithinThreeUnitsOfTheLastPlace) {
    const auto f = [](rf x) { return tanh_of(x); };
    const auto exact = [](double x) { return std::tanh(x); };
    for (float sign : {1.0f, -1.0f}) {
        const uint32_t first = kv8_test::bits_of(sign * 1e-30f), last = kv8_test::bits_of(sign * 100.0f);
        EXPECT_LE(worst_error(first, last, 257, f, exact), 3.0);
    }
    EXPECT_EQ(0.0f, tanh_of(all(0.0f))[0]);
    EXPECT_EQ(1.0f, tanh_of(all(INFINITY))[0]);
    EXPECT_EQ(-1.0f, tanh_of(all(-INFINITY))[0]);
    EXPECT_TRUE(std::isnan(tanh_of(all(NAN))[0]));
}

}  // namespace
