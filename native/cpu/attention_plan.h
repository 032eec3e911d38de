// A step's attention schedule, laid out inside the caller's workspace: what each worker item computes, and where
// results of a row that several items share wait to be combined.
//
// Keys are cut at multiples of kSplitKeys, counted from the sequence's first key. A row's result is always the fold of
// its splits in ascending order, whether one item walks them all or several items share them, so its bits depend on its
// own position and window alone: not on the batch, the number of threads, or how the prompt was chunked.
#pragma once

#include <cstdint>

#include "kv8/kv8.h"

namespace kv8::cpu {

constexpr int kSplitKeys = 512;

// Queries of one sequence, and the query heads of some KV heads, over a range of splits. Rows are [kv_heads][queries][group].
struct AttentionItem {
    int32_t sequence;
    int32_t first_kv_head;
    int32_t kv_heads;
    int32_t first_query;  // within the sequence
    int32_t queries;
    int32_t first_split;
    int32_t splits;  // 0: no query of the tile has a key
    int32_t hidden;  // the first of them that the planned window leaves no query; attention with a larger one sees them
    int64_t partial;  // of split first_split, row 0; -1: the item covers every split and writes the output itself
};

// The workspace's first bytes. Offsets count from there, so that a workspace may be copied.
struct AttentionPlan {
    uint64_t magic;
    uint64_t checksum;  // of what follows, up to the partials
    uint64_t bytes;
    int32_t num_seqs;
    int32_t total_queries;
    int32_t q_heads;
    int32_t kv_heads;
    int32_t head_size;
    int32_t most_rows;  // of an item
    int32_t longest;    // keys of the longest sequence that has queries
    int32_t reserved;
    int64_t items;     // largest first
    int64_t combines;  // tiles whose splits are shared by several items
    uint64_t query_start_loc_offset;
    uint64_t seq_lens_offset;
    uint64_t items_offset;
    uint64_t combines_offset;
    uint64_t partials_offset;

    template <class T>
    __attribute__((always_inline)) const T* at(uint64_t offset) const {
        return reinterpret_cast<const T*>(reinterpret_cast<const char*>(this) + offset);
    }
    __attribute__((always_inline)) const int32_t* query_start_loc() const {
        return at<int32_t>(query_start_loc_offset);
    }
    __attribute__((always_inline)) const int32_t* seq_lens() const { return at<int32_t>(seq_lens_offset); }
    __attribute__((always_inline)) const AttentionItem& item(int64_t i) const {
        return at<AttentionItem>(items_offset)[i];
    }
    // The whole of a shared tile: every split, with the first one's partial.
    __attribute__((always_inline)) const AttentionItem& combine(int64_t i) const {
        return at<AttentionItem>(combines_offset)[i];
    }
    __attribute__((always_inline)) int group() const { return q_heads / kv_heads; }

    // A partial result: float32 sums[head_size], the maximum of the scores, the sum of the weights. Partials of an item
    // are [split][row]. They are the workspace's only part that attention writes.
    __attribute__((always_inline)) int64_t partial_floats() const { return head_size + 16; }
    __attribute__((always_inline)) float* partial(int64_t index) const {
        return const_cast<float*>(at<float>(partials_offset)) + index * partial_floats();
    }
};

// Sets args.workspace_bytes and, if a workspace is given, fills it for a device of so many threads. The dispatcher has
// checked the arguments and their arrays. Throws Refusal.
void plan_attention(kv8_attention_plan_args& args, int threads);

// The plan in args.plan, after the checks that need it: that it is one and nobody has written to it, that the call's arrays hold
// its batch, and that every table entry which a visible key occupies names a block. Throws Refusal.
const AttentionPlan& checked_attention_plan(const kv8_attention_args& args);

}  // namespace kv8::cpu
