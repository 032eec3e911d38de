// kv8_amax over every granularity, dtype and stride, on every device.
#include <gtest/gtest.h>

#include <random>

#include "staging.h"
#include "elements.h"
#include "exact_fp8.h"
#include "sparse_memory.h"

namespace {

using namespace kv8_test;

struct Case {
    kv8_dtype dtype;
    int granularity, tokens, heads, width;
    bool accumulate;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << name_of(c.dtype) << " granularity " << c.granularity << ", " << c.tokens << " tokens, " << c.heads
               << " heads, width " << c.width << (c.accumulate ? ", accumulate" : "") << ", seed " << seed();
}

size_t results(const Case& c) {
    switch (c.granularity) {
        case KV8_AMAX_HEAD:
            return static_cast<size_t>(c.heads);
        case KV8_AMAX_CHANNEL:
            return static_cast<size_t>(c.heads) * static_cast<size_t>(c.width);
        case KV8_AMAX_ROW:
            return static_cast<size_t>(c.tokens) * static_cast<size_t>(c.heads);
        default:
            return 1;
    }
}

size_t result_of(const Case& c, int t, int h, int d) {
    switch (c.granularity) {
        case KV8_AMAX_HEAD:
            return static_cast<size_t>(h);
        case KV8_AMAX_CHANNEL:
            return static_cast<size_t>(h * c.width + d);
        case KV8_AMAX_ROW:
            return static_cast<size_t>(t * c.heads + h);
        default:
            return 0;
    }
}

void expect_amax(const Case& c, std::mt19937& random) {
    const int size = bytes_of(c.dtype);
    const int64_t head_stride = (c.width + static_cast<int>(random() % 5)) * size;
    const int64_t token_stride = head_stride * c.heads + static_cast<int>(random() % 3) * size;
    std::vector<uint8_t> data(static_cast<size_t>(token_stride * c.tokens + size));
    // Gaps hold infinities, which would win if they were looked at.
    for (size_t i = 0; i + static_cast<size_t>(size) <= data.size(); i += static_cast<size_t>(size))
        store_bits(c.dtype, data.data() + i, exact::convert(KV8_F32, c.dtype, 0x7F800000u));

    // Magnitudes of finite floats and infinity are ordered like their bits.
    std::vector<uint32_t> want(results(c), 0);
    std::vector<float> before(results(c));
    for (float& x : before) x = static_cast<float>(random() % 1000) / 100.0f;
    if (c.accumulate)
        for (size_t i = 0; i < want.size(); i++) want[i] = bits_of(before[i]);
    for (int t = 0; t < c.tokens; t++) {
        for (int h = 0; h < c.heads; h++) {
            for (int d = 0; d < c.width; d++) {
                uint32_t x = bits_of((static_cast<float>(random() % 20001) - 10000.0f) / 999.0f);
                if (random() % 50 == 0) x = 0xFFC00000u;           // NaN is skipped
                if (random() % 5000 == 0) x = 0xFF800000u;         // infinity is not
                if (random() % 20 == 0) x = random() % 0x7FFFFFu;  // denormal
                const uint32_t stored = exact::convert(KV8_F32, c.dtype, x);
                store_bits(c.dtype, data.data() + t * token_stride + h * head_stride + d * size, stored);
                const uint32_t magnitude = exact::convert(c.dtype, KV8_F32, stored) & 0x7FFFFFFFu;
                uint32_t& most = want[result_of(c, t, h, d)];
                if (magnitude <= 0x7F800000u && magnitude > most) most = magnitude;
            }
        }
    }
    for (const auto& device : devices()) {
        std::vector<float> out = before;
        kv8_amax_args args = {};
        args.struct_size = sizeof(args);
        args.granularity = c.granularity;
        args.x = {span_of(data), token_stride, head_stride, c.dtype, 0};
        args.out = span_of(out);
        args.tokens = c.tokens;
        args.heads = c.heads;
        args.width = c.width;
        args.accumulate = c.accumulate;
        ASSERT_EQ(run(*device, args), KV8_OK) << kv8_last_error() << ": " << c;
        for (size_t i = 0; i < out.size(); i++)
            ASSERT_EQ(bits_of(out[i]), want[i]) << device->name() << " result " << i << ": " << c;
    }
}

TEST(Amax, IsTheGreatestMagnitudeOfEveryGranularity) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (kv8_dtype dtype : kPlain)
        for (int granularity : {KV8_AMAX_TENSOR, KV8_AMAX_HEAD, KV8_AMAX_CHANNEL, KV8_AMAX_ROW})
            for (int tokens : {0, 1, 37})
                for (int heads : {1, 3})
                    for (int width : {1, 15, 16, 64, 100})
                        for (bool accumulate : {false, true})
                            ASSERT_NO_FATAL_FAILURE(
                                expect_amax({dtype, granularity, tokens, heads, width, accumulate}, random));
}

// An index of bytes in a row does not fit 32 bits.
TEST(Amax, ReadsARowOfMoreThanTwoGigabytes) {
    if (!devices().front()->shares_memory()) GTEST_SKIP() << "the row would be copied to the device";
    constexpr int32_t kWidth = 600'000'000;
    const SparseMemory row(uint64_t(kWidth) * 4);
    reinterpret_cast<float*>(row.span().ptr)[kWidth - 1] = -3;
    for (const auto& device : devices()) {
        float out = 0;
        kv8_amax_args args = {};
        args.struct_size = sizeof(args);
        args.granularity = KV8_AMAX_TENSOR;
        args.x.data = row.span();
        args.out = {reinterpret_cast<uint64_t>(&out), sizeof(out)};
        args.tokens = args.heads = 1;
        args.width = kWidth;
        ASSERT_EQ(kv8_amax(device->handle(), nullptr, &args), KV8_OK) << kv8_last_error();
        EXPECT_EQ(out, 3) << device->name();
    }
}

// Several parts for the threads to join.
TEST(Amax, JoinsWhatTheThreadsFound) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (int granularity : {KV8_AMAX_TENSOR, KV8_AMAX_HEAD, KV8_AMAX_CHANNEL, KV8_AMAX_ROW})
        ASSERT_NO_FATAL_FAILURE(expect_amax({KV8_BF16, granularity, 500, 4, 128, false}, random));
}

}  // namespace
