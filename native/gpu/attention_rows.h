// What attention does per row of a tile: which keys a row sees, how results over disjoint keys are folded, and how a result is
// divided, scaled and stored.
#pragma once

#include "gpu/attention_config.h"
#include "gpu/attention_params.h"
#include "gpu/attention_plan.h"
#include "gpu/channel_scales.h"

namespace kv8::gpu {

constexpr AttentionDevice kAttentionDevice{kSharedKiB, kLanes, kCopiesInRegisters};

constexpr float kInfinity = __builtin_inff();
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

KV8_DEVICE int least(int a, int b) { return a < b ? a : b; }
KV8_DEVICE int most(int a, int b) { return a > b ? a : b; }
// Of numbers that are not negative, which takes half the instructions.
KV8_DEVICE int quotient(int a, int b) { return int(uint32_t(a) / uint32_t(b)); }

template <class T>
KV8_DEVICE T load_at(uint64_t base, int64_t index) {
    return load<T>(reinterpret_cast<const void*>(base + uint64_t(index * int64_t(sizeof(T)))));
}

// Structs of 16-byte multiples, in as few loads, all under way together.
template <class T>
KV8_DEVICE T load_words(uint64_t at) {
    struct Words {
        Words4 x[sizeof(T) / 16];
    } words;
    static_assert(sizeof(T) == sizeof(words), "whole words");
#pragma unroll
    for (int i = 0; i < int(sizeof(T) / 16); i++) words.x[i] = load_at<Words4>(at, i);
    return __builtin_bit_cast(T, words);
}

// ---- the schedule

class Schedule {
  public:
    KV8_DEVICE explicit Schedule(const AttentionParams& params) : params_(params) {}

    // Whether the workspace holds a plan for this call's shape, and for no more than what the host has checked the call's spans
    // for: a graph's plan is made anew without that. If not, a fault is reported.
    KV8_DEVICE bool is_legal() const {
        struct Checked {
            uint64_t magic;
            int32_t num_seqs, total_queries, q_heads, kv_heads, head_size, longest;
        };
        static_assert(offsetof(PlanHeader, longest) + 4 == sizeof(Checked), "the header's first part");
        const Checked plan = load_words<Checked>(params_.plan);
        const bool is_plan = plan.magic == kPlanMagic && plan.kv_heads == params_.view.kv_heads &&
                             plan.q_heads == params_.q_heads && plan.head_size == params_.view.head_size;
        if (is_plan && plan.num_seqs <= params_.num_seqs && plan.total_queries <= params_.total_queries &&
            plan.longest <= params_.most_keys)
            return true;
        if (thread() != 0) return false;
        const auto tell = [&](BadPlan how, int64_t value, int64_t most) {
            report(params_.fault, kBadPlan, how, value, most + 1);
        };
        if (!is_plan)
            tell(kNoPlan, 1, 0);
        else if (plan.num_seqs > params_.num_seqs)
            tell(kTooManySequences, plan.num_seqs, params_.num_seqs);
        else if (plan.total_queries > params_.total_queries)
            tell(kTooManyQueries, plan.total_queries, params_.total_queries);
        else
            tell(kTooManyKeys, plan.longest, params_.most_keys);
        return false;
    }

    KV8_DEVICE bool batch_invariant() const { return field<int32_t>(offsetof(PlanHeader, batch_invariant)) != 0; }
    KV8_DEVICE int slot_begin(int slot) const { return load_at<int32_t>(params_.plan + params_.slots_at, slot); }
    KV8_DEVICE PlanItem item(int index) const {
        struct Words {
            uint32_t x[sizeof(PlanItem) / 4];
        };
        Words words = load_words<Words>(params_.plan + params_.items_at + uint64_t(index) * sizeof(PlanItem));
#pragma unroll
        for (uint32_t& word : words.x) word = uniform(word);
        return __builtin_bit_cast(PlanItem, words);
    }
    // Few enough for 32 bits: a list shares fewer tiles than it has slots, and slots times KV heads are the device's blocks.
    KV8_DEVICE uint32_t* arrivals(int shared_tile, int kv_head) const {
        const uint64_t all = params_.plan + field<uint64_t>(offsetof(PlanHeader, arrival_offset));
        return reinterpret_cast<uint32_t*>(all + uint64_t(shared_tile * params_.view.kv_heads + kv_head) * 4);
    }
    KV8_DEVICE uint64_t partials() const {
        return params_.plan + field<uint64_t>(offsetof(PlanHeader, partial_offset));
    }
    KV8_DEVICE uint64_t totals() const { return params_.plan + field<uint64_t>(offsetof(PlanHeader, total_offset)); }

  private:
    template <class T>
    KV8_DEVICE T field(int offset) const {
        return load<T>(reinterpret_cast<const void*>(params_.plan + uint64_t(offset)));
    }

    const AttentionParams& params_;
};

// ---- visible keys

// Rows of one sequence and KV head: the heads of the group by queries. Row 0 is of the item's first query and head.
struct Tile {
    int sequence, kv_head, group;
    uint32_t group_inverse;
    int first_head, first_token, first_position;
    int rows, window;

    KV8_DEVICE Tile(const AttentionParams& params, const PlanItem& item, int kv_head_)
        : sequence(item.sequence),
          kv_head(kv_head_),
          group(params.group),
          group_inverse(params.group_inverse),
          first_head(item.first_head),
          first_token(item.first_token),
          first_position(item.first_position),
          rows(item.rows),
          window(params.window) {}

    // The query of a row, counted from row 0's; exact for numbers of rows that a tile can have. Rows at and beyond `rows` are
    // there only to fill a matrix; they see what the last one sees.
    KV8_DEVICE int query(int row) const {
        return int(uint64_t(uint32_t(first_head + least(row, rows - 1))) * group_inverse >> 31);
    }
    KV8_DEVICE int head(int row) const {
        return kv_head * group + first_head + least(row, rows - 1) - query(row) * group;
    }
    KV8_DEVICE int64_t token(int row) const { return int64_t(first_token) + query(row); }
    KV8_DEVICE int position(int row) const { return first_position + query(row); }
    // At most `count` of the rows from `row` on.
    KV8_DEVICE Tile part(int row, int count) const {
        Tile part = *this;
        const int queries = query(row);
        part.first_head += row - queries * group;
        part.first_token += queries;
        part.first_position += queries;
        part.rows = least(rows - row, count);
        return part;
    }
    // A row sees keys [first_key, last_key).
    KV8_DEVICE int last_key(int row) const { return most(position(row) + 1, 0); }
    KV8_DEVICE int first_key(int row) const {
        return window > 0 ? least(most(position(row) - window + 1, 0), last_key(row)) : 0;
    }
};

// An item's rows, and which of the cache's keys they need: [first_key, last_key) in tiles of kTileKeys from first_tile to
// last_tile.
template <int kTileKeys>
struct Work {
    PlanItem item;
    Tile tile;
    int first_key, last_key, first_tile, last_tile;

    KV8_DEVICE Work(const AttentionParams& params, int kv_head, const PlanItem& item_)
        : Work(item_, Tile(params, item_, kv_head)) {}
    KV8_DEVICE Work(const PlanItem& item_, const Tile& tile_)
        : item(item_),
          tile(tile_),
          first_key(most(item.first_key, tile.first_key(0))),
          last_key(least(item.last_key, tile.last_key(tile.rows - 1))),
          first_tile(first_key / kTileKeys * kTileKeys),
          last_tile(first_key < last_key ? last_key : first_tile) {}
};

// ---- results

// Softmax over some keys, before division; the sums are elsewhere. Weights are 2^(score * log2 e - reference).
struct Softmax {
    float reference;  // -inf: no keys
    float weight;
};

// What is subtracted from scores: where all are -inf, weights are 0 and not NaN.
KV8_DEVICE float finite(float reference) { return reference == -kInfinity ? 0.0f : reference; }

// Joins the next split's result to a total: sums become fused(next, next_factor, total * total_factor).
struct Fold {
    float total_factor = 0, next_factor = 1;

    KV8_DEVICE Fold() {}
    KV8_DEVICE Fold(Softmax& total, const Softmax& next) {
        const float reference = maximum(total.reference, next.reference);
        total_factor = exp2_fast(total.reference - finite(reference));
        next_factor = exp2_fast(next.reference - finite(reference));
        total.weight = fused(next.weight, next_factor, total.weight * total_factor);
        total.reference = reference;
    }
    KV8_DEVICE float join(float total, float next) const { return fused(next, next_factor, total * total_factor); }
};

// What a row's sums are multiplied by, and its lse (natural log); a sink counts in both.
struct Finish {
    float scale, lse;

    KV8_DEVICE Finish(const AttentionParams& params, const Softmax& result, int head) {
        const float sink = params.sinks != 0 ? load_at<float>(params.sinks, head) * kLog2E : -kInfinity;
        if (result.weight == 0) {
            scale = 0;
            lse = params.sinks != 0 ? load_at<float>(params.sinks, head) : -kInfinity;
            return;
        }
        const float reference = maximum(result.reference, sink);
        const float factor = exp2_fast(result.reference - reference);
        const float all = fused(result.weight, factor, exp2_fast(sink - reference));
        scale = divide(factor, all);
        lse = (reference + log2_fast(all)) * kLn2;
    }
};

// A row of q, or of the output.
KV8_DEVICE uint64_t row_of(const kv8_rows& rows, int64_t token, int head) {
    return rows.data.ptr + uint64_t(token * rows.token_stride + head * rows.head_stride);
}

KV8_DEVICE float load_element(kv8_dtype dtype, uint64_t row, int d) {
    if (dtype == KV8_F32) return load_at<float>(row, d);
    const uint16_t bits = load_at<uint16_t>(row, d);
    return dtype == KV8_F16 ? widen_f16(bits) : widen_bf16(bits);
}

KV8_DEVICE void store_lse(const AttentionParams& params, int64_t token, int head, float lse) {
    if (params.lse != 0) store(reinterpret_cast<void*>(params.lse + uint64_t(token * params.q_heads + head) * 4), lse);
}

// ---- records of results in the workspace

struct alignas(8) SumPair {
    float x, y;
};

class Record {
  public:
    KV8_DEVICE Record(uint64_t records, int64_t index, int head_size)
        : at_(records + uint64_t(index * record_floats(head_size)) * 4), head_size_(head_size) {}

    // Of dims d and d + 1, d even.
    KV8_DEVICE SumPair sums(int d) const { return load<SumPair>(reinterpret_cast<const void*>(at(d))); }
    KV8_DEVICE void set_sums(int d, float x, float y) const { store(reinterpret_cast<void*>(at(d)), SumPair{x, y}); }
    KV8_DEVICE Softmax softmax() const {
        const SumPair pair = sums(head_size_);
        return {pair.x, pair.y};
    }
    KV8_DEVICE void set_softmax(const Softmax& s) const { set_sums(head_size_, s.reference, s.weight); }

  private:
    KV8_DEVICE uint64_t at(int d) const { return at_ + uint64_t(d) * 4; }

    uint64_t at_;
    int head_size_;
};

// ---- scores

KV8_DEVICE float tanh_of(float x) { return tanh_by(x, exp2_fast((x < 0 ? -x : x) * (-2.0f * kLog2E))); }

}  // namespace kv8::gpu
