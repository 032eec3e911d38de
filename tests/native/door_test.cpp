// What the door refuses, each with its status and message; see door_calls.h for the legal call that each test spoils.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "door_calls.h"
#include "refusals.h"

namespace {

using kv8_test::DoorCalls;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

class Door : public testing::Test {
  protected:
    DoorCalls c;
    const bool gpu = c.test_device.is_gpu();

    // A call's status, or on a GPU what it found later.
    kv8_status finished(kv8_status call) const { return c.test_device.finished(call); }

    kv8_status cast() { return finished(kv8_cast(c.device, nullptr, &c.cast)); }
    kv8_status amax() { return finished(kv8_amax(c.device, nullptr, &c.amax)); }
    kv8_status write() { return finished(kv8_write(c.device, nullptr, &c.write)); }
    kv8_status gather() { return finished(kv8_gather(c.device, nullptr, &c.gather)); }
    kv8_status move() { return finished(kv8_move_blocks(c.device, nullptr, &c.move_blocks)); }
    kv8_status plan() { return finished(kv8_attention_plan(c.device, nullptr, &c.plan)); }
    kv8_status attend() { return finished(kv8_attention(c.device, nullptr, &c.attention)); }
    kv8_status merge() { return finished(kv8_merge_states(c.device, nullptr, &c.merge_states)); }
    kv8_status norm() { return finished(kv8_rms_norm(c.device, nullptr, &c.rms_norm)); }
    kv8_status rope() { return finished(kv8_rope(c.device, nullptr, &c.rope)); }
    kv8_status multiply() { return finished(kv8_matmul(c.device, nullptr, &c.matmul)); }
    kv8_status gate() { return finished(kv8_gate_mul(c.device, nullptr, &c.gate_mul)); }
    kv8_status cap() { return finished(kv8_softcap(c.device, nullptr, &c.softcap)); }
    kv8_status embed() { return finished(kv8_embedding(c.device, nullptr, &c.embedding)); }
    kv8_status sample() { return finished(kv8_sample(c.device, nullptr, &c.sample)); }

    // Sets a field for one refused call.
    template <class Field, class Value, class Call>
    void refuses(Field& field, Value value, const Call& call, const char* text,
                 kv8_status status = KV8_INVALID_ARGUMENT) {
        SCOPED_TRACE(text);
        const Field before = field;
        field = static_cast<Field>(value);
        EXPECT_REFUSED(call(), status, text);
        field = before;
        EXPECT_EQ(call(), KV8_OK) << "the call is legal without the change: " << kv8_last_error();
    }

    // A span must be there, aligned to its elements, and as large as it is.
    template <class Call>
    void needs(kv8_span& span, const std::string& name, int alignment, const Call& call) {
        refuses(span.ptr, 0, call, (name + ".ptr is null").c_str());
        refuses(
            span.bytes, span.bytes - 1, call,
            (name + " has " + std::to_string(span.bytes - 1) + " bytes; its shape needs " + std::to_string(span.bytes))
                .c_str(),
            KV8_BUFFER_TOO_SMALL);
        if (alignment > 1)
            refuses(span.ptr, span.ptr + 1, call, ("must be a multiple of " + std::to_string(alignment)).c_str());
        refuses(span.bytes, ~span.ptr + 1, call, "beyond the address space");
    }

    template <class Call>
    void needs_rows(kv8_rows& rows, const std::string& name, int64_t row_bytes, bool written, const Call& call) {
        const int size = rows.dtype == KV8_F32 ? 4 : 2;
        needs(rows.data, name + ".data", size, call);
        for (int dtype : {-1, int(KV8_E4M3FN), 7})
            refuses(rows.dtype, dtype, call,
                    (name + ".dtype is " + std::to_string(dtype) + "; allowed are KV8_F32 (0)").c_str());
        refuses(rows.token_stride, row_bytes - size, call,
                (name + ".token_stride is " + std::to_string(row_bytes - size)).c_str());
        refuses(rows.token_stride, INT64_MIN, call, (name + ".token_stride is -9223372036854775808").c_str());
        refuses(rows.token_stride, INT64_MAX / size * size, call, (name + ".data has").c_str(), KV8_BUFFER_TOO_SMALL);
        refuses(rows.token_stride, rows.token_stride + 1, call, (name + ".token_stride").c_str());
        if (rows.token_stride > row_bytes) {  // several heads
            refuses(rows.head_stride, 0, call, (name + ".head_stride is 0 bytes; a row has").c_str());
            if (written)
                refuses(rows.token_stride, row_bytes, call, "rows would overlap");
            else
                refuses(rows.head_stride, rows.head_stride + 1, call, "must be a multiple of the element's");
        }
    }

    struct Argument {
        const char* name;
        kv8_span& span;
    };

    // Two arguments may lie side by side, whichever is first, but share no bytes.
    template <class Call>
    void needs_apart(const Argument& written, const Argument& checked, const Call& call) {
        SCOPED_TRACE(std::string(written.name) + " and " + checked.name);
        kv8_span* const spans[] = {&written.span, &checked.span};
        const kv8_span before[] = {written.span, checked.span};
        const kv8_span memory = c.allocate(before[0].bytes + before[1].bytes + 64);
        for (int first : {0, 1}) {
            const uint64_t behind = (before[first].bytes + 63) / 64 * 64, within = (before[first].bytes - 1) / 64 * 64;
            for (uint64_t second : {behind, within}) {
                spans[first]->ptr = memory.ptr;
                spans[1 - first]->ptr = memory.ptr + second;
                for (int i : {0, 1})
                    std::memcpy(reinterpret_cast<void*>(spans[i]->ptr), reinterpret_cast<const void*>(before[i].ptr),
                                before[i].bytes);
                if (second == behind)
                    EXPECT_EQ(call(), KV8_OK) << kv8_last_error();
                else
                    EXPECT_REFUSED(call(), KV8_INVALID_ARGUMENT,
                                   std::string(written.name) + " and " + checked.name + " share bytes");
            }
        }
        for (int i : {0, 1}) *spans[i] = before[i];
    }

    template <class Call>
    void needs_apart(std::initializer_list<Argument> written, std::initializer_list<Argument> checked,
                     const Call& call) {
        for (const Argument& w : written)
            for (const Argument& r : checked) needs_apart(w, r, call);
    }

    template <class Args, class Call>
    void needs_struct_size(Args& args, const Call& call) {
        for (uint32_t size : {0u, 4u, uint32_t(sizeof(Args)) - 4, uint32_t(sizeof(Args)) + 8, ~0u})
            refuses(args.struct_size, size, call, ("args.struct_size is " + std::to_string(size)).c_str());
    }
};

TEST_F(Door, ServesTheLegalCalls) {
    EXPECT_EQ(cast(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(amax(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(write(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(gather(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(move(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(plan(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(attend(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(merge(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(multiply(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(norm(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(rope(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(gate(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(cap(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(embed(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(sample(), KV8_OK) << kv8_last_error();
}

TEST_F(Door, NeedsArguments) {
    EXPECT_REFUSED(kv8_cast(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_amax(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_write(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_gather(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_move_blocks(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_attention_plan(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_attention(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_merge_states(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_matmul(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_softcap(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_rms_norm(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_rope(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_gate_mul(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_embedding(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_sample(c.device, nullptr, nullptr), KV8_INVALID_ARGUMENT, "args is null");
    EXPECT_REFUSED(kv8_cast(nullptr, nullptr, &c.cast), KV8_INVALID_ARGUMENT, "device is null");
}

TEST_F(Door, NeedsStructsOfItsVersion) {
    needs_struct_size(c.cast, [&] { return cast(); });
    needs_struct_size(c.amax, [&] { return amax(); });
    needs_struct_size(c.write, [&] { return write(); });
    needs_struct_size(c.gather, [&] { return gather(); });
    needs_struct_size(c.move_blocks, [&] { return move(); });
    needs_struct_size(c.plan, [&] { return plan(); });
    needs_struct_size(c.attention, [&] { return attend(); });
    needs_struct_size(c.merge_states, [&] { return merge(); });
    needs_struct_size(c.rms_norm, [&] { return norm(); });
    needs_struct_size(c.rope, [&] { return rope(); });
    needs_struct_size(c.gate_mul, [&] { return gate(); });
    needs_struct_size(c.softcap, [&] { return cap(); });
    needs_struct_size(c.matmul, [&] { return multiply(); });
    needs_struct_size(c.embedding, [&] { return embed(); });
    needs_struct_size(c.sample, [&] { return sample(); });
    refuses(
        c.view.struct_size, 8, [&] { return write(); }, "view.struct_size is 8");
}

TEST_F(Door, DoesNothingForNoTokens) {
    // Nothing is looked at, so nothing needs to be there.
    c.cast.count = 0;
    c.cast.src = c.cast.dst = {0, 0};
    EXPECT_EQ(cast(), KV8_OK) << kv8_last_error();
    c.write.tokens = c.gather.tokens = c.move_blocks.count = 0;
    c.write.k.data = c.write.v.data = c.write.slots = c.write.rope.positions = c.write.rope.table = {0, 0};
    EXPECT_EQ(write(), KV8_OK) << kv8_last_error();
    c.gather.k.data = c.gather.v.data = c.gather.slots = {0, 0};
    EXPECT_EQ(gather(), KV8_OK) << kv8_last_error();
    c.move_blocks.pairs = {0, 0};
    EXPECT_EQ(move(), KV8_OK) << kv8_last_error();
    c.merge_states.tokens = c.matmul.tokens = c.rms_norm.tokens = c.rope.tokens = c.gate_mul.tokens = c.softcap.tokens =
        c.embedding.tokens = c.sample.tokens = 0;
    c.matmul.x.data = c.matmul.y.data = c.matmul.weights = c.matmul.bias = c.softcap.x.data = {0, 0};
    EXPECT_EQ(multiply(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(cap(), KV8_OK) << kv8_last_error();
    c.merge_states.a.data = c.merge_states.b.data = c.merge_states.out.data = c.merge_states.lse_a =
        c.merge_states.lse_b = {0, 0};
    EXPECT_EQ(merge(), KV8_OK) << kv8_last_error();
    c.rms_norm.x.data = c.rms_norm.out.data = c.rms_norm.weight = {0, 0};
    EXPECT_EQ(norm(), KV8_OK) << kv8_last_error();
    c.rope.x.data = c.rope.rope.positions = {0, 0};
    EXPECT_EQ(rope(), KV8_OK) << kv8_last_error();
    c.gate_mul.gate.data = c.gate_mul.up.data = c.gate_mul.out.data = {0, 0};
    EXPECT_EQ(gate(), KV8_OK) << kv8_last_error();
    c.embedding.table = c.embedding.ids = c.embedding.out.data = {0, 0};
    EXPECT_EQ(embed(), KV8_OK) << kv8_last_error();
    c.sample.logits.data = c.sample.sampling = c.sample.ids = {0, 0};
    EXPECT_EQ(sample(), KV8_OK) << kv8_last_error();
}

TEST_F(Door, OfAnEmptyBatchPlansAndAttendsNothing) {
    c.plan.num_seqs = 0;
    c.plan.seq_lens = {0, 0};
    ASSERT_EQ(plan(), KV8_OK) << kv8_last_error();
    c.attention.plan = c.plan.workspace;
    c.attention.q.data = c.attention.out.data = c.attention.block_table = c.attention.lse = {0, 0};
    EXPECT_EQ(attend(), KV8_OK) << kv8_last_error();
}

TEST_F(Door, OfAmaxWithoutTokensWritesZeros) {
    c.amax.tokens = 0;
    c.amax.x.data = {0, 0};
    DoorCalls::at<float>(c.amax.out, 5) = 3;
    ASSERT_EQ(amax(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(DoorCalls::at<float>(c.amax.out, 5), 0);
}

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

TEST_F(Door, OfRopeTables) {
    const auto check = [&](kv8_rope_table& table, int32_t width, const auto& call) {
        for (int size : {-2, 3, width + 2, 258}) refuses(table.rotary_size, size, call, "rope.rotary_size is");
        for (int style : {-1, 2}) refuses(table.style, style, call, "rope.style is");
        refuses(table.table.ptr, 0, call, "rope.table.ptr is null");
        refuses(table.table.bytes, 127, call, "rope.table has 127 bytes; its shape needs 128", KV8_BUFFER_TOO_SMALL);
        refuses(table.table.bytes, 6 * 128, call,
                gpu ? "rope.positions[1] is 6; the table has positions 0 to 5"
                    : "rope.positions[1] is 6; the table of 768 bytes has positions 0 to 5");
        needs(table.positions, "rope.positions", 4, call);
        for (int position : {-1, 7, INT32_MAX, INT32_MIN})
            refuses(DoorCalls::at<int32_t>(table.positions, 2), position, call, "rope.positions[2] is");
        table = {};
        EXPECT_EQ(call(), KV8_OK) << "without rotation: " << kv8_last_error();
    };
    check(c.write.rope, DoorCalls::kHeadSize, [&] { return write(); });
    check(c.rope.rope, DoorCalls::kWidth, [&] { return rope(); });
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

TEST_F(Door, OfAttentionPlan) {
    const auto call = [&] { return plan(); };
    refuses(c.plan.flags, 2, call, "flags is 0x2");
    refuses(c.plan.num_seqs, -1, call, "num_seqs is -1");
    refuses(c.plan.kv_heads, 0, call, "kv_heads is 0");
    refuses(c.plan.q_heads, 0, call, "q_heads is 0");
    refuses(c.plan.q_heads, 5, call, "q_heads is 5; it must be a multiple of kv_heads, which is 2");
    refuses(c.plan.q_heads, 65538, call, "q_heads is 65538; at most 65536");
    refuses(c.plan.head_size, 72, call, "head_size is 72");
    refuses(c.plan.window, -1, call, "window is -1");
    needs(c.plan.query_start_loc, "query_start_loc", 4, call);
    needs(c.plan.seq_lens, "seq_lens", 4, call);
    refuses(c.plan.workspace.bytes, c.plan.workspace.bytes - 1, call, "workspace", KV8_BUFFER_TOO_SMALL);
    refuses(c.plan.workspace.ptr, c.plan.workspace.ptr + 8, call, "workspace.ptr is");
    auto* starts = &DoorCalls::at<int32_t>(c.plan.query_start_loc);
    EXPECT_EQ(starts[0], 0);
    refuses(starts[0], 1, call, "query_start_loc");
    refuses(starts[1], 6, call, "query_start_loc");
    refuses(starts[1], -1, call, "query_start_loc");
    auto& keys = DoorCalls::at<int32_t>(c.plan.seq_lens);
    refuses(keys, -1, call, "-1");
    for (int32_t count : {INT32_MAX, INT32_MAX - 63, INT32_MAX - 8190})
        refuses(keys, count, call, "a sequence has at most 2147475456 keys");
    // Only so many rows have room in a plan, which is made on the host.
    c.plan.num_seqs = 1;
    c.plan.workspace = {0, 0};
    refuses(starts[1], 1 << 26, call,
            "query_start_loc ends with 67108864 rows, of each of which 2 query heads share a KV head; the product may "
            "be 67108864 at most");
    c.plan.kv_heads = 1;
    c.plan.q_heads = 65536;
    for (int32_t queries : {1025, INT32_MAX}) refuses(starts[1], queries, call, "65536 query heads share a KV head");
}

TEST_F(Door, OfAttention) {
    const auto call = [&] { return attend(); };
    refuses(c.attention.window, -1, call, "window is -1");
    for (float value : {kNaN, kInfinity}) {
        refuses(c.attention.softmax_scale, value, call, "softmax_scale is");
        refuses(c.attention.softcap, value, call, "softcap is");
    }
    for (float value : {-1.0f, 0x1p-127f, 0x1.8p126f, 3e38f})
        refuses(c.attention.softcap, value, call, "it must be from 2^-126 to 2^126");
    for (float value : {0.0f, 0x1p-126f, 0x1p126f}) {
        c.attention.softcap = value;
        EXPECT_EQ(attend(), KV8_OK) << kv8_last_error();
        EXPECT_TRUE(std::isfinite(DoorCalls::at<float>(c.attention.lse))) << "softcap " << value;
    }
    refuses(c.attention.view, static_cast<const kv8_cache_view*>(nullptr), call, "view is null");
    refuses(c.attention.plan.ptr, 0, call, "plan.ptr is null");
    refuses(c.attention.plan.ptr, c.attention.plan.ptr + 4, call, "plan.ptr is");
    refuses(c.attention.plan.bytes, c.attention.plan.bytes - 1, call, "plan");
    refuses(c.attention.plan, c.attention.q.data, call, "plan");  // not a plan
    refuses(c.attention.block_table_stride, -1, call, "block_table_stride is -1");
    refuses(c.attention.block_table_stride, 1, call, "block_table_stride is 1; a sequence of 11 keys needs 2 entries");
    refuses(c.attention.block_table_stride, INT64_MAX, call, "block_table has 16 bytes", KV8_BUFFER_TOO_SMALL);
    needs(c.attention.block_table, "block_table", 4, call);
    needs(c.attention.lse, "lse", 4, call);
    needs(c.attention.sinks, "sinks", 4, call);
    needs(c.attention.alibi_slopes, "alibi_slopes", 4, call);
    needs_rows(c.attention.q, "q", DoorCalls::kHeadSize * 4, false, call);
    needs_rows(c.attention.out, "out", DoorCalls::kHeadSize * 2, true, call);
    for (int block : {-1, 3, INT32_MAX, INT32_MIN})
        refuses(DoorCalls::at<int32_t>(c.attention.block_table, 2), block, call, std::to_string(block).c_str());
    c.attention.lse = c.attention.sinks = c.attention.alibi_slopes = {0, 0};
    EXPECT_EQ(attend(), KV8_OK) << "without the optional arguments: " << kv8_last_error();
}

TEST_F(Door, OfAttentionNeedsAPlanOfTheViewsShape) {
    c.plan.kv_heads = 4;
    c.plan.workspace = {0, 0};
    ASSERT_EQ(plan(), KV8_OK) << kv8_last_error();
    c.plan.workspace = c.attention.plan = c.allocate(c.plan.workspace_bytes);
    ASSERT_EQ(plan(), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(attend(), KV8_INVALID_ARGUMENT, "The plan is for 4 KV heads of 64 elements, view has 2 of 64");
}

// No split is shared here, so that nothing in the workspace is for attention to write.
TEST_F(Door, OfAttentionNeedsAPlanThatNobodyWroteOver) {
    if (gpu) GTEST_SKIP() << "on a GPU kernels compare the plan with the call; graph_test changes it";
    for (int64_t i = 0; i < int64_t(c.attention.plan.bytes); i++) {
        auto& byte = DoorCalls::at<uint8_t>(c.attention.plan, i);
        refuses(
            byte, byte ^ 0x10, [&] { return attend(); }, i < 8 ? "plan is not a workspace" : "plan ");
    }
}

TEST_F(Door, OfMergeStates) {
    const auto call = [&] { return merge(); };
    refuses(c.merge_states.tokens, -1, call, "tokens is -1");
    refuses(c.merge_states.heads, 0, call, "heads is 0");
    refuses(c.merge_states.width, 0, call, "width is 0");
    needs_rows(c.merge_states.a, "a", DoorCalls::kHeadSize * 4, false, call);
    needs_rows(c.merge_states.b, "b", DoorCalls::kHeadSize * 2, false, call);
    needs_rows(c.merge_states.out, "out", DoorCalls::kHeadSize * 2, true, call);
    needs(c.merge_states.lse_a, "lse_a", 4, call);
    needs(c.merge_states.lse_b, "lse_b", 4, call);
    needs(c.merge_states.lse, "lse", 4, call);
}

TEST_F(Door, OfRmsNorm) {
    const auto call = [&] { return norm(); };
    refuses(c.rms_norm.tokens, -1, call, "tokens is -1");
    refuses(c.rms_norm.heads, 0, call, "heads is 0");
    refuses(c.rms_norm.width, -1, call, "width is -1");
    refuses(c.rms_norm.eps, kNaN, call, "eps is nan");
    refuses(c.rms_norm.eps, -1, call, "eps is -1");
    refuses(c.rms_norm.weight_dtype, KV8_E5M2, call, "weight_dtype is 4");
    needs(c.rms_norm.weight, "weight", 2, call);
    needs_rows(c.rms_norm.x, "x", DoorCalls::kWidth * 4, false, call);
    needs_rows(c.rms_norm.residual, "residual", DoorCalls::kWidth * 2, true, call);
    needs_rows(c.rms_norm.out, "out", DoorCalls::kWidth * 2, true, call);
}

TEST_F(Door, OfRope) {
    const auto call = [&] { return rope(); };
    refuses(c.rope.tokens, -1, call, "tokens is -1");
    refuses(c.rope.heads, 0, call, "heads is 0");
    refuses(c.rope.width, 0, call, "width is 0");
    needs_rows(c.rope.x, "x", DoorCalls::kWidth * 2, true, call);
}

TEST_F(Door, OfGateMul) {
    const auto call = [&] { return gate(); };
    refuses(c.gate_mul.tokens, -1, call, "tokens is -1");
    refuses(c.gate_mul.width, 0, call, "width is 0");
    for (int activation : {-1, 2})
        refuses(c.gate_mul.activation, activation, call, "allowed are KV8_SILU (0) and KV8_GELU_TANH (1)");
    needs_rows(c.gate_mul.gate, "gate", DoorCalls::kWidth * 4, false, call);
    needs_rows(c.gate_mul.up, "up", DoorCalls::kWidth * 2, false, call);
    needs_rows(c.gate_mul.out, "out", DoorCalls::kWidth * 2, true, call);
}

TEST_F(Door, OfSoftcap) {
    const auto call = [&] { return cap(); };
    refuses(c.softcap.tokens, -1, call, "tokens is -1");
    refuses(c.softcap.width, 0, call, "width is 0");
    for (float value : {0.0f, -30.0f, kNaN, kInfinity}) refuses(c.softcap.cap, value, call, "cap is ");
    needs_rows(c.softcap.x, "x", DoorCalls::kWidth * 2, true, call);
}

TEST_F(Door, OfMatmul) {
    const auto call = [&] { return multiply(); };
    const int x_size = gpu ? 2 : 4;                              // bytes of an element
    const int x_row = (DoorCalls::kWidth * x_size + 3) / 4 * 4;  // rounded up for y's alignment
    kv8_matmul_args& m = c.matmul;
    refuses(m.tokens, -1, call, "tokens is -1");
    refuses(m.outputs, 0, call, "outputs is 0");
    refuses(m.inputs, 0, call, "inputs is 0");
    refuses(m.outputs, INT32_MAX, call, "y.token_stride is 96 bytes; a row has 8589934588");
    needs_rows(m.x, "x", DoorCalls::kWidth * x_size, false, call);
    needs_rows(m.y, "y", 24 * 4, true, call);
    refuses(m.y.dtype, KV8_F16, call,
            gpu ? "y.dtype is 1; it must be x's, 2, or KV8_F32 (0)" : "y.dtype is 1; it must be x's, 0, or");
    refuses(m.weights_dtype, KV8_E4M3FN, call, "weights_dtype is 3");
    if (gpu) refuses(m.weights_dtype, KV8_F16, call, "weights_dtype is 1; it must be x's, 2");
    refuses(m.sum_length, -1, call, "sum_length is -1");
    needs(m.weights, "weights", 2, call);
    needs(m.bias, "bias", 4, call);
    const kv8_span shared = c.allocate(4096);
    m.y.data = {shared.ptr + 1024, m.y.data.bytes};
    refuses(m.weights, shared, call, "y and weights share bytes");
    refuses(m.bias, kv8_span{m.y.data.ptr + 4 * 24 * 4, 24 * 4}, call, "y and bias share bytes");

    // Columns of one buffer may take turns, byte to byte.
    const kv8_span both = c.allocate(uint64_t(DoorCalls::kTokens * (x_row + 24 * 4)));
    m.x.token_stride = m.y.token_stride = x_row + 24 * 4;
    const auto put = [&](uint64_t x, uint64_t y) {
        m.x.data = {both.ptr + x, both.bytes - x};
        m.y.data = {both.ptr + y, both.bytes - y};
    };
    put(0, uint64_t(x_row));
    EXPECT_EQ(call(), KV8_OK) << kv8_last_error();
    put(24 * 4, 0);
    EXPECT_EQ(call(), KV8_OK) << kv8_last_error();
    put(uint64_t(24 * 4 - x_size), 0);
    EXPECT_REFUSED(call(), KV8_INVALID_ARGUMENT, "y and x share bytes");
    put(0, uint64_t(x_row - 4));
    EXPECT_REFUSED(call(), KV8_INVALID_ARGUMENT, "y and x share bytes");
    m.y.token_stride += 4;
    put(0, uint64_t(x_row));
    m.tokens = 3;
    EXPECT_REFUSED(call(), KV8_INVALID_ARGUMENT, "y and x share bytes");
    m.tokens = 1;
    EXPECT_EQ(call(), KV8_OK) << kv8_last_error();
}

// What a call is checked by stays as it was when it was checked.
TEST_F(Door, WritesOverNothingThatItIsCheckedBy) {
    const Argument k_chan{"view.k.chan", c.view.k.chan}, v_chan{"view.v.chan", c.view.v.chan};
    needs_apart({{"view.memory", c.view.memory}, {"saturated", c.write.saturated}},
                {{"slots", c.write.slots}, {"rope.positions", c.write.rope.positions}, k_chan, v_chan},
                [&] { return write(); });
    needs_apart({{"k", c.gather.k.data}, {"v", c.gather.v.data}}, {{"slots", c.gather.slots}, k_chan, v_chan},
                [&] { return gather(); });
    needs_apart({{"dst.memory", c.other_view.memory}},
                {{"pairs", c.move_blocks.pairs},
                 {"src.k.chan", c.view.k.chan},
                 {"src.v.chan", c.view.v.chan},
                 {"dst.k.chan", c.other_view.k.chan},
                 {"dst.v.chan", c.other_view.v.chan}},
                [&] { return move(); });
    needs_apart({{"workspace", c.plan.workspace}},
                {{"query_start_loc", c.plan.query_start_loc}, {"seq_lens", c.plan.seq_lens}}, [&] { return plan(); });
    const auto plan_and_attend = [&] {  // a GPU knows a plan by its place
        c.plan.workspace = c.attention.plan;
        EXPECT_EQ(plan(), KV8_OK) << kv8_last_error();
        return attend();
    };
    const Argument block_table{"block_table", c.attention.block_table};
    needs_apart({{"out", c.attention.out.data}, {"lse", c.attention.lse}},
                {{"plan", c.attention.plan}, block_table, k_chan, v_chan}, plan_and_attend);
    needs_apart({{"plan", c.attention.plan}}, {block_table, k_chan, v_chan}, plan_and_attend);
    needs_apart({{"x", c.rope.x.data}}, {{"rope.positions", c.rope.rope.positions}}, [&] { return rope(); });
    needs_apart({{"out", c.embedding.out.data}}, {{"ids", c.embedding.ids}}, [&] { return embed(); });
    needs_apart({{"ids", c.sample.ids}}, {{"sampling", c.sample.sampling}, {"logits", c.sample.logits.data}},
                [&] { return sample(); });
}

TEST_F(Door, LetsArgumentsBePartsOfOneSpan) {
    const kv8_span arena = c.allocate(c.view.memory.bytes + c.write.slots.bytes);
    const kv8_span slots{arena.ptr + c.view.memory.bytes, c.write.slots.bytes};
    std::memcpy(reinterpret_cast<void*>(slots.ptr), reinterpret_cast<const void*>(c.write.slots.ptr), slots.bytes);
    c.view.memory = arena;
    c.write.slots = slots;
    EXPECT_EQ(write(), KV8_OK) << kv8_last_error();
    c.view.num_blocks++;
    EXPECT_REFUSED(write(), KV8_BUFFER_TOO_SMALL, "view.memory has");
}

TEST_F(Door, OfEmbedding) {
    const auto call = [&] { return embed(); };
    refuses(c.embedding.tokens, -1, call, "tokens is -1");
    refuses(c.embedding.width, 0, call, "width is 0");
    refuses(c.embedding.vocabulary, 0, call, "vocabulary is 0");
    refuses(c.embedding.vocabulary, INT32_MAX, call, "table has", KV8_BUFFER_TOO_SMALL);
    refuses(c.embedding.table_dtype, KV8_E4M3FN, call, "table_dtype is 3");
    for (float value : {0.0f, -1.0f, kNaN, kInfinity}) refuses(c.embedding.scale, value, call, "scale is ");
    needs(c.embedding.table, "table", 2, call);
    needs(c.embedding.ids, "ids", 4, call);
    needs_rows(c.embedding.out, "out", DoorCalls::kWidth * 4, true, call);
    for (int id : {-1, 11, INT32_MAX})
        refuses(DoorCalls::at<int32_t>(c.embedding.ids, 4), id, call, "; the vocabulary has ids 0 to 10");
}

TEST_F(Door, OfSample) {
    const auto call = [&] { return sample(); };
    refuses(c.sample.tokens, -1, call, "tokens is -1");
    refuses(c.sample.vocabulary, 0, call, "vocabulary is 0");
    needs_rows(c.sample.logits, "logits", 53 * 4, false, call);
    needs(c.sample.sampling, "sampling", 4, call);
    needs(c.sample.ids, "ids", 4, call);
    auto& sampling = DoorCalls::at<kv8_sampling>(c.sample.sampling, 1);
    for (float value : {-1.0f, kNaN, kInfinity})
        refuses(sampling.temperature, value, call, "sampling[1].temperature is");
    for (float value : {0.0f, -1.0f, 1.5f, kNaN}) refuses(sampling.top_p, value, call, "sampling[1].top_p is");
    refuses(sampling.top_k, -1, call, "sampling[1].top_k is -1");
    for (float value : {1.0f, -0.5f, kNaN}) refuses(sampling.uniform, value, call, "sampling[1].uniform is");
    for (float value : {kNaN, kInfinity})
        refuses(DoorCalls::at<float>(c.sample.logits.data, 2 * 53 + 52), value, call,
                "logits of token 2 hold NaN or +infinity");
    DoorCalls::at<float>(c.sample.logits.data, 2 * 53 + 52) = -kInfinity;
    EXPECT_EQ(sample(), KV8_OK) << "one barred id: " << kv8_last_error();
    for (int i = 0; i < 53; i++) DoorCalls::at<float>(c.sample.logits.data, 53 + i) = -kInfinity;
    EXPECT_REFUSED(sample(), KV8_INVALID_ARGUMENT, "logits of token 1 hold NaN or +infinity, or nothing finite");
}

}  // namespace
