// Matrix products against float64, over dtypes, shapes, strides and bias; and that a row's bits are its own. A GPU's
// rows are of their weights' type, a CPU's of float32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "product.h"
#include "refusals.h"
#include "staging.h"

namespace {

using namespace kv8_test;

class Matmul : public testing::Test {
  protected:
    std::mt19937 random{static_cast<uint32_t>(seed())};
    testing::ScopedTrace trace{__FILE__, __LINE__, "KV8_TEST_SEED=" + std::to_string(seed())};

    // Where a real device lacks the library, its own words are the reason to skip.
    void SetUp() override {
        const TestDevice& device = *devices().front();
        Product one(KV8_F32, KV8_F32, {1, 8, 8}, false, random);
        const kv8_status status = run(device, one.args);
        if (status == KV8_LIBRARY_MISSING && device.is_gpu() && !device.is_emulated())
            GTEST_SKIP() << kv8_last_error();
        else
            ASSERT_EQ(status, KV8_OK) << kv8_last_error();
    }

    // Calls test(device, x's dtype, the weights', y's) for what each device multiplies.
    template <class Test>
    void on_devices_by_dtypes(const Test& test) {
        for (const auto& device : devices())
            for (kv8_dtype weights : kPlain) {
                SCOPED_TRACE(testing::Message() << name_of(weights));
                if (!device->is_gpu()) {
                    test(*device, KV8_F32, weights, KV8_F32);
                } else {
                    test(*device, weights, weights, weights);
                    test(*device, weights, weights, KV8_F32);
                }
            }
    }
};

TEST_F(Matmul, OfAllDtypes) {
    on_devices_by_dtypes([&](const TestDevice& device, kv8_dtype from, kv8_dtype weights, kv8_dtype to) {
        for (bool has_bias : {false, true})
            for (Shape shape : {Shape{1, 1, 1}, {3, 24, 37}, {1, 130, 64}, {2, 33, 129}, {17, 48, 200}, {70, 8, 512}}) {
                SCOPED_TRACE(testing::Message()
                             << "to " << name_of(to) << ", bias " << has_bias << ", [" << shape.tokens << "]["
                             << shape.inputs << "] by [" << shape.outputs << "]");
                Product product(from, weights, to, shape, has_bias, random);
                ASSERT_EQ(run(device, product.args), KV8_OK) << kv8_last_error();
                product.expect_right();
            }
    });
}

// The promised order, which lets these products stand beside a library's.
TEST_F(Matmul, AddsPartialSumsOfTheGivenLengthOnACpu) {
    for (const auto& device : devices()) {
        if (device->is_gpu()) continue;
        for (kv8_dtype dtype : kPlain)
            for (int length : {0, 1, 100, 1024})
                for (int tokens : {1, 2, 7, 13}) {
                    SCOPED_TRACE(testing::Message()
                                 << name_of(dtype) << ", length " << length << ", tokens " << tokens);
                    const Shape shape{tokens, 37, 301};
                    Product product(KV8_F32, dtype, KV8_F32, shape, true, random);
                    product.args.sum_length = length;
                    ASSERT_EQ(run(*device, product.args), KV8_OK) << kv8_last_error();
                    int fused_differ = 0, plain_differ = 0;
                    for (int t = 0; t < tokens; t++)
                        for (int o = 0; o < shape.outputs; o++) {
                            float fused_total = 0, plain_total = 0;
                            for (int begin = 0; begin < shape.inputs; begin += length == 0 ? shape.inputs : length) {
                                float fused = 0, plain = 0;
                                for (int i = begin; i < shape.inputs && (length == 0 || i < begin + length); i++) {
                                    const float x = product.x.get(t, 0, i),
                                                w = float(value_of(product.weights, size_t(o * shape.inputs + i)));
                                    fused = std::fma(x, w, fused);
                                    plain += x * w;
                                }
                                fused_total = begin == 0 ? fused : fused_total + fused;
                                plain_total = begin == 0 ? plain : plain_total + plain;
                            }
                            const float bias = float(value_of(product.bias, size_t(o))), y = product.y.get(t, 0, o);
                            fused_differ += fused_total + bias != y;
                            plain_differ += plain_total + bias != y;
                        }
                    EXPECT_EQ(std::min(fused_differ, plain_differ), 0);
                }
    }
}

TEST_F(Matmul, RefusesWhatADeviceDoesNotMultiply) {
    for (const auto& device : devices()) {
        if (device->is_gpu()) {
            Product mixed(KV8_F32, KV8_BF16, KV8_F32, {1, 8, 8}, false, random);
            EXPECT_REFUSED(run(*device, mixed.args), KV8_UNSUPPORTED, "weights_dtype is 2");
            Product ordered(KV8_F32, KV8_F32, {1, 8, 8}, false, random);
            ordered.args.sum_length = 4;
            EXPECT_REFUSED(run(*device, ordered.args), KV8_UNSUPPORTED, "sum_length is 4");
        } else {
            Product narrow(KV8_BF16, KV8_BF16, {1, 8, 8}, false, random);
            EXPECT_REFUSED(run(*device, narrow.args), KV8_UNSUPPORTED, "x.dtype is 2");
        }
    }
}

TEST_F(Matmul, KeepsAllBitsOfFloat32) {
    for (const auto& device : devices()) {
        // TensorFloat-32 has ten bits behind the point.
        std::vector<float> x(16, 1 + 0x1p-20f), weights(16 * 16), y(16);
        for (size_t o = 0; o < 16; o++) weights[o * 16 + o] = 1 - 0x1p-22f;
        kv8_matmul_args args{};
        args.struct_size = sizeof(args);
        args.tokens = 1;
        args.outputs = args.inputs = 16;
        args.x.data = span_of(x);
        args.y.data = span_of(y);
        args.weights = span_of(weights);
        ASSERT_EQ(run(*device, args), KV8_OK) << kv8_last_error();
        EXPECT_EQ(y, std::vector<float>(16, (1 + 0x1p-20f) * (1 - 0x1p-22f)));
    }
}

TEST_F(Matmul, GivesARowTheSameBitsInEveryBatch) {
    on_devices_by_dtypes([&](const TestDevice& device, kv8_dtype from, kv8_dtype weights, kv8_dtype to) {
        for (bool has_bias : {false, true}) {
            SCOPED_TRACE(testing::Message() << name_of(to) << ", bias " << has_bias);
            const Shape shape{150, 96, 320};
            Product all(from, weights, to, shape, has_bias, random);
            ASSERT_EQ(run(device, all.args), KV8_OK) << kv8_last_error();
            for (int tokens : {1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 64, 149}) {
                const int first = shape.tokens - tokens;
                Rows part(to, shape.tokens, 1, shape.outputs);
                kv8_matmul_args args = all.args;
                args.tokens = tokens;
                args.y = part.rows();
                for (kv8_rows* rows : {&args.x, &args.y}) {
                    const uint64_t skipped = static_cast<uint64_t>(first * rows->token_stride);
                    rows->data = {rows->data.ptr + skipped, rows->data.bytes - skipped};
                }
                ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
                for (int t = first; t < shape.tokens; t++)
                    for (int o = 0; o < shape.outputs; o++)
                        ASSERT_EQ(part.bits(t, 0, o), all.y.bits(t, 0, o)) << tokens << " rows: " << t << " " << o;
            }
        }
    });
}

}  // namespace
