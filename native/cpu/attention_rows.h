// What attention does per row of queries: which keys a row sees, how results over disjoint keys are folded, and how a
// result is divided, scaled and stored.
#pragma once

#include <cmath>

#include "cpu/attention_plan.h"
#include "cpu/cache_rows.h"
#include "cpu/softmax.h"

namespace kv8::cpu::KV8_ISA {

constexpr float kInfinity = __builtin_inff();

KV8_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
KV8_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

KV8_INLINE float float_at(const kv8_span& span, int64_t index) {
    float value;
    std::memcpy(&value, reinterpret_cast<const char*>(span.ptr) + index * 4, 4);
    return value;
}

KV8_INLINE void set_float(const kv8_span& span, int64_t index, float value) {
    std::memcpy(reinterpret_cast<char*>(span.ptr) + index * 4, &value, 4);
}

// Scores are kept in units of ln 2, so that weights are powers of 2.
constexpr float kLog2E = 1.44269504088896341f;
constexpr double kLn2 = 0.693147180559945309;

// Softmax over some keys, before division: sum of weight * v and of weights, which are 2^(score - maximum).
struct Softmax {
    float* sums;  // [head_size]
    float maximum;
    float weight;
};

// What a maximum is subtracted as: where every score is -inf, all weights are 0 and not NaN.
KV8_INLINE float finite_maximum(float maximum) { return maximum == -kInfinity ? 0.0f : maximum; }

KV8_INLINE float one_exp2_of_negative(float x) { return exp2_of_negative(all(x))[0]; }

KV8_INLINE void copy(Softmax& to, const Softmax& from, int head_size) {
    std::memcpy(to.sums, from.sums, size_t(head_size) * 4);
    to.maximum = from.maximum;
    to.weight = from.weight;
}

// total = total joined with the next split's result.
KV8_INLINE void fold(Softmax& total, const Softmax& next, int head_size) {
    const float maximum = total.maximum > next.maximum ? total.maximum : next.maximum;
    const float old_factor = one_exp2_of_negative(total.maximum - finite_maximum(maximum));
    const float new_factor = one_exp2_of_negative(next.maximum - finite_maximum(maximum));
    for (int d = 0; d < head_size; d += kWidth)
        store(total.sums + d, fused(load<rf>(next.sums + d), all(new_factor), load<rf>(total.sums + d) * old_factor));
    total.weight = total.weight * old_factor + next.weight * new_factor;
    total.maximum = maximum;
}

// A sequence's query rows and what each of them sees.
class Queries {
  public:
    KV8_INLINE Queries(const kv8_attention_args& args, const AttentionPlan& plan, const AttentionItem& item)
        : window_(args.window),
          first_token_(int64_t(plan.query_start_loc()[item.sequence]) + item.first_query),
          first_position_(int64_t(plan.seq_lens()[item.sequence]) - plan.query_start_loc()[item.sequence + 1] +
                          first_token_) {}

    KV8_INLINE int64_t token(int query) const { return first_token_ + query; }
    KV8_INLINE int64_t position(int query) const { return first_position_ + query; }
    // Keys [first_key, last_key); none where the position is before the first key.
    KV8_INLINE int64_t last_key(int query) const { return most(position(query) + 1, 0); }
    KV8_INLINE int64_t first_key(int query) const {
        return window_ > 0 ? least(most(position(query) - window_ + 1, 0), last_key(query)) : 0;
    }

  private:
    int64_t window_, first_token_, first_position_;
};

// Divides, applies V's channel scales, stores out and lse. Without keys `result` is not looked at. A sum is `factor` times
// what it stands for.
inline void finish_row(const kv8_attention_args& args, const AttentionPlan& plan, int64_t token, int kv_head, int head,
                       const Softmax& result, bool has_keys, float factor) {
    float out[kMaxHeadSize] = {};
    const float sink = args.sinks.ptr != 0 ? float_at(args.sinks, head) : -kInfinity;
    double lse = sink;
    if (has_keys) {
        const double of_sink = sink / kLn2, of_keys = result.maximum;
        const double maximum = of_keys == -kInfinity && of_sink == -kInfinity ? 0
                               : of_keys > of_sink                            ? of_keys
                                                                              : of_sink;
        const double decay = ::exp2(of_keys - maximum);
        const double all_weights = decay * result.weight + ::exp2(of_sink - maximum);
        const float scale = float(decay / all_weights) * factor;
        for (int d = 0; d < plan.head_size; d++) out[d] = result.sums[d] * scale * chan_scale(args.view->v, kv_head, d);
        lse = maximum * kLn2 + ::log(all_weights);
    }
    store_row(args.out, token, head, out, plan.head_size);
    if (args.lse.ptr != 0) set_float(args.lse, token * plan.q_heads + head, float(lse));
}

}  // namespace kv8::cpu::KV8_ISA
