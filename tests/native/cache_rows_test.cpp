// kv8_write and kv8_gather over random shapes, layouts and scales: the whole memory, byte for byte, on every device.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "cache_model.h"
#include "sparse_memory.h"
#include "staging.h"

namespace {

using namespace kv8_test;

std::vector<int64_t> any_slots(const CacheShape& shape, int tokens, std::mt19937& random) {
    std::vector<int64_t> slots(static_cast<size_t>(shape.blocks * shape.block_size));
    std::iota(slots.begin(), slots.end(), 0);
    std::shuffle(slots.begin(), slots.end(), random);
    slots.resize(static_cast<size_t>(tokens));
    for (int64_t& slot : slots)
        if (random() % 6 == 0) slot = -1;
    return slots;
}

struct Rope {
    int size = 0;
    int style = KV8_ROPE_HALF;
    std::vector<float> table;
    std::vector<int32_t> positions;

    kv8_rope_table table_view() const { return {span_of(table), span_of(positions), size, style}; }
};

Rope any_rope(int head_size, int tokens, std::mt19937& random) {
    constexpr int kPositions = 100;
    Rope rope;
    const int sizes[] = {0, 2, head_size / 4 * 2, head_size - 2, head_size};
    rope.size = any_of(sizes, random);
    rope.style = random() % 2 ? KV8_ROPE_HALF : KV8_ROPE_INTERLEAVED;
    for (int position = 0; position < kPositions; position++) {
        for (int sine = 0; sine < 2; sine++)
            for (int i = 0; i < rope.size / 2; i++) {
                const double angle = position * std::pow(10000.0, -2.0 * i / rope.size);
                rope.table.push_back(static_cast<float>(sine ? std::sin(angle) : std::cos(angle)));
            }
    }
    for (int t = 0; t < tokens; t++) rope.positions.push_back(static_cast<int32_t>(random() % kPositions));
    return rope;
}

// One product or sum, rounded to float32; volatile, so that no compiler joins two of them.
float product(float a, float b) {
    volatile float p = a * b;
    return p;
}
float sum(float a, float b) {
    volatile float s = a + b;
    return s;
}

void rotate(std::vector<float>& row, const Rope& rope, int token) {
    const float* table = rope.table.data() + static_cast<size_t>(rope.positions[token]) * rope.size;
    const int pairs = rope.size / 2;
    for (int i = 0; i < pairs; i++) {
        float& x = row[rope.style == KV8_ROPE_HALF ? i : 2 * i];
        float& y = row[rope.style == KV8_ROPE_HALF ? i + pairs : 2 * i + 1];
        const float cosine = table[i], sine = table[pairs + i];
        const float rotated_x = sum(product(x, cosine), -product(y, sine)),
                    rotated_y = sum(product(y, cosine), product(x, sine));
        x = rotated_x;
        y = rotated_y;
    }
}

kv8_write_args write_args(const kv8_cache_view& view, const kv8_rows& k, const kv8_rows& v,
                          const std::vector<int64_t>& slots, const Rope& rope) {
    kv8_write_args args = {};
    args.struct_size = sizeof(args);
    args.tokens = static_cast<int32_t>(slots.size());
    args.view = &view;
    args.k = k;
    args.v = v;
    args.slots = span_of(slots);
    args.rope = rope.table_view();
    return args;
}

kv8_gather_args gather_args(const kv8_cache_view& view, const kv8_rows& k, const kv8_rows& v,
                            const std::vector<int64_t>& slots) {
    kv8_gather_args args = {};
    args.struct_size = sizeof(args);
    args.tokens = static_cast<int32_t>(slots.size());
    args.view = &view;
    args.k = k;
    args.v = v;
    args.slots = span_of(slots);
    return args;
}

std::string describe(const TestDevice& device, const CacheShape& shape, const std::string& more) {
    std::ostringstream out;
    out << device.name() << ": " << shape << ", " << more;
    return out.str();
}

TEST(CacheWrite, StoresExactlyWhatTheHeaderSays) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (int i = 0; i < 150; i++) {
        CacheShape shape = any_shape(random);
        if (i % 8 == 0) shape.heads = 7 + static_cast<int>(random() % 12);  // a CPU takes eight heads' rows at one go
        const bool many = i % 10 == 9;  // more than an emulated GPU holds threads for at a time
        if (many) shape.blocks = 30;
        const int tokens = static_cast<int>(random() % std::min(shape.blocks * shape.block_size + 1, many ? 1000 : 20));
        TestCache cache(shape, random);
        TestRows k(any_of(kPlain, random), tokens, shape.heads, shape.head_size, random);
        TestRows v(any_of(kPlain, random), tokens, shape.heads, shape.head_size, random);
        fill_with_values(k, tokens, shape.heads, shape.head_size, random);
        fill_with_values(v, tokens, shape.heads, shape.head_size, random);
        const std::vector<int64_t> slots = any_slots(shape, tokens, random);
        const Rope rope = any_rope(shape.head_size, tokens, random);
        const std::string what = "case " + std::to_string(i) + ", " + std::to_string(tokens) + " tokens from " +
                                 name_of(k.rows().dtype) + " and " + name_of(v.rows().dtype) + ", rope " +
                                 std::to_string(rope.size) + " style " + std::to_string(rope.style);

        Image want = cache.before;
        const kv8_cache_view expected = cache.view_of(want);
        const std::vector<uint64_t> counted_before = {random(), uint64_t{random()} << 32};
        std::vector<uint64_t> saturated = counted_before;
        for (int t = 0; t < tokens; t++) {
            if (slots[t] < 0) continue;
            for (int h = 0; h < shape.heads; h++) {
                std::vector<float> row = k.row(t, h, shape.head_size);
                rotate(row, rope, t);
                saturated[0] += model::put_row(expected, expected.k, slots[t], h, row);
                saturated[1] += model::put_row(expected, expected.v, slots[t], h, v.row(t, h, shape.head_size));
            }
        }
        for (const auto& device : devices()) {
            Image got = cache.before;
            const kv8_cache_view view = cache.view_of(got);
            kv8_write_args args = write_args(view, k.rows(), v.rows(), slots, rope);
            std::vector<uint64_t> counted = counted_before;
            const bool asked = i % 4 != 0;
            if (asked) args.saturated = span_of(counted);
            ASSERT_EQ(run(*device, args), KV8_OK) << kv8_last_error() << ": " << describe(*device, shape, what);
            ASSERT_NO_FATAL_FAILURE(expect_equal_bytes(got, want, describe(*device, shape, what)));
            ASSERT_EQ(counted, asked ? saturated : counted_before) << describe(*device, shape, what);
        }
    }
}

// Where the cache holds garbage too: every code, and row scales that are any float.
TEST(CacheGather, GivesExactlyWhatTheHeaderSays) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (int i = 0; i < 150; i++) {
        const CacheShape shape = any_shape(random);
        const int tokens = static_cast<int>(random() % std::min(shape.blocks * shape.block_size + 1, 20));
        TestCache cache(shape, random);
        const std::vector<int64_t> slots = any_slots(shape, tokens, random);
        TestRows k(any_of(kPlain, random), tokens, shape.heads, shape.head_size, random);
        TestRows v(any_of(kPlain, random), tokens, shape.heads, shape.head_size, random);
        const TestRows k_before = k, v_before = v;
        const std::string what = "case " + std::to_string(i) + ", " + std::to_string(tokens) + " tokens to " +
                                 name_of(k.rows().dtype) + " and " + name_of(v.rows().dtype);
        const kv8_cache_view view = cache.view_of(cache.before);
        for (int t = 0; t < tokens; t++) {
            for (int h = 0; h < shape.heads; h++) {
                const std::vector<float> zeros(static_cast<size_t>(shape.head_size), 0.0f);
                const std::vector<float> k_row = slots[t] < 0 ? zeros : model::get_row(view, view.k, slots[t], h);
                const std::vector<float> v_row = slots[t] < 0 ? zeros : model::get_row(view, view.v, slots[t], h);
                for (int d = 0; d < shape.head_size; d++) {
                    k.set(t, h, d, k_row[d]);
                    v.set(t, h, d, v_row[d]);
                }
            }
        }
        for (const auto& device : devices()) {
            TestRows k_got = k_before, v_got = v_before;
            const kv8_gather_args args = gather_args(view, k_got.rows(), v_got.rows(), slots);
            ASSERT_EQ(run(*device, args), KV8_OK) << kv8_last_error() << ": " << describe(*device, shape, what);
            ASSERT_EQ(k_got.bytes(), k.bytes()) << "k, " << describe(*device, shape, what);
            ASSERT_EQ(v_got.bytes(), v.bytes()) << "v, " << describe(*device, shape, what);
        }
    }
}

// The stored rotation against float64, both styles: the exact test above shares the header's formula with the code.
TEST(CacheWrite, RotatesByThePositionsAngle) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (int style : {KV8_ROPE_HALF, KV8_ROPE_INTERLEAVED}) {
        CacheShape shape;
        shape.heads = 1;
        shape.k.dtype = shape.v.dtype = KV8_F32;
        TestCache cache(shape, random);
        TestRows rows(KV8_F32, 1, 1, shape.head_size, random);
        fill_with_values(rows, 1, 1, shape.head_size, random);
        for (int d = 0; d < shape.head_size; d++) rows.set(0, 0, d, std::sin(static_cast<float>(d)) * 3);
        constexpr int kPairs = 32, kPosition = 17;
        Rope rope = any_rope(shape.head_size, 1, random);
        rope.size = 2 * kPairs;
        rope.style = style;
        rope.positions = {kPosition};
        rope.table.assign(rope.size * (kPosition + 1), 0.0f);
        double angles[kPairs];
        for (int i = 0; i < kPairs; i++) {
            angles[i] = kPosition * std::pow(10000.0, -static_cast<double>(i) / kPairs);
            rope.table[kPosition * rope.size + i] = static_cast<float>(std::cos(angles[i]));
            rope.table[kPosition * rope.size + kPairs + i] = static_cast<float>(std::sin(angles[i]));
        }
        const std::vector<int64_t> slots = {5};
        const std::vector<float> x = rows.row(0, 0, shape.head_size);
        for (const auto& device : devices()) {
            Image got = cache.before;
            const kv8_cache_view view = cache.view_of(got);
            const kv8_write_args args = write_args(view, rows.rows(), rows.rows(), slots, rope);
            ASSERT_EQ(run(*device, args), KV8_OK) << kv8_last_error();
            const std::vector<float> k = model::get_row(view, view.k, 5, 0), v = model::get_row(view, view.v, 5, 0);
            EXPECT_EQ(v, x) << device->name() << ": V is not rotated";
            for (int i = 0; i < kPairs; i++) {
                const int first = style == KV8_ROPE_HALF ? i : 2 * i,
                          second = style == KV8_ROPE_HALF ? i + kPairs : 2 * i + 1;
                const double cosine = std::cos(angles[i]), sine = std::sin(angles[i]);
                EXPECT_NEAR(k[first], x[first] * cosine - x[second] * sine, 1e-6)
                    << device->name() << " style " << style;
                EXPECT_NEAR(k[second], x[second] * cosine + x[first] * sine, 1e-6)
                    << device->name() << " style " << style;
            }
        }
    }
}

TEST(CacheRows, AreLeftAloneWithoutTokens) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    TestCache cache(CacheShape{}, random);
    for (const auto& device : devices()) {
        Image got = cache.before;
        const kv8_cache_view view = cache.view_of(got);
        const kv8_rows none = {{0, 0}, 0, 0, KV8_F32, 0};
        const kv8_write_args write = write_args(view, none, none, {}, Rope{});
        EXPECT_EQ(run(*device, write), KV8_OK) << kv8_last_error();
        const kv8_gather_args gather = gather_args(view, none, none, {});
        EXPECT_EQ(run(*device, gather), KV8_OK) << kv8_last_error();
        ASSERT_NO_FATAL_FAILURE(expect_equal_bytes(got, cache.before, device->name()));
    }
}

// The least row scale times a small channel scale underflows; a zero divided by that must not become NaN.
TEST(CacheWrite, KeepsZerosWhereTheJointScaleUnderflows) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    CacheShape shape;
    shape.heads = 1;
    shape.k = shape.v = {KV8_E4M3FN, Chan::kTensor, true};
    TestCache cache(shape, random);
    std::vector<float> tiny = {0x1p-60f};
    TestRows rows(KV8_F32, 1, 1, shape.head_size, random);
    for (int d = 0; d < shape.head_size; d++) rows.set(0, 0, d, d == 7 ? 0x1p-149f : 0.0f);
    TestRows back(KV8_F32, 1, 1, shape.head_size, random);
    const std::vector<int64_t> slots = {0};
    for (const auto& device : devices()) {
        Image got = cache.before;
        kv8_cache_view view = cache.view_of(got);
        view.k.chan = view.v.chan = span_of(tiny);
        const kv8_write_args write = write_args(view, rows.rows(), rows.rows(), slots, Rope{});
        ASSERT_EQ(run(*device, write), KV8_OK) << kv8_last_error();
        const kv8_gather_args gather = gather_args(view, back.rows(), back.rows(), slots);
        ASSERT_EQ(run(*device, gather), KV8_OK) << kv8_last_error();
        for (float x : back.row(0, 0, shape.head_size)) EXPECT_EQ(x, 0.0f) << device->name();
    }
}

// Heads a gigabyte apart: offsets within a block, of V in a block and of the second block are all beyond 2^31. Written with the
// host's own addresses, as there is too much to copy.
TEST(CacheRows, ReachSlotsThatLieFarApart) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (kv8_dtype dtype : {KV8_E4M3FN, KV8_BF16}) {
        kv8_cache_view view = {};
        view.struct_size = sizeof(view);
        view.num_blocks = 2;
        view.block_size = 16;
        view.kv_heads = 3;
        view.head_size = 128;
        view.k.dtype = view.v.dtype = dtype;
        view.k.slot_stride = view.v.slot_stride = 128 * bytes_of(dtype);
        view.k.head_stride = view.v.head_stride = int64_t{1} << 30;
        view.k.row_scale_offset = view.v.row_scale_offset = -1;
        view.v.offset = 3 * view.k.head_stride;
        view.block_stride = 2 * view.v.offset;
        const SparseMemory got(static_cast<uint64_t>(2 * view.block_stride)), want(got.span().bytes);
        const std::vector<int64_t> slots = {3, 19, -1, 31};
        TestRows rows(KV8_F32, 4, 3, 128, random), back(KV8_F32, 4, 3, 128, random);
        fill_with_values(rows, 4, 3, 128, random);
        for (const auto& device : devices()) {
            if (!device->info().host_accessible) GTEST_SKIP() << "the pool is too large to copy to a device";
            view.memory = got.span();
            const kv8_write_args write = write_args(view, rows.rows(), rows.rows(), slots, Rope{});
            ASSERT_EQ(device->finished(kv8_write(device->handle(), nullptr, &write)), KV8_OK) << kv8_last_error();
            const kv8_gather_args gather = gather_args(view, back.rows(), back.rows(), slots);
            ASSERT_EQ(device->finished(kv8_gather(device->handle(), nullptr, &gather)), KV8_OK) << kv8_last_error();
            kv8_cache_view expected = view;
            expected.memory = want.span();
            for (int t : {0, 1, 3})
                for (int h = 0; h < 3; h++)
                    for (const kv8_side* side : {&view.k, &view.v}) {
                        model::put_row(expected, *side, slots[t], h, rows.row(t, h, 128));
                        ASSERT_EQ(std::memcmp(model::row_at(view, *side, slots[t], h),
                                              model::row_at(expected, *side, slots[t], h),
                                              static_cast<size_t>(side->slot_stride)),
                                  0)
                            << device->name() << ", " << name_of(dtype) << ", token " << t << ", head " << h;
                        const std::vector<float> row = back.row(t, h, 128),
                                                 exact = model::get_row(view, *side, slots[t], h);
                        ASSERT_EQ(std::memcmp(row.data(), exact.data(), sizeof(float) * 128), 0) << device->name();
                    }
        }
    }
}

// A pool has more blocks than 16 bits can name.
TEST(CacheRows, ReachBlocksOfLargeIds) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    CacheShape shape;
    shape.blocks = 70'010;
    shape.block_size = 1;
    shape.heads = 1;
    TestCache cache(shape, random);
    const std::vector<int64_t> slots = {70'001, 4465, -1, 70'009};
    TestRows rows(KV8_F32, 4, 1, 64, random), back(KV8_F32, 4, 1, 64, random);
    fill_with_values(rows, 4, 1, 64, random);
    Image want = cache.before;
    const kv8_cache_view expected = cache.view_of(want);
    for (int t : {0, 1, 3})
        for (const kv8_side* side : {&expected.k, &expected.v})
            model::put_row(expected, *side, slots[t], 0, rows.row(t, 0, 64));
    for (const auto& device : devices()) {
        Image got = cache.before;
        const kv8_cache_view view = cache.view_of(got);
        ASSERT_EQ(run(*device, write_args(view, rows.rows(), rows.rows(), slots, Rope{})), KV8_OK) << kv8_last_error();
        ASSERT_NO_FATAL_FAILURE(expect_equal_bytes(got, want, device->name()));
        const kv8_gather_args gather = gather_args(view, back.rows(), back.rows(), slots);
        ASSERT_EQ(run(*device, gather), KV8_OK) << kv8_last_error();
        for (int t : {0, 1, 3}) {
            const std::vector<float> row = back.row(t, 0, 64), exact = model::get_row(view, view.v, slots[t], 0);
            ASSERT_EQ(std::memcmp(row.data(), exact.data(), sizeof(float) * 64), 0)
                << device->name() << ", token " << t;
        }
    }
}

}  // namespace
