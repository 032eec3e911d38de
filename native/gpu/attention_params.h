// The one argument of every attention kernel. Addresses are the device's.
#pragma once

#include "fp8/fp8.h"
#include "gpu/faults.h"
#include "kv8/kv8.h"

namespace kv8::gpu {

constexpr int kPreciseThreads = 128;

// Of the kernel in float32: sixteen rows of q, sixteen keys and values, weights and row scales, and a word.
KV8_HOST_DEVICE constexpr int precise_shared_bytes(int head_size) {
    return 4 * (16 * (head_size + 4) + 2 * 16 * (head_size + 1) + 16 * 17 + 2 * 16 + 1);
}

struct AttentionParams {
    kv8_cache_view view;
    kv8_rows q;
    kv8_rows out;
    uint64_t plan;
    uint64_t block_table;  // int32 [num_seqs][block_table_stride]
    int64_t block_table_stride;
    int64_t most_keys;      // of a sequence, that the block table has entries for
    uint64_t lse;           // float32 [total_q][q_heads], or 0
    uint64_t sinks;         // float32 [q_heads], or 0
    uint64_t alibi_slopes;  // float32 [q_heads], or 0
    int32_t q_heads;
    int32_t num_seqs;  // with total_queries and most_keys, what the spans were checked to hold: a plan may be for fewer
    int32_t total_queries;
    int32_t window;
    float softmax_scale;
    float softcap;
    int32_t group;           // query heads of a KV head
    uint32_t group_inverse;  // ceil(2^31 / group): the quotient of small numbers by group is a product's upper bits
    uint32_t slots_at;       // in the plan, of the list of tiles to compute
    uint32_t items_at;
    Fault* fault;
};

}  // namespace kv8::gpu
