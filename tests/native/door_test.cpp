// What the door asks of every call, and of the arguments that its checks depend on; see door.h.
#include <cstring>

#include "door.h"

namespace {

using kv8_test::Door;

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

}  // namespace
