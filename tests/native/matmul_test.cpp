// Matrix products against float64, over dtypes, shapes, strides and bias; and that a row's bits are its own. The CPU has none.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "elements.h"
#include "exact_fp8.h"
#include "plain_rows.h"
#include "refusals.h"
#include "staging.h"

namespace {

using namespace kv8_test;

struct Shape {
    int tokens, outputs, inputs;
};

Elements numbers(kv8_dtype dtype, size_t count, std::mt19937& random) {
    Elements elements(dtype, count);
    std::normal_distribution<float> normal(0, 1);
    for (size_t i = 0; i < count; i++) elements.set(i, exact::convert(KV8_F32, dtype, bits_of(normal(random))));
    return elements;
}

double value_of(const Elements& elements, size_t i) {
    return double(float_of(exact::convert(elements.dtype(), KV8_F32, elements.at(i))));
}

// A call with everything that it names.
struct Product {
    Shape shape;
    Rows x, y;
    Elements weights, bias;
    kv8_matmul_args args{};

    Product(kv8_dtype from, kv8_dtype to, Shape s, bool has_bias, std::mt19937& random)
        : shape(s),
          x(from, s.tokens, 1, s.inputs),
          y(to, s.tokens, 1, s.outputs),
          weights(numbers(from, static_cast<size_t>(s.outputs) * static_cast<size_t>(s.inputs), random)),
          bias(numbers(to, static_cast<size_t>(s.outputs), random)) {
        x.randomize(random, 1);
        args.struct_size = sizeof(args);
        args.tokens = s.tokens;
        args.outputs = s.outputs;
        args.inputs = s.inputs;
        args.x = x.rows();
        args.y = y.rows();
        args.weights = weights.span();
        if (has_bias) args.bias = bias.span();
    }
    Product(const Product&) = delete;
    Product& operator=(const Product&) = delete;

    void expect_right() const {
        const bool has_bias = args.bias.ptr != 0;
        for (int t = 0; t < shape.tokens; t++)
            for (int o = 0; o < shape.outputs; o++) {
                double sum = has_bias ? value_of(bias, static_cast<size_t>(o)) : 0, magnitudes = std::abs(sum);
                for (int i = 0; i < shape.inputs; i++) {
                    const double term = double(x.get(t, 0, i)) *
                                        value_of(weights, static_cast<size_t>(o) * static_cast<size_t>(shape.inputs) +
                                                              static_cast<size_t>(i));
                    sum += term;
                    magnitudes += std::abs(term);
                }
                // Whatever the order of its sum, float32 loses half a unit with each step; errors of random signs add up by
                // their root, four times which leaves room.
                const double lost = magnitudes * 0x1p-24 * 4 * std::sqrt(shape.inputs + 1);
                ASSERT_NEAR(y.get(t, 0, o), sum, tolerance(y.dtype(), sum, 0) + lost) << t << " " << o;
            }
        EXPECT_TRUE(y.gaps_are_untouched());
    }
};

class Matmul : public testing::Test {
  protected:
    std::mt19937 random{static_cast<uint32_t>(seed())};
    testing::ScopedTrace trace{__FILE__, __LINE__, "KV8_TEST_SEED=" + std::to_string(seed())};

    // Where a real device lacks the library, its own words are the reason to skip.
    void SetUp() override {
        const TestDevice& device = *devices().front();
        Product one(KV8_F32, KV8_F32, {1, 8, 8}, false, random);
        const kv8_status status = run(device, one.args);
        if (!device.is_gpu())
            EXPECT_REFUSED(status, KV8_UNSUPPORTED, "The CPU backend has no matrix products");
        else if (status == KV8_LIBRARY_MISSING && !device.is_emulated())
            GTEST_SKIP() << kv8_last_error();
        else
            ASSERT_EQ(status, KV8_OK) << kv8_last_error();
    }

    template <class Test>
    void on_devices_with_products(const Test& test) {
        for (const auto& device : devices())
            if (device->is_gpu()) test(*device);
    }
};

TEST_F(Matmul, OfAllDtypes) {
    on_devices_with_products([&](const TestDevice& device) {
        for (kv8_dtype from : kPlain)
            for (kv8_dtype to : {from, kv8_dtype{KV8_F32}})
                for (bool has_bias : {false, true})
                    for (Shape shape : {Shape{1, 1, 1}, {3, 24, 37}, {1, 130, 64}, {17, 48, 200}, {70, 8, 512}}) {
                        SCOPED_TRACE(testing::Message()
                                     << name_of(from) << " to " << name_of(to) << ", bias " << has_bias << ", ["
                                     << shape.tokens << "][" << shape.inputs << "] by [" << shape.outputs << "]");
                        Product product(from, to, shape, has_bias, random);
                        ASSERT_EQ(run(device, product.args), KV8_OK) << kv8_last_error();
                        product.expect_right();
                    }
    });
}

TEST_F(Matmul, KeepsAllBitsOfFloat32) {
    on_devices_with_products([&](const TestDevice& device) {
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
        ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
        EXPECT_EQ(y, std::vector<float>(16, (1 + 0x1p-20f) * (1 - 0x1p-22f)));
    });
}

TEST_F(Matmul, GivesARowTheSameBitsInEveryBatch) {
    on_devices_with_products([&](const TestDevice& device) {
        for (kv8_dtype dtype : kPlain)
            for (bool has_bias : {false, true}) {
                SCOPED_TRACE(testing::Message() << name_of(dtype) << ", bias " << has_bias);
                const Shape shape{150, 96, 320};
                Product all(dtype, dtype, shape, has_bias, random);
                ASSERT_EQ(run(device, all.args), KV8_OK) << kv8_last_error();
                for (int tokens : {1, 2, 7, 64, 149}) {
                    const int first = shape.tokens - tokens;
                    Rows part(dtype, shape.tokens, 1, shape.outputs);
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
