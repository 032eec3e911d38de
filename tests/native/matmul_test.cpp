// Matrix products against float64, over dtypes, shapes, strides and bias; and that a row's bits are its own. The CPU has none.
#include <gtest/gtest.h>

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
