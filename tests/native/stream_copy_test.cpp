// Copies past the caches: every alignment and size around a cache line, and calls of each kind that are large enough to make them.
#include "cpu/stream_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "test_devices.h"

namespace {

using namespace kv8_test;

TEST(StreamCopy, CopiesEverySizeToEveryAlignmentAndNothingElse) {
    std::vector<uint8_t> source(400);
    for (size_t i = 0; i < source.size(); i++) source[i] = uint8_t(i * 7 + 1);
    for (int to = 0; to < 64; to++)
        for (int from : {0, 1, 8, 63})
            for (int size = 0; size <= 260; size += size < 4 ? 1 : 16 + to % 3) {
                std::vector<uint8_t> target(size_t(to + size + 64), 0xEE), wanted = target;
                std::copy_n(source.begin() + from, size, wanted.begin() + to);
                kv8::cpu::stream_copy(target.data() + to, source.data() + from, size);
                kv8::cpu::finish_stream();
                ASSERT_EQ(wanted, target) << size << " bytes from " << from << " to " << to;
            }
}

void cast(const TestDevice& device, kv8_span from, kv8_dtype from_dtype, kv8_span to, kv8_dtype to_dtype, float scale) {
    kv8_cast_args args = {};
    args.struct_size = sizeof(args);
    args.scale = scale;
    args.src = from;
    args.dst = to;
    args.src_dtype = from_dtype;
    args.dst_dtype = to_dtype;
    args.count = int64_t(to.bytes) / bytes_of(to_dtype);
    ASSERT_EQ(KV8_OK, kv8_cast(device.handle(), nullptr, &args)) << kv8_last_error();
}

kv8_span part_of(const kv8_span& all, uint64_t first, uint64_t bytes) { return {all.ptr + first, bytes}; }

// One cast that is large enough to stream, and the same in pieces that are not.
void expect_large_cast_as_small_ones(const TestDevice& device, kv8_span from, kv8_dtype from_dtype, kv8_dtype to_dtype,
                                     float scale) {
    SCOPED_TRACE(device.name() + ", " + name_of(from_dtype) + " to " + name_of(to_dtype));
    const auto from_bytes = uint64_t(bytes_of(from_dtype)), to_bytes = uint64_t(bytes_of(to_dtype));
    const uint64_t count = from.bytes / from_bytes;
    ASSERT_GT(int64_t(count * to_bytes), kv8::cpu::kStreamedBytes);
    // The elements begin behind their first, off every line.
    std::vector<uint8_t> whole((count + 2) * to_bytes, 0xEE), pieces = whole;
    const kv8_span to_whole = part_of(span_of(whole), to_bytes, count * to_bytes),
                   to_pieces = part_of(span_of(pieces), to_bytes, count * to_bytes);
    cast(device, from, from_dtype, to_whole, to_dtype, scale);
    for (uint64_t first = 0; first < count; first += 100'003) {
        const uint64_t some = std::min<uint64_t>(100'003, count - first);
        cast(device, part_of(from, first * from_bytes, some * from_bytes), from_dtype,
             part_of(to_pieces, first * to_bytes, some * to_bytes), to_dtype, scale);
    }
    ASSERT_EQ(0, std::memcmp(whole.data(), pieces.data(), whole.size()));
}

TEST(StreamCopy, LargeCastsGiveTheBytesOfSmallOnes) {
    const auto count = uint64_t(kv8::cpu::kStreamedBytes) + 1001;
    std::vector<float> numbers(count + 1);
    std::vector<uint8_t> codes(count + 3);
    for (size_t i = 0; i < numbers.size(); i++) {
        numbers[i] = float(int32_t(uint32_t(i) * 2654435761u)) * 0x1p-22f;
        codes[i] = uint8_t(i * 2654435761u >> 13);
    }
    for (size_t i = 5000; i < numbers.size(); i += 70'001) numbers[i] = i % 2 ? NAN : INFINITY;
    for (const auto& device : devices()) {
        if (!device->shares_memory()) GTEST_SKIP() << "casts on a device are other code";
        const auto numbers_from = [&](uint64_t some) { return part_of(span_of(numbers), 4, some * 4); };
        for (kv8_dtype to : {KV8_E4M3FN, KV8_E5M2FNUZ})
            ASSERT_NO_FATAL_FAILURE(expect_large_cast_as_small_ones(*device, numbers_from(count), KV8_F32, to, 0.37f));
        ASSERT_NO_FATAL_FAILURE(
            expect_large_cast_as_small_ones(*device, numbers_from(count / 2 + 3), KV8_F32, KV8_BF16, 1));
        ASSERT_NO_FATAL_FAILURE(expect_large_cast_as_small_ones(*device, part_of(span_of(codes), 3, count / 4 + 3),
                                                                KV8_E4M3FN, KV8_F32, 0.37f));
    }
}

TEST(StreamCopy, LargeCopiesGiveTheBytes) {
    const auto bytes = uint64_t(kv8::cpu::kStreamedBytes) + 1001;
    std::vector<uint8_t> from(bytes + 3);
    for (size_t i = 0; i < from.size(); i++) from[i] = uint8_t(i * 2654435761u >> 13);
    for (const auto& device : devices()) {
        if (!device->shares_memory()) GTEST_SKIP() << "copies to and from a device are other code";
        SCOPED_TRACE(device->name());
        std::vector<uint8_t> to(bytes + 2, 0xEE);
        ASSERT_EQ(KV8_OK,
                  kv8_copy(device->handle(), nullptr, part_of(span_of(to), 1, bytes), part_of(span_of(from), 3, bytes)))
            << kv8_last_error();
        ASSERT_EQ(0, std::memcmp(to.data() + 1, from.data() + 3, bytes));
        ASSERT_EQ(0xEE, to.front());
        ASSERT_EQ(0xEE, to.back());
    }
}

// As many blocks in one call as are worth streaming, with row scales between them: [K][V][rows of K][rows of V].
TEST(StreamCopy, ManyBlocksAreMovedAsOneIs) {
    constexpr int kTokens = 16, kHeads = 8, kHeadSize = 128;
    constexpr int64_t kSide = kTokens * kHeads * kHeadSize, kScales = kTokens * kHeads * 4,
                      kBlock = 2 * kSide + 2 * kScales;
    const int count = int(kv8::cpu::kStreamedBytes / kSide) + 3;
    std::vector<uint8_t> from(size_t(kBlock * count)), to(size_t(kBlock * (count + 1)), 0xEE), want = to;
    for (size_t i = 0; i < from.size(); i++) from[i] = uint8_t(i * 2654435761u >> 13);
    std::vector<int32_t> pairs;
    for (int i = 0; i < count; i++) {
        const int source = int(i * 7LL % count), target = count - i;  // block 0 is nobody's
        pairs.insert(pairs.end(), {source, target});
        std::copy_n(from.begin() + source * kBlock, kBlock, want.begin() + target * kBlock);
    }
    const auto view_of = [&](std::vector<uint8_t>& memory) {
        kv8_cache_view view = {};
        view.struct_size = sizeof(view);
        view.num_blocks = int32_t(memory.size() / size_t(kBlock));
        view.block_size = kTokens;
        view.kv_heads = kHeads;
        view.head_size = kHeadSize;
        view.block_stride = kBlock;
        view.memory = span_of(memory);
        view.k.dtype = KV8_E4M3FN;
        view.k.head_stride = kTokens * kHeadSize;
        view.k.slot_stride = kHeadSize;
        view.k.row_scale_offset = 2 * kSide;
        view.k.row_scale_head_stride = kTokens * 4;
        view.v = view.k;
        view.v.offset = kSide;
        view.v.row_scale_offset = 2 * kSide + kScales;
        return view;
    };
    const kv8_cache_view src = view_of(from);
    for (const auto& device : devices()) {
        if (!device->shares_memory()) GTEST_SKIP() << "a GPU's moves are other code";
        SCOPED_TRACE(device->name());
        std::vector<uint8_t> moved = to;
        const kv8_cache_view dst = view_of(moved);
        kv8_move_blocks_args args = {};
        args.struct_size = sizeof(args);
        args.count = count;
        args.src = &src;
        args.dst = &dst;
        args.pairs = span_of(pairs);
        ASSERT_EQ(KV8_OK, kv8_move_blocks(device->handle(), nullptr, &args)) << kv8_last_error();
        ASSERT_EQ(0, std::memcmp(want.data(), moved.data(), want.size()));
    }
}

}  // namespace
