// One legal call of every kernel, small, on memory of exactly the size needed, so that a test changes one thing and sees it
// refused, and AddressSanitizer sees every byte too far. The memory is the host's, pinned for a GPU.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <memory>
#include <vector>

#include "test_devices.h"

namespace kv8_test {

struct DoorCalls {
    static constexpr int32_t kTokens = 5, kHeads = 2, kQueryHeads = 4, kHeadSize = 64, kBlocks = 3, kBlockSize = 8,
                             kWidth = 37;

    const TestDevice test_device{nullptr};
    kv8_device* const device = test_device.handle();
    kv8_cache_view view{}, other_view{};
    kv8_cast_args cast{};
    kv8_amax_args amax{};
    kv8_write_args write{};
    kv8_gather_args gather{};
    kv8_move_blocks_args move_blocks{};
    kv8_attention_plan_args plan{};
    kv8_attention_args attention{};
    kv8_merge_states_args merge_states{};
    kv8_matmul_args matmul{};
    kv8_rms_norm_args rms_norm{};
    kv8_rope_args rope{};
    kv8_gate_mul_args gate_mul{};
    kv8_softcap_args softcap{};
    kv8_embedding_args embedding{};
    kv8_sample_args sample{};

    DoorCalls() {
        EXPECT_EQ(test_device.status(), KV8_OK) << test_device.message();
        view = make_view();
        other_view = make_view();
        other_view.k.dtype = other_view.v.dtype = KV8_E4M3FNUZ;
        make_cache_calls();
        make_attention_calls();
        make_engine_calls();
    }
    DoorCalls(const DoorCalls&) = delete;
    DoorCalls& operator=(const DoorCalls&) = delete;

    // A copy is legal too: the memory is this object's. It holds numbers of about one in every dtype, and no legal index, so
    // that an index which a call writes over leads astray.
    kv8_span allocate(size_t bytes) {
        void* memory = nullptr;
        if (!test_device.is_gpu()) {
            EXPECT_EQ(posix_memalign(&memory, 64, bytes), 0);
            memory_.emplace_back(memory, free);
        } else {  // the device's until it is closed
            uint64_t ptr = 0;
            EXPECT_EQ(kv8_alloc(device, bytes, KV8_MEMORY_HOST, &ptr), KV8_OK) << kv8_last_error();
            memory = reinterpret_cast<void*>(ptr);
        }
        std::memset(memory, 0x3f, bytes);
        spans_.push_back({reinterpret_cast<uint64_t>(memory), bytes});
        return spans_.back();
    }

    template <class T>
    kv8_span values(std::vector<T> v) {
        const kv8_span span = allocate(v.size() * sizeof(T));
        std::memcpy(reinterpret_cast<void*>(span.ptr), v.data(), span.bytes);
        return span;
    }

    kv8_rows rows(int32_t tokens, int32_t heads, int32_t width, kv8_dtype dtype = KV8_F32) {
        const int64_t row = int64_t{width} * bytes_of(dtype);
        kv8_rows r{};
        r.data = allocate(static_cast<size_t>(tokens * heads * row));
        r.token_stride = heads * row;
        r.head_stride = row;
        r.dtype = dtype;
        return r;
    }

    // The memory that an address is in, or an absent span.
    kv8_span memory_of(uint64_t address) const {
        for (const kv8_span& span : spans_)
            if (address >= span.ptr && address < span.ptr + span.bytes) return span;
        return {0, 0};
    }

    const std::vector<kv8_span>& spans() const { return spans_; }

    template <class T>
    static T& at(const kv8_span& span, size_t i = 0) {
        return reinterpret_cast<T*>(span.ptr)[i];
    }

  private:
    std::vector<std::unique_ptr<void, void (*)(void*)>> memory_;
    std::vector<kv8_span> spans_;

    template <class Args>
    static void start(Args& args) {
        args.struct_size = sizeof(args);
    }

    // A block is K [head][slot][channel], V likewise, K's row scales [head][slot], V's.
    kv8_cache_view make_view() {
        constexpr int64_t row = kHeadSize, side = kHeads * kBlockSize * row, scales = kHeads * kBlockSize * 4;
        kv8_cache_view v{};
        start(v);
        v.num_blocks = kBlocks;
        v.block_size = kBlockSize;
        v.kv_heads = kHeads;
        v.head_size = kHeadSize;
        v.block_stride = 2 * (side + scales);
        v.memory = allocate(static_cast<size_t>(kBlocks * v.block_stride));
        v.k.dtype = KV8_E4M3FN;
        v.k.head_stride = kBlockSize * row;
        v.k.slot_stride = row;
        v.k.row_scale_offset = 2 * side;
        v.k.row_scale_head_stride = kBlockSize * 4;
        v.k.chan = values(std::vector<float>(kHeads * kHeadSize, 0.5f));
        v.k.chan_head_stride = kHeadSize;
        v.k.chan_dim_stride = 1;
        v.v = v.k;
        v.v.dtype = KV8_E5M2;
        v.v.offset = side;
        v.v.row_scale_offset = 2 * side + scales;
        v.v.chan = values(std::vector<float>(kHeads, 2.0f));
        v.v.chan_head_stride = 1;
        v.v.chan_dim_stride = 0;
        return v;
    }

    kv8_rope_table rope_table() {
        kv8_rope_table r{};
        r.rotary_size = 32;
        r.table = values(std::vector<float>(7 * 32, 0.25f));
        r.positions = values(std::vector<int32_t>{0, 6, 3, 2, 1});
        return r;
    }

    void make_cache_calls() {
        start(cast);
        cast.scale = 0.5f;
        cast.count = 100;
        cast.src = values(std::vector<float>(100, 1.5f));
        cast.dst = allocate(100);
        cast.dst_dtype = KV8_E4M3FN;

        start(amax);
        amax.granularity = KV8_AMAX_CHANNEL;
        amax.tokens = kTokens;
        amax.heads = kHeads;
        amax.width = kWidth;
        amax.x = rows(kTokens, kHeads, kWidth, KV8_BF16);
        amax.out = allocate(kHeads * kWidth * 4);

        start(write);
        write.tokens = kTokens;
        write.view = &view;
        write.k = rows(kTokens, kHeads, kHeadSize, KV8_F16);
        write.v = rows(kTokens, kHeads, kHeadSize);
        write.slots = values(std::vector<int64_t>{0, 23, -1, 8, 9});
        write.rope = rope_table();
        write.saturated = allocate(2 * sizeof(uint64_t));

        start(gather);
        gather.tokens = kTokens;
        gather.view = &view;
        gather.k = rows(kTokens, kHeads, kHeadSize);
        gather.v = rows(kTokens, kHeads, kHeadSize, KV8_BF16);
        gather.slots = values(std::vector<int64_t>{0, 23, -1, 8, 9});

        start(move_blocks);
        move_blocks.count = 2;
        move_blocks.src = &view;
        move_blocks.dst = &other_view;
        move_blocks.pairs = values(std::vector<int32_t>{0, 2, 2, 1});
    }

    // Two sequences: 3 queries of 11 keys, 2 queries of 2.
    void make_attention_calls() {
        start(plan);
        plan.num_seqs = 2;
        plan.q_heads = kQueryHeads;
        plan.kv_heads = kHeads;
        plan.head_size = kHeadSize;
        plan.query_start_loc = values(std::vector<int32_t>{0, 3, 5});
        plan.seq_lens = values(std::vector<int32_t>{11, 2});
        EXPECT_EQ(kv8_attention_plan(device, nullptr, &plan), KV8_OK) << kv8_last_error();
        // Two workspaces: later calls of kv8_attention_plan do not change what kv8_attention reads.
        attention.plan = allocate(plan.workspace_bytes);
        for (const kv8_span& workspace : {attention.plan, allocate(plan.workspace_bytes)}) {
            plan.workspace = workspace;
            EXPECT_EQ(kv8_attention_plan(device, nullptr, &plan), KV8_OK) << kv8_last_error();
        }

        start(attention);
        attention.softmax_scale = 0.125f;
        attention.softcap = 30;
        attention.window = 9;
        attention.view = &view;
        attention.block_table = values(std::vector<int32_t>{0, 2, 1, -7});
        attention.block_table_stride = 2;
        attention.q = rows(kTokens, kQueryHeads, kHeadSize);
        attention.out = rows(kTokens, kQueryHeads, kHeadSize, KV8_F16);
        attention.lse = allocate(kTokens * kQueryHeads * 4);
        attention.sinks = values(std::vector<float>(kQueryHeads, 0.5f));
        attention.alibi_slopes = values(std::vector<float>(kQueryHeads, 0.25f));

        start(merge_states);
        merge_states.tokens = kTokens;
        merge_states.heads = kQueryHeads;
        merge_states.width = kHeadSize;
        merge_states.a = rows(kTokens, kQueryHeads, kHeadSize);
        merge_states.b = rows(kTokens, kQueryHeads, kHeadSize, KV8_BF16);
        merge_states.out = rows(kTokens, kQueryHeads, kHeadSize, KV8_F16);
        merge_states.lse_a = allocate(kTokens * kQueryHeads * 4);
        merge_states.lse_b = allocate(kTokens * kQueryHeads * 4);
        merge_states.lse = allocate(kTokens * kQueryHeads * 4);
    }

    void make_engine_calls() {
        start(matmul);
        matmul.tokens = kTokens;
        matmul.outputs = 24;
        matmul.inputs = kWidth;
        // A GPU's weights are of x's type, a CPU's rows of float32.
        matmul.x = rows(kTokens, 1, kWidth, test_device.is_gpu() ? KV8_BF16 : KV8_F32);
        matmul.y = rows(kTokens, 1, 24);
        matmul.weights_dtype = KV8_BF16;
        matmul.weights = allocate(24 * kWidth * 2);
        matmul.bias = allocate(24 * 4);

        start(rms_norm);
        rms_norm.eps = 1e-5f;
        rms_norm.tokens = kTokens;
        rms_norm.heads = kHeads;
        rms_norm.width = kWidth;
        rms_norm.weight_dtype = KV8_BF16;
        rms_norm.x = rows(kTokens, kHeads, kWidth);
        rms_norm.residual = rows(kTokens, kHeads, kWidth, KV8_BF16);
        rms_norm.weight = allocate(kWidth * 2);
        rms_norm.out = rows(kTokens, kHeads, kWidth, KV8_F16);

        start(rope);
        rope.tokens = kTokens;
        rope.heads = kHeads;
        rope.width = kWidth;
        rope.x = rows(kTokens, kHeads, kWidth, KV8_BF16);
        rope.rope = rope_table();

        start(gate_mul);
        gate_mul.tokens = kTokens;
        gate_mul.width = kWidth;
        gate_mul.activation = KV8_GELU_TANH;
        gate_mul.gate = rows(kTokens, 1, kWidth);
        gate_mul.up = rows(kTokens, 1, kWidth, KV8_F16);
        gate_mul.out = rows(kTokens, 1, kWidth, KV8_BF16);

        start(softcap);
        softcap.tokens = kTokens;
        softcap.width = kWidth;
        softcap.cap = 30;
        softcap.x = rows(kTokens, 1, kWidth, KV8_F16);

        start(embedding);
        embedding.tokens = kTokens;
        embedding.width = kWidth;
        embedding.vocabulary = 11;
        embedding.table = allocate(11 * kWidth * 2);
        embedding.table_dtype = KV8_F16;
        embedding.scale = 1.5f;
        embedding.ids = values(std::vector<int32_t>{10, 0, 3, 3, 9});
        embedding.out = rows(kTokens, 1, kWidth);

        start(sample);
        sample.tokens = kTokens;
        sample.vocabulary = 53;
        sample.logits = rows(kTokens, 1, 53);
        sample.sampling = values(std::vector<kv8_sampling>{
            {0, 1, 0, 0}, {1, 0.9f, 0, 0.99f}, {0.5f, 1, 7, 0.5f}, {2, 0.5f, 60, 0.1f}, {1e-30f, 1, 1, 0.999f}});
        sample.ids = allocate(kTokens * 4);
    }
};

}  // namespace kv8_test
