// What the door refuses of attention, its plans and the merge of its results; see door.h.
#include <cmath>

#include "door.h"

namespace {

using kv8_test::Door;
using kv8_test::DoorCalls;
using kv8_test::kInfinity;
using kv8_test::kNaN;

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

TEST_F(Door, OfAnEmptyBatchPlansAndAttendsNothing) {
    c.plan.num_seqs = 0;
    c.plan.seq_lens = {0, 0};
    ASSERT_EQ(plan(), KV8_OK) << kv8_last_error();
    c.attention.plan = c.plan.workspace;
    c.attention.q.data = c.attention.out.data = c.attention.block_table = c.attention.lse = {0, 0};
    EXPECT_EQ(attend(), KV8_OK) << kv8_last_error();
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

}  // namespace
