// The engine's operations against float64, over all row dtypes, widths with and without tails, strides with gaps, and every
// instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "staging.h"
#include "elements.h"
#include "exact_fp8.h"
#include "plain_rows.h"

namespace {

using namespace kv8_test;

class EngineOps : public testing::Test {
  protected:
    std::mt19937 random{static_cast<uint32_t>(seed())};
    testing::ScopedTrace trace{__FILE__, __LINE__, "KV8_TEST_SEED=" + std::to_string(seed())};

    template <class Test>
    void on_every_device(const Test& test) {
        for (const auto& device : devices()) {
            SCOPED_TRACE(device->name());
            test(*device);
            if (testing::Test::HasFatalFailure()) return;
        }
    }
};

struct NormCase {
    kv8_dtype x, weight, out;
    int residual;  // a dtype, or -1
    int tokens, heads, width;
};

void test_rms_norm(const TestDevice& device, const NormCase& c, std::mt19937& random) {
    SCOPED_TRACE(testing::Message() << "x " << name_of(c.x) << ", weight " << name_of(c.weight) << ", out "
                                    << name_of(c.out) << ", residual " << c.residual << ", [" << c.tokens << "]["
                                    << c.heads << "][" << c.width << "]");
    const bool has_residual = c.residual >= 0;
    Rows x(c.x, c.tokens, c.heads, c.width), out(c.out, c.tokens, c.heads, c.width);
    Rows residual(has_residual ? c.residual : KV8_F32, c.tokens, c.heads, c.width);
    x.randomize(random, 3);
    residual.randomize(random, 2);
    const Rows x_before = x, residual_before = residual;
    Elements weight(c.weight, static_cast<size_t>(c.width));
    std::normal_distribution<float> normal(1, 0.3f);
    for (size_t i = 0; i < weight.size(); i++)
        weight.set(i, exact::convert(KV8_F32, c.weight, bits_of(normal(random))));

    kv8_rms_norm_args args{};
    args.struct_size = sizeof(args);
    args.eps = 1e-5f;
    args.tokens = c.tokens;
    args.heads = c.heads;
    args.width = c.width;
    args.weight_dtype = c.weight;
    args.x = x.rows();
    if (has_residual) args.residual = residual.rows();
    args.weight = weight.span();
    args.out = out.rows();
    ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();

    for (int t = 0; t < c.tokens; t++) {
        for (int h = 0; h < c.heads; h++) {
            double squares = 0;
            for (int i = 0; i < c.width; i++) {
                if (has_residual) {
                    const float sum = x_before.get(t, h, i) + residual_before.get(t, h, i);
                    ASSERT_EQ(residual.bits(t, h, i), exact::convert(KV8_F32, residual.dtype(), bits_of(sum)))
                        << t << " " << h << " " << i;
                }
                const double v = has_residual ? residual.get(t, h, i) : x_before.get(t, h, i);
                squares += v * v;
            }
            const double scale = 1 / std::sqrt(squares / c.width + double(args.eps));
            for (int i = 0; i < c.width; i++) {
                const double v = has_residual ? residual.get(t, h, i) : x_before.get(t, h, i);
                const double w = float_of(exact::convert(c.weight, KV8_F32, weight.at(static_cast<size_t>(i))));
                ASSERT_NEAR(out.get(t, h, i), v * scale * w, tolerance(c.out, v * scale * w, 4e-6))
                    << t << " " << h << " " << i;
            }
        }
    }
    EXPECT_TRUE(out.gaps_are_untouched());
    EXPECT_TRUE(residual.gaps_are_untouched());
}

TEST_F(EngineOps, RmsNormOfAllDtypes) {
    on_every_device([&](const TestDevice& device) {
        for (kv8_dtype x : kPlain)
            for (kv8_dtype weight : kPlain)
                for (kv8_dtype out : kPlain)
                    for (int residual : {-1, int(KV8_F32), int(KV8_F16), int(KV8_BF16)})
                        test_rms_norm(device, {x, weight, out, residual, 3, 2, 80}, random);
    });
}

TEST_F(EngineOps, RmsNormOfAllWidths) {
    on_every_device([&](const TestDevice& device) {
        for (int width : {1, 15, 16, 17, 255, 511, 512, 513, 528, 1100, 4096})
            for (int heads : {1, 3})
                test_rms_norm(device, {KV8_F32, KV8_BF16, KV8_F32, width % 2 ? -1 : int(KV8_F32), 2, heads, width},
                              random);
        test_rms_norm(device, {KV8_BF16, KV8_BF16, KV8_BF16, KV8_BF16, 70, 1, 512},
                      random);  // parts on several threads
        if (device.is_gpu())    // more rows than a GPU has blocks for
            test_rms_norm(device, {KV8_F32, KV8_F32, KV8_F32, -1, device.is_emulated() ? 100 : 1100, 1, 1040}, random);
    });
}

TEST_F(EngineOps, RmsNormInPlaceEqualsRmsNormBeside) {
    on_every_device([&](const TestDevice& device) {
        for (kv8_dtype dtype : kPlain) {
            Rows x(dtype, 4, 2, 528), beside(dtype, 4, 2, 528);
            x.randomize(random, 1);
            std::vector<float> weight(528, 0.75f);
            kv8_rms_norm_args args{};
            args.struct_size = sizeof(args);
            args.tokens = 4;
            args.heads = 2;
            args.width = 528;
            args.x = x.rows();
            args.weight = span_of(weight);
            args.out = beside.rows();
            ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
            args.out = args.x;
            ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
            for (int t = 0; t < 4; t++)
                for (int h = 0; h < 2; h++)
                    for (int i = 0; i < 528; i++)
                        ASSERT_EQ(x.bits(t, h, i), beside.bits(t, h, i)) << t << " " << h << " " << i;
        }
    });
}

TEST_F(EngineOps, RmsNormOfZerosIsZero) {
    on_every_device([&](const TestDevice& device) {
        std::vector<float> x(64), weight(64, 1), out(64, 9);
        kv8_rms_norm_args args{};
        args.struct_size = sizeof(args);
        args.eps = 1e-6f;
        args.tokens = args.heads = 1;
        args.width = 64;
        args.x.data = span_of(x);
        args.weight = span_of(weight);
        args.out.data = span_of(out);
        ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
        EXPECT_EQ(out, std::vector<float>(64, 0.0f));
    });
}

TEST_F(EngineOps, RopeRoundsEachStepBitForBit) {
    struct Shape {
        int width, rotary;
    };
    on_every_device([&](const TestDevice& device) {
        for (kv8_dtype dtype : kPlain)
            for (int style : {KV8_ROPE_HALF, KV8_ROPE_INTERLEAVED})
                for (Shape shape :
                     {Shape{64, 64}, {80, 32}, {96, 20}, {128, 128}, {256, 256}, {37, 2}, {300, 256}, {64, 46}}) {
                    SCOPED_TRACE(testing::Message() << name_of(dtype) << ", style " << style << ", width "
                                                    << shape.width << ", rotary size " << shape.rotary);
                    constexpr int kPositions = 11;
                    const int pairs = shape.rotary / 2;
                    std::vector<float> table;
                    std::uniform_real_distribution<float> angle(-1, 1);
                    for (int i = 0; i < kPositions * shape.rotary; i++) table.push_back(angle(random));
                    std::vector<int32_t> positions{10, 0, 7, 7, 3};
                    Rows x(dtype, 5, 3, shape.width);
                    x.randomize(random, 2);
                    const Rows before = x;
                    kv8_rope_args args{};
                    args.struct_size = sizeof(args);
                    args.tokens = 5;
                    args.heads = 3;
                    args.width = shape.width;
                    args.x = x.rows();
                    args.rope.table = span_of(table);
                    args.rope.positions = span_of(positions);
                    args.rope.rotary_size = shape.rotary;
                    args.rope.style = style;
                    ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
                    for (int t = 0; t < 5; t++)
                        for (int h = 0; h < 3; h++) {
                            const float* angles =
                                &table[static_cast<size_t>(positions[static_cast<size_t>(t)] * shape.rotary)];
                            for (int p = 0; p < pairs; p++) {
                                const int i = style == KV8_ROPE_HALF ? p : 2 * p,
                                          j = style == KV8_ROPE_HALF ? p + pairs : 2 * p + 1;
                                const float a = before.get(t, h, i), b = before.get(t, h, j), cosine = angles[p],
                                            sine = angles[pairs + p];
                                const volatile float ac = a * cosine, bs = b * sine, bc = b * cosine, as = a * sine;
                                ASSERT_EQ(x.bits(t, h, i), exact::convert(KV8_F32, dtype, bits_of(ac - bs)))
                                    << t << " " << h << " " << i;
                                ASSERT_EQ(x.bits(t, h, j), exact::convert(KV8_F32, dtype, bits_of(bc + as)))
                                    << t << " " << h << " " << j;
                            }
                            for (int i = shape.rotary; i < shape.width; i++)
                                ASSERT_EQ(x.bits(t, h, i), before.bits(t, h, i));
                        }
                    EXPECT_TRUE(x.gaps_are_untouched());
                }
    });
}

double activated(int activation, double x) {
    if (activation == KV8_SILU) return x / (1 + std::exp(-x));
    const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    return x / (1 + std::exp(-2 * u));  // x/2 (1 + tanh(u))
}

TEST_F(EngineOps, GateMul) {
    on_every_device([&](const TestDevice& device) {
        for (int activation : {KV8_SILU, KV8_GELU_TANH})
            for (kv8_dtype gate_dtype : kPlain)
                for (kv8_dtype up_dtype : kPlain)
                    for (kv8_dtype out_dtype : kPlain)
                        for (int width : {1, 16, 37, 1100}) {
                            SCOPED_TRACE(testing::Message() << (activation == KV8_SILU ? "SiLU, " : "GELU, ")
                                                            << name_of(gate_dtype) << " * " << name_of(up_dtype)
                                                            << " to " << name_of(out_dtype) << ", width " << width);
                            Rows gate(gate_dtype, 3, 1, width), up(up_dtype, 3, 1, width), out(out_dtype, 3, 1, width);
                            gate.randomize(random, 6);
                            up.randomize(random, 2);
                            gate.set(0, 0, 0, -80);
                            gate.set(1, 0, 0, 120);
                            gate.set(2, 0, 0, 0);
                            kv8_gate_mul_args args{};
                            args.struct_size = sizeof(args);
                            args.tokens = 3;
                            args.width = width;
                            args.activation = activation;
                            args.gate = gate.rows();
                            args.up = up.rows();
                            args.out = out.rows();
                            ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
                            for (int t = 0; t < 3; t++)
                                for (int i = 0; i < width; i++) {
                                    const double x = gate.get(t, 0, i),
                                                 expected = activated(activation, x) * double(up.get(t, 0, i));
                                    // e^-2|u| loses what 2u was rounded by, and is 0 where it would be subnormal.
                                    const double factor = up.get(t, 0, i);
                                    const double relative =
                                        activation == KV8_SILU
                                            ? 1e-6
                                            : 1e-6 + 0x1p-22 * std::abs(1.6 * x * (1 + 0.044715 * x * x));
                                    ASSERT_NEAR(out.get(t, 0, i), expected,
                                                tolerance(out_dtype, expected, std::min(relative, 1.0)) +
                                                    0x1p-126 * std::abs(x * factor))
                                        << t << " " << i << " of " << x;
                                }
                            EXPECT_TRUE(out.gaps_are_untouched());
                            args.out = args.up;
                            if (up_dtype != out_dtype) continue;
                            ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
                            for (int t = 0; t < 3; t++)
                                for (int i = 0; i < width; i++)
                                    ASSERT_EQ(up.bits(t, 0, i), out.bits(t, 0, i)) << "in place";
                        }
    });
}

TEST_F(EngineOps, ActivatesNumbersBeyondAllGates) {
    on_every_device([&](const TestDevice& device) {
        std::vector<float> gate{-1e30f, -200, -90, -0.0f, 1e-30f, 200, 3e38f}, up(7, 1), out(7);
        for (int activation : {KV8_SILU, KV8_GELU_TANH}) {
            kv8_gate_mul_args args{};
            args.struct_size = sizeof(args);
            args.tokens = 1;
            args.width = 7;
            args.activation = activation;
            args.gate.data = span_of(gate);
            args.up.data = span_of(up);
            args.out.data = span_of(out);
            ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
            EXPECT_EQ(out, (std::vector<float>{0, 0, 0, 0, 0.5e-30f, 200, 3e38f})) << activation;
        }
    });
}

TEST_F(EngineOps, Softcap) {
    on_every_device([&](const TestDevice& device) {
        for (kv8_dtype dtype : kPlain)
            for (float cap : {30.0f, 0.5f, 1e-3f})
                for (int width : {1, 16, 37, 1100}) {
                    SCOPED_TRACE(testing::Message() << name_of(dtype) << " within " << cap << ", width " << width);
                    Rows x(dtype, 3, 1, width);
                    x.randomize(random, 20);
                    x.set(0, 0, 0, 0);
                    x.set(1, 0, 0, -60000);
                    x.set(2, 0, 0, 0.01f);
                    const Rows before = x;
                    kv8_softcap_args args{};
                    args.struct_size = sizeof(args);
                    args.tokens = 3;
                    args.width = width;
                    args.cap = cap;
                    args.x = x.rows();
                    ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
                    for (int t = 0; t < 3; t++)
                        for (int i = 0; i < width; i++) {
                            const double given = before.get(t, 0, i),
                                         expected = double(cap) * std::tanh(given / double(cap));
                            ASSERT_NEAR(x.get(t, 0, i), expected, tolerance(dtype, expected, 1e-6))
                                << t << " " << i << " of " << given;
                        }
                    EXPECT_TRUE(x.gaps_are_untouched());
                }
    });
}

TEST_F(EngineOps, EmbeddingIsExact) {
    on_every_device([&](const TestDevice& device) {
        for (kv8_dtype table_dtype : kPlain)
            for (kv8_dtype out_dtype : kPlain)
                for (int width : {1, 64, 37, 1100}) {
                    const float scale = width % 2 ? 1.0f : 55.5f;
                    SCOPED_TRACE(testing::Message() << name_of(table_dtype) << " to " << name_of(out_dtype)
                                                    << ", width " << width << ", scale " << scale);
                    constexpr int kVocabulary = 13;
                    Elements table(table_dtype, static_cast<size_t>(kVocabulary * width));
                    std::normal_distribution<float> normal(0, 1);
                    for (size_t i = 0; i < table.size(); i++)
                        table.set(i, exact::convert(KV8_F32, table_dtype, bits_of(normal(random))));
                    std::vector<int32_t> ids{12, 0, 0, 5, 7, 12};
                    Rows out(out_dtype, 6, 1, width);
                    kv8_embedding_args args{};
                    args.struct_size = sizeof(args);
                    args.tokens = 6;
                    args.width = width;
                    args.vocabulary = kVocabulary;
                    args.table = table.span();
                    args.ids = span_of(ids);
                    args.out = out.rows();
                    args.table_dtype = table_dtype;
                    args.scale = scale;
                    ASSERT_EQ(run(device, args), KV8_OK) << kv8_last_error();
                    for (int t = 0; t < 6; t++)
                        for (int i = 0; i < width; i++) {
                            const size_t from = static_cast<size_t>(ids[static_cast<size_t>(t)] * width + i);
                            const float scaled = float_of(exact::convert(table_dtype, KV8_F32, table.at(from))) * scale;
                            ASSERT_EQ(out.bits(t, 0, i), exact::convert(KV8_F32, out_dtype, bits_of(scaled)))
                                << t << " " << i;
                        }
                    EXPECT_TRUE(out.gaps_are_untouched());
                }
    });
}

}  // namespace
