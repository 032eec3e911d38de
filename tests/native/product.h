// A legal call of kv8_matmul with random numbers in host memory, and what has to come of it.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "elements.h"
#include "exact_fp8.h"
#include "plain_rows.h"

namespace kv8_test {

struct Shape {
    int tokens, outputs, inputs;
};

inline Elements numbers(kv8_dtype dtype, size_t count, std::mt19937& random) {
    Elements elements(dtype, count);
    std::normal_distribution<float> normal(0, 1);
    for (size_t i = 0; i < count; i++) elements.set(i, exact::convert(KV8_F32, dtype, bits_of(normal(random))));
    return elements;
}

inline double value_of(const Elements& elements, size_t i) {
    return double(float_of(exact::convert(elements.dtype(), KV8_F32, elements.at(i))));
}

// A call with everything that it names.
struct Product {
    Shape shape;
    Rows x, y;
    Elements weights, bias;
    kv8_matmul_args args{};

    Product(kv8_dtype from, kv8_dtype to, Shape s, bool has_bias, std::mt19937& random)
        : Product(from, from, to, s, has_bias, random) {}
    Product(kv8_dtype from, kv8_dtype weight, kv8_dtype to, Shape s, bool has_bias, std::mt19937& random)
        : shape(s),
          x(from, s.tokens, 1, s.inputs),
          y(to, s.tokens, 1, s.outputs),
          weights(numbers(weight, static_cast<size_t>(s.outputs) * static_cast<size_t>(s.inputs), random)),
          bias(numbers(to, static_cast<size_t>(s.outputs), random)) {
        x.randomize(random, 1);
        args.struct_size = sizeof(args);
        args.tokens = s.tokens;
        args.outputs = s.outputs;
        args.inputs = s.inputs;
        args.x = x.rows();
        args.y = y.rows();
        args.weights = weights.span();
        args.weights_dtype = weight;
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

}  // namespace kv8_test
