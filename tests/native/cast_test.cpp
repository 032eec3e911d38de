// kv8_cast on every device, bit for bit against exact arithmetic.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "staging.h"
#include "elements.h"
#include "exact_fp8.h"

namespace {

using namespace kv8_test;

uint32_t expected(kv8_dtype from, kv8_dtype to, uint32_t bits, float scale) {
    if (is_fp8(to) && !is_fp8(from)) return exact::quantize(from, to, bits, bits_of(scale));
    if (is_fp8(from) && !is_fp8(to)) return exact::dequantize(from, to, bits, bits_of(scale));
    return exact::convert(from, to, bits);
}

// Casts the values on every instruction set and compares each result.
void expect_casts(kv8_dtype from, kv8_dtype to, const std::vector<uint32_t>& values, float scale = 1.0f) {
    std::vector<uint32_t> want(values.size());
    for (size_t i = 0; i < values.size(); i++) want[i] = expected(from, to, values[i], scale);
    const Elements src(from, values);
    for (const auto& device : devices()) {
        const Elements dst(to, values.size());
        ASSERT_EQ(run(*device, cast_args(src.span(), from, dst.span(), to, values.size(), scale)), KV8_OK)
            << kv8_last_error();
        for (size_t i = 0; i < values.size(); i++)
            ASSERT_EQ(dst.at(i), want[i]) << device->name() << ": " << name_of(from) << " 0x" << std::hex << values[i]
                                          << " to " << name_of(to) << ", scale " << scale;
    }
}

std::vector<uint32_t> all_patterns(kv8_dtype dtype) {
    std::vector<uint32_t> values(size_t{1} << (8 * bytes_of(dtype)));
    for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<uint32_t>(i);
    return values;
}

std::vector<uint32_t> with_both_signs(std::vector<uint32_t> values) {
    const size_t count = values.size();
    for (size_t i = 0; i < count; i++) values.push_back(values[i] | 0x80000000u);
    return values;
}

std::vector<uint32_t> random_floats(size_t count) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    std::uniform_int_distribution<uint32_t> exponent(127 - 24, 127 + 20);
    std::vector<uint32_t> values(count);
    for (size_t i = 0; i < count; i++) {
        values[i] = static_cast<uint32_t>(random());
        if (i % 2 == 0) values[i] = (values[i] & 0x807FFFFFu) | exponent(random) << 23;  // within the formats' ranges
    }
    return values;
}

const float kScales[] = {0x1p-126f,     1e-30f, 0.0123f,  1.0f / 448, 0.5f,    0x1.000002p0f,
                         0x1.fffffep0f, 3.7f,   57344.0f, 1e30f,      0x1p126f};

TEST(Cast, EncodesEverySixteenBitPattern) {
    for (kv8_dtype from : {KV8_F16, KV8_BF16})
        for (kv8_dtype to : kFp8) expect_casts(from, to, all_patterns(from));
}

TEST(Cast, EncodesFloatsAtEveryBoundary) {
    for (kv8_dtype to : kFp8) expect_casts(KV8_F32, to, with_both_signs(exact::boundaries(to)));
}

TEST(Cast, EncodesAnyFloat) {
    SCOPED_TRACE(testing::Message() << "seed " << seed());
    for (kv8_dtype to : kFp8) expect_casts(KV8_F32, to, random_floats(200'000));
}

TEST(Cast, DecodesEveryCode) {
    for (kv8_dtype from : kFp8)
        for (kv8_dtype to : kPlain) expect_casts(from, to, all_patterns(from));
}

TEST(Cast, DecodesByAnyScale) {
    for (kv8_dtype from : kFp8)
        for (kv8_dtype to : kPlain)
            for (float scale : kScales) expect_casts(from, to, all_patterns(from), scale);
}

// x lies as near as its dtype allows to where x / scale is halfway between two codes, so that a reciprocal or a second
// rounding gives another code.
TEST(Cast, DividesByTheScaleWithOneRounding) {
    for (kv8_dtype from : kPlain) {
        for (kv8_dtype to : kFp8) {
            for (float scale : kScales) {
                std::vector<uint32_t> values;
                for (uint32_t point : exact::boundaries(to)) {
                    const exact::Number product =
                        exact::multiply(exact::decode(exact::format_of(KV8_F32), point),
                                        exact::decode(exact::format_of(KV8_F32), bits_of(scale)));
                    const uint32_t nearest = exact::encode(exact::format_of(from), product);
                    for (uint32_t x = nearest < 2 ? 0 : nearest - 2; x <= nearest + 2; x++) values.push_back(x);
                }
                expect_casts(from, to, values, scale);
            }
        }
    }
}

// What the quickest way to codes takes: runs of numbers whose quotients are in the format's range.
void expect_ordinary_casts(kv8_dtype to, const std::vector<float>& values, float scale) {
    const float most = to == KV8_E4M3FN ? 448.0f : to == KV8_E4M3FNUZ ? 240.0f : 57344.0f;
    std::vector<uint32_t> ordinary;
    for (float x : values)
        if (std::abs(double(x) / scale) <= most)
            for (float either : {x, -x}) ordinary.push_back(bits_of(either));
    ASSERT_FALSE(ordinary.empty());
    while (ordinary.size() % 512 != 0) ordinary.push_back(ordinary.back());
    expect_casts(KV8_F32, to, ordinary, scale);
}

TEST(Cast, QuantizesOrdinaryNumbersAtEveryBoundary) {
    for (kv8_dtype to : kFp8) {
        for (float scale : kScales) {
            std::vector<float> values;
            for (uint32_t point : exact::boundaries(to)) {
                const float nearest = float_of(point) * scale;
                if (!std::isfinite(nearest)) continue;
                values.insert(values.end(),
                              {nearest, std::nextafter(nearest, 0.0f), std::nextafter(nearest, HUGE_VALF)});
            }
            expect_ordinary_casts(to, values, scale);
        }
    }
}

// Quotients that lie next to halfway between a boundary of two codes and a float32 beside it, within 2^-44 of themselves: whoever
// multiplies by a reciprocal instead of dividing might round such a one to the boundary, or not. With a boundary's significand
// halved in its last place, N, of 25 bits, and significands X and S of 24 bits it is X 2^j = N S + d for a small d, so
// S = -d / N modulo 2^j: there is one S for each d, or none.
TEST(Cast, QuantizesByTheScalesThatAreHardToDivideBy) {
    int cases = 0;
    for (int boundary = 16; boundary < 32; boundary++) {
        for (int side : {-1, 1}) {
            // Below a power of two float32 lie twice as close.
            const uint64_t n = boundary == 16 && side < 0 ? (uint64_t{1} << 25) - 1 : (uint64_t(boundary) << 20) + side;
            uint64_t inverse = 1;  // modulo 2^64, each step doubles the bits that are right
            for (int step = 0; step < 6; step++) inverse *= 2 - n * inverse;
            for (int j : {24, 25}) {
                for (int64_t d = -16; d <= 16; d++) {
                    const uint64_t s = (uint64_t(-d) * inverse) & ((uint64_t{1} << j) - 1);
                    const uint64_t x = (n * s + uint64_t(d)) >> j;
                    const auto is_significand = [](uint64_t w) { return w >> 23 == 1; };
                    if (d == 0 || !is_significand(s) || !is_significand(x)) continue;
                    ASSERT_EQ(x << j, n * s + uint64_t(d));
                    cases++;
                    std::vector<float> values;
                    for (int exponent = -20; exponent <= 17; exponent++)
                        for (int64_t beside : {-1, 0, 1})
                            values.push_back(std::ldexp(float(int64_t(x) + beside), exponent - 23));
                    for (kv8_dtype to : kFp8) expect_ordinary_casts(to, values, std::ldexp(float(s), -23));
                }
            }
        }
    }
    EXPECT_GT(cases, 50);
}

TEST(Cast, ConvertsBetweenTheFp8FormatsThroughTheExactValue) {
    for (kv8_dtype from : kFp8)
        for (kv8_dtype to : kFp8) expect_casts(from, to, all_patterns(from));
}

TEST(Cast, WidensAndCrossesEverySixteenBitPattern) {
    for (kv8_dtype from : {KV8_F16, KV8_BF16})
        for (kv8_dtype to : kPlain) expect_casts(from, to, all_patterns(from));
}

// Every float16 and bfloat16 number, every point halfway between two, and the float32 neighbours of both.
TEST(Cast, NarrowsFloatsAtEveryBoundary) {
    for (kv8_dtype to : {KV8_F16, KV8_BF16}) {
        expect_casts(KV8_F32, to, with_both_signs(exact::boundaries(to)));
        expect_casts(KV8_F32, to, random_floats(100'000));
    }
}

TEST(Cast, MakesNanCanonical) {
    expect_casts(KV8_F32, KV8_F32, {0x7F800001u, 0xFFC00000u, 0x7FFFFFFFu, 0x3F800000u, 0x80000000u, 0xFF800000u, 1u});
}

TEST(Cast, TouchesCountElementsAndNothingBeside) {
    constexpr uint8_t kGuard = 0xA5;
    std::mt19937 random(static_cast<uint32_t>(seed()));
    SCOPED_TRACE(testing::Message() << "seed " << seed());
    for (kv8_dtype from : kAll) {
        for (kv8_dtype to : kAll) {
            for (size_t count = 0; count <= 49; count++) {
                const size_t from_bytes = bytes_of(from), to_bytes = bytes_of(to);
                const size_t lead = 1 + random() % 17;  // elements, so that every alignment comes up
                std::vector<uint8_t> dst((lead + count + 20) * to_bytes, kGuard);
                std::vector<uint8_t> src((lead + count) * from_bytes);
                for (uint8_t& byte : src) byte = static_cast<uint8_t>(random());
                for (const auto& device : devices()) {
                    std::fill(dst.begin(), dst.end(), kGuard);
                    const kv8_span in = {reinterpret_cast<uint64_t>(src.data() + lead * from_bytes),
                                         count * from_bytes};
                    const kv8_span out = {reinterpret_cast<uint64_t>(dst.data() + lead * to_bytes), count * to_bytes};
                    ASSERT_EQ(run(*device, cast_args(in, from, out, to, count)), KV8_OK) << kv8_last_error();
                    for (size_t i = 0; i < dst.size(); i++) {
                        if (i >= lead * to_bytes && i < (lead + count) * to_bytes) continue;
                        ASSERT_EQ(dst[i], kGuard) << device->name() << " wrote beside " << count << " elements, "
                                                  << name_of(from) << " to " << name_of(to);
                    }
                    for (size_t i = 0; i < count; i++) {
                        const uint32_t x = load_bits(from, src.data() + (lead + i) * from_bytes);
                        ASSERT_EQ(load_bits(to, dst.data() + (lead + i) * to_bytes), expected(from, to, x, 1.0f))
                            << device->name() << " element " << i << " of " << count << ", " << name_of(from) << " 0x"
                            << std::hex << x << " to " << name_of(to);
                    }
                }
            }
        }
    }
}

// Large enough to be split over the threads.
TEST(Cast, WorksInPlaceBetweenDtypesOfOneSize) {
    const std::vector<uint32_t> values = random_floats(40'000);
    for (const auto& device : devices()) {
        Elements data(KV8_F16, values);
        ASSERT_EQ(run(*device, cast_args(data.span(), KV8_F16, data.span(), KV8_BF16, values.size())), KV8_OK)
            << kv8_last_error();
        for (size_t i = 0; i < values.size(); i++)
            ASSERT_EQ(load_bits(KV8_BF16, reinterpret_cast<const uint16_t*>(data.span().ptr) + i),
                      exact::convert(KV8_F16, KV8_BF16, values[i] & 0xFFFFu))
                << device->name() << " element " << i << ", seed " << seed();
    }
}

}  // namespace
