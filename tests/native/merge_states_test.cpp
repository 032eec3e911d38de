// kv8_merge_states against float64, on every device.
#include <gtest/gtest.h>

#include "attention_reference.h"
#include "staging.h"

namespace {

using namespace kv8_test;

// The result over all keys, from the results over two halves of them.
TEST(MergeStates, JoinsTwoDisjointHalves) {
    Random random(11);
    for (int width : {1, 15, 64, 100})
        for (kv8_dtype a_dtype : kPlain)
            for (kv8_dtype out_dtype : kPlain)
                for (const auto& device : devices()) {
                    SCOPED_TRACE(device->name() + ", width " + std::to_string(width) + ", a " + name_of(a_dtype) +
                                 ", out " + name_of(out_dtype));
                    const int tokens = 9, heads = 3;
                    const size_t rows = tokens * heads, a_size = size_t(bytes_of(a_dtype)),
                                 out_size = size_t(bytes_of(out_dtype));
                    const size_t count = rows * size_t(width);
                    Bytes a(count * a_size), b(count * 4), out(count * out_size);
                    std::vector<float> lse_a(rows), lse_b(rows), lse(rows);
                    for (size_t r = 0; r < rows; r++) {
                        lse_a[r] = r % 4 == 1 ? -INFINITY : float(10 * normal(random));
                        lse_b[r] = r % 4 >= 2 ? -INFINITY : float(10 * normal(random));
                        if (r % 4 == 2) lse_a[r] = -INFINITY;
                    }
                    for (size_t i = 0; i < count; i++) {  // a side without part holds NaN
                        const size_t r = i / size_t(width);
                        store_bits(a_dtype, a.data() + i * a_size,
                                   element_of(a_dtype, lse_a[r] == -INFINITY ? NAN : normal(random)));
                        store_bits(KV8_F32, b.data() + i * 4,
                                   element_of(KV8_F32, lse_b[r] == -INFINITY ? NAN : normal(random)));
                    }
                    kv8_merge_states_args m = {};
                    m.struct_size = sizeof(m);
                    m.tokens = tokens;
                    m.heads = heads;
                    m.width = width;
                    const auto packed = [&](const Bytes& bytes, kv8_dtype dtype) {
                        const int64_t row = int64_t(width) * bytes_of(dtype);
                        return kv8_rows{bytes.span(), row * heads, row, dtype, 0};
                    };
                    m.a = packed(a, a_dtype);
                    m.b = packed(b, KV8_F32);
                    m.out = packed(out, out_dtype);
                    m.lse_a = span_of(lse_a);
                    m.lse_b = span_of(lse_b);
                    m.lse = span_of(lse);
                    ASSERT_EQ(KV8_OK, run(*device, m)) << kv8_last_error();
                    for (size_t i = 0; i < count; i++) {
                        const size_t r = i / size_t(width);
                        const double ea = std::exp(double(lse_a[r])), eb = std::exp(double(lse_b[r]));
                        const double xa = ea == 0 ? 0 : value_of(a_dtype, load_bits(a_dtype, a.data() + i * a_size));
                        const double xb = eb == 0 ? 0 : value_of(KV8_F32, load_bits(KV8_F32, b.data() + i * 4));
                        const double both = ea + eb, want = both == 0 ? 0 : (ea * xa + eb * xb) / both;
                        const double size = both == 0 ? 0 : (ea * std::abs(xa) + eb * std::abs(xb)) / both;
                        const double got = value_of(out_dtype, load_bits(out_dtype, out.data() + i * out_size));
                        ASSERT_TRUE(std::abs(got - want) <= allowed_error(out_dtype, want, size))
                            << "element " << i << " is " << got << ", exactly " << want;
                        const double want_lse = std::log(both);
                        ASSERT_TRUE(both == 0 ? lse[r] == -INFINITY : std::abs(lse[r] - want_lse) <= 1e-5)
                            << "lse[" << r << "] is " << lse[r] << ", exactly " << want_lse;
                    }
                }
}

// In a's memory, or in b's, rows and lse: bit for bit what it gives elsewhere.
TEST(MergeStates, ReplacesEitherSide) {
    for (int width : {1, 64, 300})
        for (const auto& device : devices())
            for (bool replaces_a : {true, false}) {
                SCOPED_TRACE(device->name() + ", width " + std::to_string(width) + ", in place of " +
                             (replaces_a ? "a" : "b"));
                Random random(12);
                const int tokens = 7, heads = 3;
                const size_t rows = tokens * heads, count = rows * size_t(width);
                std::vector<float> a(count), b(count), out(count), lse_a(rows), lse_b(rows), lse(rows);
                for (std::vector<float>* values : {&a, &b, &lse_a, &lse_b})
                    for (float& value : *values) value = float(normal(random));
                const int64_t row = int64_t(width) * 4;
                const auto packed = [&](std::vector<float>& values) {
                    return kv8_rows{span_of(values), row * heads, row, KV8_F32, 0};
                };
                kv8_merge_states_args m = {};
                m.struct_size = sizeof(m);
                m.tokens = tokens;
                m.heads = heads;
                m.width = width;
                m.a = packed(a);
                m.b = packed(b);
                m.out = packed(out);
                m.lse_a = span_of(lse_a);
                m.lse_b = span_of(lse_b);
                m.lse = span_of(lse);
                ASSERT_EQ(KV8_OK, run(*device, m)) << kv8_last_error();
                m.out = replaces_a ? m.a : m.b;
                m.lse = replaces_a ? m.lse_a : m.lse_b;
                ASSERT_EQ(KV8_OK, run(*device, m)) << kv8_last_error();
                EXPECT_EQ(replaces_a ? a : b, out);
                EXPECT_EQ(replaces_a ? lse_a : lse_b, lse);
            }
}

}  // namespace
