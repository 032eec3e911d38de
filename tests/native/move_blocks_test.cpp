// kv8_move_blocks: copies where bytes mean the same in both caches, conversions where not, on every device.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "cache_model.h"
#include "staging.h"

namespace {

using namespace kv8_test;

using Pairs = std::vector<int32_t>;

kv8_status move(const TestDevice& device, const kv8_cache_view& src, const kv8_cache_view& dst, const Pairs& pairs) {
    kv8_move_blocks_args args = {};
    args.struct_size = sizeof(args);
    args.count = static_cast<int32_t>(pairs.size() / 2);
    args.src = &src;
    args.dst = &dst;
    args.pairs = span_of(pairs);
    return run(device, args);
}

Pairs any_pairs(int src_blocks, int dst_blocks, std::mt19937& random) {
    std::vector<int32_t> targets(static_cast<size_t>(dst_blocks));
    std::iota(targets.begin(), targets.end(), 0);
    std::shuffle(targets.begin(), targets.end(), random);
    Pairs pairs;
    for (size_t i = 0; i < 1 + targets.size() / 2; i++) {
        pairs.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(src_blocks)));
        pairs.push_back(targets[i]);
    }
    return pairs;
}

bool same_meaning(const kv8_cache_view& view, const kv8_side& a, const kv8_side& b) {
    if (a.dtype != b.dtype || (a.row_scale_offset < 0) != (b.row_scale_offset < 0)) return false;
    for (int h = 0; h < view.kv_heads; h++)
        for (int d = 0; d < view.head_size; d++)
            if (TestCache::chan(a, h, d) != TestCache::chan(b, h, d)) return false;
    return true;
}

void model_side(const kv8_cache_view& src, const kv8_side& from, const kv8_cache_view& dst, const kv8_side& to,
                const Pairs& pairs) {
    const bool same = same_meaning(src, from, to);
    for (size_t i = 0; i < pairs.size(); i += 2) {
        for (int index = 0; index < src.block_size; index++) {
            const int64_t source = int64_t{pairs[i]} * src.block_size + index,
                          target = int64_t{pairs[i + 1]} * src.block_size + index;
            for (int h = 0; h < src.kv_heads; h++) {
                if (!same) {
                    model::put_row(dst, to, target, h, model::get_row(src, from, source, h));
                    continue;
                }
                std::memcpy(model::row_at(dst, to, target, h), model::row_at(src, from, source, h),
                            static_cast<size_t>(src.head_size * bytes_of(from.dtype)));
                if (from.row_scale_offset >= 0)
                    std::memcpy(model::row_scale_at(dst, to, target, h), model::row_scale_at(src, from, source, h), 4);
            }
        }
    }
}

// The sources hold garbage: every code, row scales that are any float.
void expect_moves(TestCache& src, TestCache& dst, const Pairs& pairs, const std::string& what) {
    const kv8_cache_view from = src.view_of(src.before);
    Image want = dst.before;
    const kv8_cache_view expected = dst.view_of(want);
    model_side(from, from.k, expected, expected.k, pairs);
    model_side(from, from.v, expected, expected.v, pairs);
    for (const auto& device : devices()) {
        std::ostringstream told;
        told << device->name() << ", " << what << ": from " << src.shape() << " to " << dst.shape();
        Image got = dst.before;
        ASSERT_EQ(move(*device, from, dst.view_of(got), pairs), KV8_OK) << kv8_last_error() << " " << told.str();
        ASSERT_NO_FATAL_FAILURE(expect_equal_bytes(got, want, told.str()));
    }
}

TEST(MoveBlocks, ConvertsBetweenAnyTwoCaches) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (int i = 0; i < 60; i++) {
        CacheShape from = any_shape(random), to = from;
        to.blocks = 1 + static_cast<int>(random() % 4);
        to.k = any_side(random);
        to.v = any_side(random);
        TestCache src(from, random), dst(to, random);
        ASSERT_NO_FATAL_FAILURE(
            expect_moves(src, dst, any_pairs(from.blocks, to.blocks, random), "case " + std::to_string(i)));
    }
}

TEST(MoveBlocks, ConvertsWhereOnlyScalesDiffer) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (kv8_dtype dtype : kFp8) {
        for (bool row_scales : {false, true}) {
            CacheShape from, to;
            from.k = from.v = {dtype, Chan::kChannel, row_scales};
            to = from;
            to.k.row_scales = !row_scales;  // the same static scales, with and without row scales
            TestCache src(from, random), dst(to, random), other(from, random);
            dst.take_scales(src, random() % 2);
            ASSERT_NO_FATAL_FAILURE(expect_moves(src, dst, {2, 0, 1, 3}, "row scales"));
            ASSERT_NO_FATAL_FAILURE(expect_moves(src, other, {2, 0, 1, 3}, "static scales"));
        }
    }
}

// NaN codes and row scales come through as they are, which no conversion would do.
TEST(MoveBlocks, CopiesBytesWhereDtypesAndScalesAreEqual) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (int i = 0; i < 60; i++) {
        CacheShape from = any_shape(random), to = from;
        to.blocks = 1 + static_cast<int>(random() % 4);
        TestCache src(from, random, random() % 2), dst(to, random, random() % 2);
        dst.take_scales(src, random() % 2);
        ASSERT_NO_FATAL_FAILURE(
            expect_moves(src, dst, any_pairs(from.blocks, to.blocks, random), "case " + std::to_string(i)));
    }
}

// A pool has more blocks than 16 bits can name.
TEST(MoveBlocks, ReachesBlocksOfLargeIds) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    CacheShape from, to;
    from.blocks = to.blocks = 70'010;
    from.block_size = to.block_size = from.heads = to.heads = 1;
    TestCache src(from, random), dst(to, random);
    ASSERT_NO_FATAL_FAILURE(expect_moves(src, dst, {70'001, 3, 5, 70'009, 70'002, 70'003}, "large ids"));
}

TEST(MoveBlocks, CopiesWithinOneCache) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    CacheShape shape = any_shape(random);
    shape.blocks = 6;
    TestCache cache(shape, random);
    const Pairs pairs = {0, 3, 0, 5, 2, 1};
    Image want = cache.before;
    const kv8_cache_view expected = cache.view_of(want);
    model_side(expected, expected.k, expected, expected.k, pairs);
    model_side(expected, expected.v, expected, expected.v, pairs);
    for (const auto& device : devices()) {
        Image got = cache.before;
        const kv8_cache_view view = cache.view_of(got);
        ASSERT_EQ(move(*device, view, view, pairs), KV8_OK) << kv8_last_error() << " " << shape;
        ASSERT_NO_FATAL_FAILURE(expect_equal_bytes(got, want, device->name()));
    }
}

// A device that stores FNUZ keeps OCP's codes by doubling the scale; only NaN and -0 change.
TEST(MoveBlocks, KeepsCodesFromOcpToFnuzWithTheScaleDoubled) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    const kv8_dtype formats[][2] = {{KV8_E4M3FN, KV8_E4M3FNUZ}, {KV8_E5M2, KV8_E5M2FNUZ}};
    for (const auto& format : formats) {
        CacheShape from, to;
        from.k = from.v = {format[0], Chan::kNone, false};
        to.k = to.v = {format[1], Chan::kNone, false};
        TestCache src(from, random), dst(to, random);
        const std::vector<float> scale = {0.0371f}, doubled = {2 * 0.0371f};
        for (const auto& device : devices()) {
            Image got = dst.before;
            kv8_cache_view ocp = src.view_of(src.before), fnuz = dst.view_of(got);
            ocp.k.chan = ocp.v.chan = span_of(scale);
            fnuz.k.chan = fnuz.v.chan = span_of(doubled);
            ASSERT_EQ(move(*device, ocp, fnuz, {1, 2}), KV8_OK) << kv8_last_error();
            for (int index = 0; index < from.block_size; index++) {
                for (int h = 0; h < from.heads; h++) {
                    const uint8_t* before = model::row_at(ocp, ocp.k, from.block_size + index, h);
                    const uint8_t* after = model::row_at(fnuz, fnuz.k, 2 * from.block_size + index, h);
                    for (int d = 0; d < from.head_size; d++) {
                        const uint32_t magnitude = before[d] & 0x7Fu;
                        if (magnitude > exact::format_of(format[0]).max()) continue;  // NaN, infinity
                        const int want = before[d] == 0x80 ? 0 : before[d];
                        ASSERT_EQ(after[d], want)
                            << device->name() << " " << name_of(format[0]) << " code " << +before[d];
                    }
                }
            }
        }
    }
}

TEST(MoveBlocks, OfNoPairsDoesNothing) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    TestCache cache(CacheShape{}, random);
    for (const auto& device : devices()) {
        Image got = cache.before;
        const kv8_cache_view view = cache.view_of(got);
        EXPECT_EQ(move(*device, view, view, {}), KV8_OK) << kv8_last_error();
        ASSERT_NO_FATAL_FAILURE(expect_equal_bytes(got, cache.before, device->name()));
    }
}

}  // namespace
