// The checks of arguments, once for all backends: shapes, strides, dtypes and extents, without touching device memory.
// A failing check throws a Refusal that names the argument, what was given and what is allowed.
//
// check(args) answers whether there is anything to do: a call without tokens is legal and does nothing.
#pragma once

#include <cstddef>
#include <cstring>

#include "kv8/kv8.h"

namespace kv8 {

void check_struct_size(const char* name, uint32_t given, size_t expected);

void check_alloc(uint64_t bytes, int32_t kind);
bool check_copy(const kv8_span& dst, const kv8_span& src);
bool check_fill(const kv8_span& dst);

bool check(const kv8_cast_args&);
bool check(const kv8_amax_args&);
bool check(const kv8_write_args&);
bool check(const kv8_gather_args&);
bool check(const kv8_move_blocks_args&);
bool check(const kv8_attention_plan_args&);
bool check(const kv8_attention_args&);
bool check(const kv8_merge_states_args&);
bool check(const kv8_matmul_args&);
bool check(const kv8_rms_norm_args&);
bool check(const kv8_rope_args&);
bool check(const kv8_gate_mul_args&);
bool check(const kv8_softcap_args&);
bool check(const kv8_embedding_args&);
bool check(const kv8_sample_args&);

// An entry of an array in host memory, as query_start_loc and seq_lens are on every backend.
inline int32_t int32_at(const kv8_span& span, int64_t index) {
    int32_t value;
    std::memcpy(&value, reinterpret_cast<const char*>(span.ptr) + index * 4, 4);
    return value;
}

// The part of a plan's checks that needs its size, which the backend chooses. Nothing for a call that only asks for it.
void check_workspace(const kv8_attention_plan_args&, uint64_t needed);

// What a plan knows of its batch.
struct AttentionShape {
    int32_t num_seqs;
    int32_t q_heads;
    int32_t kv_heads;
    int32_t head_size;
    int64_t total_q;
    int64_t longest;  // keys of the longest sequence
    uint64_t bytes;   // of the workspace
};

// The part of attention's checks that needs the plan, which only the backend can read: extents over its batch.
void check_against_plan(const kv8_attention_args&, const AttentionShape& plan);

}  // namespace kv8
