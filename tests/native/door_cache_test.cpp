// What the door refuses of casts, of views of a cache, and of what writes, reads and moves its rows; see door.h.
#include <cstring>

#include "door.h"

namespace {

using kv8_test::Door;
using kv8_test::DoorCalls;
using kv8_test::kInfinity;
using kv8_test::kNaN;

TEST_F(Door, OfCast) {
    const auto call = [&] { return cast(); };
    refuses(c.cast.count, -1, call, "count is -1; it must be at least 0");
    refuses(c.cast.count, INT64_MAX, call, "src has 400 bytes", KV8_BUFFER_TOO_SMALL);
    for (int dtype : {-1, 7}) {
        refuses(c.cast.src_dtype, dtype, call, "src_dtype is");
        refuses(c.cast.dst_dtype, dtype, call, "dst_dtype is");
    }
    for (float scale : {0.0f, -1.0f, kNaN, kInfinity, -kInfinity, 0x1p-127f, 0x1.8p126f, 0x1p127f})
        refuses(c.cast.scale, scale, call, "a scale is finite, positive and normal, and so is its reciprocal");
    for (float scale : {0x1p-126f, 0x1p126f}) {
        c.cast.scale = scale;
        EXPECT_EQ(cast(), KV8_OK) << kv8_last_error();
    }
    c.cast.scale = 1;
    needs(c.cast.src, "src", 4, call);
    needs(c.cast.dst, "dst", 1, call);
    refuses(c.cast.src, kv8_span{c.cast.dst.ptr - 32, 400}, call, "src and dst overlap");
    c.cast.src = c.cast.dst;
    c.cast.src_dtype = KV8_E5M2;
    EXPECT_EQ(cast(), KV8_OK) << "in place: " << kv8_last_error();
    refuses(c.cast.scale, 2, call, "scale is 2; it must be 1 unless exactly one of the dtypes");
}

TEST_F(Door, OfAmax) {
    const auto call = [&] { return amax(); };
    refuses(c.amax.tokens, -1, call, "tokens is -1");
    refuses(c.amax.heads, 0, call, "heads is 0; it must be at least 1");
    refuses(c.amax.width, 0, call, "width is 0; it must be at least 1");
    refuses(c.amax.width, INT32_MAX, call, "x.token_stride");
    for (int granularity : {-1, 4}) refuses(c.amax.granularity, granularity, call, "granularity is");
    needs_rows(c.amax.x, "x", DoorCalls::kWidth * 2, false, call);
    needs(c.amax.out, "out", 4, call);
}

TEST_F(Door, OfAmaxWithoutTokensWritesZeros) {
    c.amax.tokens = 0;
    c.amax.x.data = {0, 0};
    DoorCalls::at<float>(c.amax.out, 5) = 3;
    ASSERT_EQ(amax(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(DoorCalls::at<float>(c.amax.out, 5), 0);
}

TEST_F(Door, OfAViewsShape) {
    const auto call = [&] { return write(); };
    refuses(c.write.view, static_cast<const kv8_cache_view*>(nullptr), call, "view is null");
    refuses(c.view.num_blocks, 0, call, "view.num_blocks is 0");
    refuses(c.view.block_size, 0, call, "view.block_size is 0");
    refuses(c.view.kv_heads, -3, call, "view.kv_heads is -3");
    for (int size : {0, 32, 63, 65, 100, 257, 512})
        refuses(c.view.head_size, size, call, "allowed are 64, 80, 96, 112, 128, 192 and 256");
    refuses(c.view.num_blocks, INT32_MAX, call, "view.memory has", KV8_BUFFER_TOO_SMALL);
    refuses(c.view.memory.ptr, 0, call, "view.memory.ptr is null");
    refuses(c.view.memory.bytes, c.view.memory.bytes - 1, call, "view.memory has", KV8_BUFFER_TOO_SMALL);
    refuses(c.view.block_stride, 32, call, "view.k.block_stride is 32; it must be at least 64");
    refuses(c.view.block_stride, c.view.block_stride + 8, call, "must be a multiple of 16");
    refuses(c.view.block_stride, INT64_MAX / 16 * 16, call, "view.memory has", KV8_BUFFER_TOO_SMALL);
    refuses(c.view.block_stride, 512, call, "rows would overlap");
}

TEST_F(Door, OfAViewsSides) {
    const auto call = [&] { return write(); };
    for (auto* side : {&c.view.k, &c.view.v}) {
        const std::string name = side == &c.view.k ? "view.k" : "view.v";
        refuses(side->dtype, 9, call, (name + ".dtype is 9").c_str());
        refuses(side->dtype, KV8_BF16, call, ".dtype is 2, which takes no scales");
        refuses(side->offset, -16, call, (name + ".offset is -16").c_str());
        refuses(side->offset, side->offset + 8, call, (name + ".offset is").c_str());
        refuses(side->offset, INT64_MAX / 16 * 16, call, "view.memory has", KV8_BUFFER_TOO_SMALL);
        refuses(side->head_stride, 48, call, (name + ".head_stride is 48; it must be at least 64").c_str());
        refuses(side->head_stride, 64, call, "rows would overlap");
        refuses(side->slot_stride, 72, call, (name + ".slot_stride is 72; it must be a multiple of 16").c_str());
        refuses(side->slot_stride, 0, call, (name + ".slot_stride is 0").c_str());
        refuses(side->row_scale_offset, -2, call, (name + ".row_scale_offset is -2").c_str());
        refuses(side->row_scale_offset, side->row_scale_offset + 2, call, (name + ".row_scale_offset").c_str());
        refuses(side->row_scale_offset, c.view.block_stride - 32, call, "view.memory has", KV8_BUFFER_TOO_SMALL);
        refuses(side->row_scale_head_stride, 28, call,
                (name + ".row_scale_head_stride is 28; it must be at least 32").c_str());
        refuses(side->row_scale_head_stride, 34, call, "it must be a multiple of 4");
        refuses(side->chan_head_stride, -1, call, (name + ".chan_head_stride is -1").c_str());
        refuses(side->chan_dim_stride, -1, call, (name + ".chan_dim_stride is -1").c_str());
        refuses(side->chan_head_stride, INT64_MAX, call, (name + ".chan has").c_str(), KV8_BUFFER_TOO_SMALL);
        needs(side->chan, name + ".chan", 4, call);
        side->row_scale_offset = -1;
        side->chan = {0, 0};
        EXPECT_EQ(write(), KV8_OK) << "without scales: " << kv8_last_error();
    }
}

TEST_F(Door, OfAViewsChannelScales) {
    // A GPU names the channel, not which of a call's scales it is of.
    const auto named = [&](const char* name) { return gpu ? std::strchr(name, ' ') - 4 : name; };
    for (float scale : {0.0f, -1.0f, kNaN, kInfinity, 0x1p-127f, 0x1p127f}) {
        refuses(
            DoorCalls::at<float>(c.view.k.chan, 70), scale, [&] { return write(); },
            named("view.k.chan of head 1, channel 6 is"));
        refuses(
            DoorCalls::at<float>(c.view.v.chan, 1), scale, [&] { return gather(); },
            named("view.v.chan of head 1, channel 0 is"));
        refuses(
            DoorCalls::at<float>(c.view.v.chan, 1), scale, [&] { return attend(); },
            gpu ? "chan of head 1, channel " : "view.v.chan of head 1, channel 0 is");
        refuses(
            DoorCalls::at<float>(c.other_view.v.chan), scale, [&] { return move(); },
            named("dst.v.chan of head 0, channel 0 is"));
    }
}

TEST_F(Door, OfWrite) {
    const auto call = [&] { return write(); };
    refuses(c.write.tokens, -1, call, "tokens is -1");
    needs_rows(c.write.k, "k", DoorCalls::kHeadSize * 2, false, call);
    needs_rows(c.write.v, "v", DoorCalls::kHeadSize * 4, false, call);
    needs(c.write.slots, "slots", 8, call);
    needs(c.write.saturated, "saturated", 8, call);
    for (int64_t slot : {int64_t{-2}, int64_t{24}, INT64_MIN, INT64_MAX, int64_t{1} << 32})
        refuses(DoorCalls::at<int64_t>(c.write.slots, 3), slot, call, "slots[3] is");
}

TEST_F(Door, OfGather) {
    const auto call = [&] { return gather(); };
    refuses(c.gather.tokens, -1, call, "tokens is -1");
    needs_rows(c.gather.k, "k", DoorCalls::kHeadSize * 4, true, call);
    needs_rows(c.gather.v, "v", DoorCalls::kHeadSize * 2, true, call);
    needs(c.gather.slots, "slots", 8, call);
    refuses(DoorCalls::at<int64_t>(c.gather.slots), 24, call, "slots[0] is 24");
}

TEST_F(Door, OfMoveBlocks) {
    const auto call = [&] { return move(); };
    refuses(c.move_blocks.count, -1, call, "count is -1");
    refuses(c.move_blocks.src, static_cast<const kv8_cache_view*>(nullptr), call, "src is null");
    refuses(c.move_blocks.dst, static_cast<const kv8_cache_view*>(nullptr), call, "dst is null");
    needs(c.move_blocks.pairs, "pairs", 4, call);
    refuses(c.other_view.block_size, 4, call, "src has blocks of 8 tokens, 2 heads of 64 elements, dst of 4 tokens");
    auto* pairs = &DoorCalls::at<int32_t>(c.move_blocks.pairs);
    for (int block : {-1, 3, INT32_MAX}) {
        refuses(pairs[0], block, call, "pairs[0] reads block");
        refuses(pairs[3], block, call, "pairs[1] writes block");
    }
    if (!gpu) refuses(pairs[3], 2, call, "pairs[1] writes block 2, as another pair does");
}

TEST_F(Door, OfMoveBlocksWithinOneMemory) {
    c.move_blocks.dst = &c.view;
    auto* pairs = &DoorCalls::at<int32_t>(c.move_blocks.pairs);
    if (!gpu)
        EXPECT_REFUSED(move(), KV8_INVALID_ARGUMENT, "pairs[1] reads block 2, which a pair of the same call writes");
    pairs[2] = 0;
    EXPECT_EQ(move(), KV8_OK) << "one source, two copies: " << kv8_last_error();
    c.move_blocks.dst = &c.other_view;
    c.other_view.memory = c.view.memory;
    c.other_view.num_blocks = 2;
    c.other_view.memory.ptr += static_cast<uint64_t>(c.view.block_stride);
    c.other_view.memory.bytes -= static_cast<uint64_t>(c.view.block_stride);
    pairs[1] = pairs[3] = 1;
    c.move_blocks.count = 1;
    EXPECT_REFUSED(move(), KV8_INVALID_ARGUMENT, "src and dst overlap but are not one memory");
}

}  // namespace
