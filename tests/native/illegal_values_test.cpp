// Values that only the device can see. The CPU looks at all of them before it changes anything; a GPU leaves out the elements
// that they are for, computes all others, and says so when it is synchronized, once.
#include <gtest/gtest.h>

#include <limits>

#include "door_calls.h"
#include "refusals.h"

namespace {

using namespace kv8_test;

class IllegalValues : public testing::Test {
  protected:
    DoorCalls c;
    const bool gpu = c.test_device.is_gpu();

    static std::vector<uint8_t> bytes_of_span(const kv8_span& span) {
        const auto* at = reinterpret_cast<const uint8_t*>(span.ptr);
        return {at, at + span.bytes};
    }

    // `value` becomes `illegal` for one call, which writes to `written`: all of it when every value is legal, all but
    // `left_out` on a GPU, nothing on the CPU.
    template <class T, class Call>
    void expect_left_out(T& value, T illegal, const kv8_span& written, const std::vector<kv8_span>& left_out,
                         const char* message, const Call& call) {
        SCOPED_TRACE(message);
        const std::vector<uint8_t> before = bytes_of_span(written);
        ASSERT_EQ(c.test_device.finished(call()), KV8_OK) << kv8_last_error();
        std::vector<uint8_t> want = gpu ? bytes_of_span(written) : before;
        for (const kv8_span& span : left_out)
            std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(span.ptr - written.ptr), span.bytes,
                        want.begin() + static_cast<std::ptrdiff_t>(span.ptr - written.ptr));
        std::memcpy(reinterpret_cast<void*>(written.ptr), before.data(), before.size());
        const T legal = value;
        value = illegal;
        EXPECT_REFUSED(c.test_device.finished(call()), KV8_INVALID_ARGUMENT, message);
        const std::vector<uint8_t> got = bytes_of_span(written);
        for (size_t i = 0; i < got.size(); i++) ASSERT_EQ(+got[i], +want[i]) << "byte " << i << " of what is written";
        value = legal;
        std::memcpy(reinterpret_cast<void*>(written.ptr), before.data(), before.size());
        EXPECT_EQ(c.test_device.finished(call()), KV8_OK) << "the next call: " << kv8_last_error();
        std::memcpy(reinterpret_cast<void*>(written.ptr), before.data(), before.size());
    }

    // What a slot of a cache holds: rows, and row scales.
    static std::vector<kv8_span> slot_of(const kv8_cache_view& view, int64_t slot, bool k, bool v) {
        std::vector<kv8_span> spans;
        for (const kv8_side* side : {k ? &view.k : nullptr, v ? &view.v : nullptr}) {
            if (side == nullptr) continue;
            const uint64_t block = view.memory.ptr + static_cast<uint64_t>(slot / view.block_size * view.block_stride);
            for (int64_t h = 0; h < view.kv_heads; h++) {
                const int64_t index = slot % view.block_size;
                spans.push_back(
                    {block + static_cast<uint64_t>(side->offset + h * side->head_stride + index * side->slot_stride),
                     static_cast<uint64_t>(view.head_size)});
                spans.push_back({block + static_cast<uint64_t>(side->row_scale_offset +
                                                               h * side->row_scale_head_stride + 4 * index),
                                 4});
            }
        }
        return spans;
    }

    // A token of rows [tokens][heads][width] without gaps.
    static kv8_span token_of(const kv8_rows& rows, int64_t token) {
        return {rows.data.ptr + static_cast<uint64_t>(token * rows.token_stride),
                static_cast<uint64_t>(rows.token_stride)};
    }

    static void fill(const kv8_span& span, uint8_t value) {
        std::memset(reinterpret_cast<void*>(span.ptr), value, span.bytes);
    }
};

TEST_F(IllegalValues, ASlotOfWrite) {
    fill(c.write.k.data, 0x3c);
    for (int64_t slot : {int64_t{-2}, int64_t{24}, INT64_MIN, INT64_MAX, int64_t{1} << 32})
        expect_left_out(DoorCalls::at<int64_t>(c.write.slots, 4), slot, c.view.memory, slot_of(c.view, 9, true, true),
                        ("slots[4] is " + std::to_string(slot)).c_str(),
                        [&] { return kv8_write(c.device, nullptr, &c.write); });
}

TEST_F(IllegalValues, APositionOfWrite) {
    fill(c.write.k.data, 0x3c);
    for (int position : {-1, 7, INT32_MAX, INT32_MIN})
        expect_left_out(DoorCalls::at<int32_t>(c.write.rope.positions, 3), position, c.view.memory,
                        slot_of(c.view, 8, true, false), ("rope.positions[3] is " + std::to_string(position)).c_str(),
                        [&] { return kv8_write(c.device, nullptr, &c.write); });
}

TEST_F(IllegalValues, ASlotOfGather) {
    fill(c.view.memory, 0x3c);
    for (const kv8_rows& rows : {c.gather.k, c.gather.v}) {
        fill(rows.data, 0x55);
        expect_left_out(DoorCalls::at<int64_t>(c.gather.slots, 1), int64_t{24}, rows.data, {token_of(rows, 1)},
                        "slots[1] is 24", [&] { return kv8_gather(c.device, nullptr, &c.gather); });
    }
}

TEST_F(IllegalValues, ABlockOfAPair) {
    fill(c.view.memory, 0x3c);
    auto* pairs = &DoorCalls::at<int32_t>(c.move_blocks.pairs);
    const auto block = [&](int32_t id) {
        return kv8_span{c.other_view.memory.ptr + static_cast<uint64_t>(id * c.other_view.block_stride),
                        static_cast<uint64_t>(c.other_view.block_stride)};
    };
    for (int id : {-1, 3, INT32_MAX, INT32_MIN}) {
        expect_left_out(pairs[0], id, c.other_view.memory, {block(pairs[1])},
                        ("pairs[0] reads block " + std::to_string(id)).c_str(),
                        [&] { return kv8_move_blocks(c.device, nullptr, &c.move_blocks); });
        expect_left_out(pairs[3], id, c.other_view.memory, {block(pairs[3])},
                        ("pairs[1] writes block " + std::to_string(id)).c_str(),
                        [&] { return kv8_move_blocks(c.device, nullptr, &c.move_blocks); });
    }
}

TEST_F(IllegalValues, APositionOfRope) {
    fill(c.rope.x.data, 0x3c);
    for (int position : {-1, 7, INT32_MAX, INT32_MIN})
        expect_left_out(DoorCalls::at<int32_t>(c.rope.rope.positions, 2), position, c.rope.x.data,
                        {token_of(c.rope.x, 2)}, ("rope.positions[2] is " + std::to_string(position)).c_str(),
                        [&] { return kv8_rope(c.device, nullptr, &c.rope); });
}

TEST_F(IllegalValues, AnIdOfEmbedding) {
    fill(c.embedding.table, 0x3c);
    fill(c.embedding.out.data, 0x55);
    for (int id : {-1, 11, INT32_MAX, INT32_MIN})
        expect_left_out(DoorCalls::at<int32_t>(c.embedding.ids, 4), id, c.embedding.out.data,
                        {token_of(c.embedding.out, 4)}, ("ids[4] is " + std::to_string(id)).c_str(),
                        [&] { return kv8_embedding(c.device, nullptr, &c.embedding); });
}

// The id of a token that is left out is -1, whatever was there.
TEST_F(IllegalValues, OfSampling) {
    constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
    fill(c.sample.ids, 0xFF);
    const auto expect = [&](auto& value, auto illegal, const char* message) {
        expect_left_out(value, illegal, c.sample.ids, {{c.sample.ids.ptr + 4, 4}}, message,
                        [&] { return kv8_sample(c.device, nullptr, &c.sample); });
    };
    auto& sampling = DoorCalls::at<kv8_sampling>(c.sample.sampling, 1);
    for (float value : {-1.0f, kNaN}) expect(sampling.temperature, value, "sampling[1].temperature is");
    for (float value : {0.0f, 1.5f, kNaN}) expect(sampling.top_p, value, "sampling[1].top_p is");
    expect(sampling.top_k, -1, "sampling[1].top_k is -1");
    for (float value : {1.0f, -0.5f, kNaN}) expect(sampling.uniform, value, "sampling[1].uniform is");
    expect(DoorCalls::at<float>(c.sample.logits.data, 53 + 52), kNaN, "logits of token 1 hold NaN");
}

// Which of a call's rows a scale concerns is the kernel's to say; what matters is that it is seen, and seen once.
TEST_F(IllegalValues, AChannelScale) {
    auto& scale = DoorCalls::at<float>(c.view.k.chan, 70);
    const float legal = scale;
    scale = -1;
    EXPECT_REFUSED(c.test_device.finished(kv8_gather(c.device, nullptr, &c.gather)), KV8_INVALID_ARGUMENT,
                   "chan of head 1, channel 6 is -1");
    EXPECT_EQ(c.test_device.sync(), KV8_OK) << kv8_last_error();
    scale = legal;
    EXPECT_EQ(c.test_device.finished(kv8_gather(c.device, nullptr, &c.gather)), KV8_OK) << kv8_last_error();
}

// Each kernel that reads K's or V's scales looks at them, with 16-bit queries and with float32.
TEST_F(IllegalValues, AChannelScaleOfAnyCall) {
    constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
    const kv8_rows q = c.attention.q;
    for (const bool of_v : {false, true}) {
        const kv8_span chan = of_v ? c.view.v.chan : c.view.k.chan;  // V's are one for each head
        const char* const told = of_v ? "chan of head 1, channel 0 is " : "chan of head 1, channel 6 is ";
        SCOPED_TRACE(told);
        const auto expect_told = [&](const char* name, const auto& call) {
            SCOPED_TRACE(name);
            auto& scale = DoorCalls::at<float>(chan, of_v ? 1 : 70);
            const float legal = scale;
            for (float illegal : {0.0f, -1.0f, kNaN, 0x1p-127f}) {
                scale = illegal;
                EXPECT_REFUSED(c.test_device.finished(call()), KV8_INVALID_ARGUMENT, told);
                EXPECT_EQ(c.test_device.sync(), KV8_OK) << "told once: " << kv8_last_error();
            }
            scale = legal;
            EXPECT_EQ(c.test_device.finished(call()), KV8_OK) << kv8_last_error();
        };
        expect_told("write", [&] { return kv8_write(c.device, nullptr, &c.write); });
        expect_told("move", [&] { return kv8_move_blocks(c.device, nullptr, &c.move_blocks); });
        expect_told("attention", [&] { return kv8_attention(c.device, nullptr, &c.attention); });
        c.attention.q = c.rows(DoorCalls::kTokens, DoorCalls::kQueryHeads, DoorCalls::kHeadSize, KV8_F16);
        const kv8_dtype dtype = c.view.v.dtype;
        c.view.v.dtype = c.view.k.dtype;  // as matrix units want it
        expect_told("attention on matrix units", [&] { return kv8_attention(c.device, nullptr, &c.attention); });
        c.view.v.dtype = dtype;
        c.attention.q = q;
    }
}

}  // namespace
