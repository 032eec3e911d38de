// What attention does per row of a tile: which keys a row sees, how results over disjoint keys are folded, and how a result is
// divided, scaled and stored.
#pragma once

#include "gpu/attention_params.h"
#include "gpu/attention_plan.h"
#include "gpu/channel_scales.h"

namespace kv8::gpu {

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

// ---- the schedule

class Schedule {
  public:
    KV8_DEVICE explicit Schedule(const AttentionParams& params) : params_(params), plan_(params.plan) {}

    // Whether the workspace holds a plan for this call's shape, and for no more than what the host has checked the call's spans
    // for: a graph's plan is made anew without that. If not, a fault is reported.
    KV8_DEVICE bool is_legal() const {
        const bool is_plan = field<uint64_t>(offsetof(PlanHeader, magic)) == kPlanMagic &&
                             kv_heads() == params_.view.kv_heads && q_heads() == params_.q_heads &&
                             field<int32_t>(offsetof(PlanHeader, head_size)) == params_.view.head_size;
        return within(kNoPlan, is_plan ? 0 : 1, 0) &&
               within(kTooManySequences, field<int32_t>(offsetof(PlanHeader, num_seqs)), params_.num_seqs) &&
               within(kTooManyQueries, field<int32_t>(offsetof(PlanHeader, total_queries)), params_.total_queries) &&
               within(kTooManyKeys, field<int32_t>(offsetof(PlanHeader, longest)), params_.most_keys);
    }

    KV8_DEVICE int q_heads() const { return field<int32_t>(offsetof(PlanHeader, q_heads)); }
    KV8_DEVICE int kv_heads() const { return field<int32_t>(offsetof(PlanHeader, kv_heads)); }
    KV8_DEVICE bool batch_invariant() const { return field<int32_t>(offsetof(PlanHeader, batch_invariant)) != 0; }
    KV8_DEVICE int combine_rows() const { return field<int32_t>(offsetof(PlanHeader, combine_rows)); }
    KV8_DEVICE int slot_begin(int tiles, int slot) const {
        return load_at<int32_t>(plan_ + field<uint64_t>(list(tiles) + offsetof(PlanList, slot_offset)), slot);
    }
    KV8_DEVICE PlanItem item(int tiles, int index) const {
        return record<PlanItem>(field<uint64_t>(list(tiles) + offsetof(PlanList, item_offset)), index);
    }
    KV8_DEVICE PlanCombine combine(int index) const {
        return record<PlanCombine>(field<uint64_t>(offsetof(PlanHeader, combine_offset)), index);
    }
    // Which combine has a row of all of theirs.
    KV8_DEVICE int combine_of(int row) const {
        return load_at<int32_t>(plan_ + field<uint64_t>(offsetof(PlanHeader, combine_row_offset)), row);
    }
    KV8_DEVICE int query_start(int sequence) const {
        return load_at<int32_t>(plan_ + field<uint64_t>(offsetof(PlanHeader, query_start_loc_offset)), sequence);
    }
    KV8_DEVICE int keys(int sequence) const {
        return load_at<int32_t>(plan_ + field<uint64_t>(offsetof(PlanHeader, seq_lens_offset)), sequence);
    }
    KV8_DEVICE uint64_t partials() const { return plan_ + field<uint64_t>(offsetof(PlanHeader, partial_offset)); }
    KV8_DEVICE uint64_t totals() const { return plan_ + field<uint64_t>(offsetof(PlanHeader, total_offset)); }

  private:
    // One number after the other, so that they are not in registers at once.
    KV8_DEVICE bool within(BadPlan how, int64_t value, int64_t most) const {
        if (value <= most) return true;
        if (thread() == 0) report(params_.fault, kBadPlan, how, value, most + 1);
        return false;
    }

    KV8_DEVICE static int list(int tiles) { return int(offsetof(PlanHeader, lists)) + tiles * int(sizeof(PlanList)); }

    template <class T>
    KV8_DEVICE T field(int offset) const {
        return load<T>(reinterpret_cast<const void*>(plan_ + uint64_t(offset)));
    }
    // A struct of 16-byte multiples, word by word.
    template <class T>
    KV8_DEVICE T record(uint64_t offset, int index) const {
        static_assert(sizeof(T) == 32, "two loads");
        struct Halves {
            Words4 first, second;
        };
        const uint64_t at = plan_ + offset + uint64_t(index) * sizeof(T);
        return __builtin_bit_cast(T, Halves{load_at<Words4>(at, 0), load_at<Words4>(at, 1)});
    }

    const AttentionParams& params_;
    uint64_t plan_;
};

// ---- visible keys

// Rows of one sequence and KV head, and the keys that an item has for them.
struct Tile {
    int sequence, kv_head, group;
    int first_query_token;  // of the sequence, in the batch
    int first_position;     // of the sequence's query 0
    int first_row, rows, window;

    KV8_DEVICE Tile(const Schedule& schedule, int sequence_, int kv_head_, int first_row_, int rows_, int window_)
        : sequence(sequence_),
          kv_head(kv_head_),
          group(quotient(schedule.q_heads(), schedule.kv_heads())),
          first_query_token(schedule.query_start(sequence_)),
          first_position(schedule.keys(sequence_) - (schedule.query_start(sequence_ + 1) - first_query_token)),
          first_row(first_row_),
          rows(rows_),
          window(window_) {}

    // Rows at and beyond `rows` are there only to fill a matrix; they see what the last one sees.
    KV8_DEVICE int query(int row) const { return (first_row + least(row, rows - 1)) / group; }
    KV8_DEVICE int head(int row) const {
        return kv_head * group + first_row + least(row, rows - 1) - query(row) * group;
    }
    KV8_DEVICE int64_t token(int row) const { return int64_t(first_query_token) + query(row); }
    KV8_DEVICE int position(int row) const { return first_position + query(row); }
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

    KV8_DEVICE Work(const PlanItem& item_, const Tile& tile_)
        : item(item_),
          tile(tile_),
          first_key(most(item.first_key, tile.first_key(0))),
          last_key(least(item.last_key, tile.last_key(tile.rows - 1))),
          first_tile(first_key / kTileKeys * kTileKeys),
          last_tile(first_key < last_key ? last_key : first_tile) {}
    KV8_DEVICE Work(const AttentionParams& params, const Schedule& schedule, int kv_head, const PlanItem& item_)
        : Work(item_, Tile(schedule, item_.sequence, kv_head, item_.first_row, item_.rows, params.window)) {}
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

KV8_DEVICE void store_element(kv8_dtype dtype, uint64_t row, int d, float x) {
    if (dtype == KV8_F32)
        store(reinterpret_cast<void*>(row + uint64_t(d) * 4), x);
    else
        store(reinterpret_cast<void*>(row + uint64_t(d) * 2), dtype == KV8_F16 ? narrow_f16(x) : narrow_bf16(x));
}

KV8_DEVICE void store_lse(const AttentionParams& params, int64_t token, int q_heads, int head, float lse) {
    if (params.lse != 0) store(reinterpret_cast<void*>(params.lse + uint64_t(token * q_heads + head) * 4), lse);
}

// ---- records of results in the workspace

class Record {
  public:
    KV8_DEVICE Record(uint64_t records, int64_t index, int head_size)
        : at_(records + uint64_t(index * record_floats(head_size)) * 4), head_size_(head_size) {}

    KV8_DEVICE float sum(int d) const { return load_at<float>(at_, d); }
    KV8_DEVICE void set_sum(int d, float x) const { store(reinterpret_cast<void*>(at_ + uint64_t(d) * 4), x); }
    KV8_DEVICE Softmax softmax() const {
        return {load_at<float>(at_, head_size_ + kRecordReference), load_at<float>(at_, head_size_ + kRecordWeight)};
    }
    KV8_DEVICE void set_softmax(const Softmax& s) const {
        set_sum(head_size_ + kRecordReference, s.reference);
        set_sum(head_size_ + kRecordWeight, s.weight);
    }

  private:
    uint64_t at_;
    int head_size_;
};

// ---- scores

KV8_DEVICE float tanh_of(float x) { return tanh_by(x, exp2_fast((x < 0 ? -x : x) * (-2.0f * kLog2E))); }

}  // namespace kv8::gpu
