#include "cpu/attention_probe.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "cpu/memory.h"

namespace kv8::cpu {
namespace {

// One text of a group of four query heads, in the first-level cache: what differs is arithmetic.
constexpr int kKeys = 64, kGroup = 4, kHeadSize = 128, kRounds = 12;
// Below the other's time by this factor. The processors that are known take about half or twice the time.
constexpr double kClearly = 0.8;

template <class T>
kv8_span span_of(std::vector<T>& values) {
    return {reinterpret_cast<uint64_t>(values.data()), values.size() * sizeof(T)};
}

class DecodeStep {
  public:
    DecodeStep() : codes_(2 * kKeys * kHeadSize), q_(kGroup * kHeadSize, 0x3F80), out_(q_.size()) {
        for (size_t i = 0; i < codes_.size(); i++) codes_[i] = static_cast<uint8_t>(i % 0x7F);  // numbers of E4M3
        view_.struct_size = sizeof(view_);
        view_.memory = span_of(codes_);
        view_.num_blocks = 1;
        view_.block_size = kKeys;
        view_.kv_heads = 1;
        view_.head_size = kHeadSize;
        view_.block_stride = static_cast<int64_t>(codes_.size());
        view_.k.dtype = KV8_E4M3FN;
        view_.k.head_stride = kKeys * kHeadSize;
        view_.k.slot_stride = kHeadSize;
        view_.k.row_scale_offset = -1;
        view_.v = view_.k;
        view_.v.offset = kKeys * kHeadSize;

        kv8_attention_plan_args plan{};
        plan.struct_size = sizeof(plan);
        plan.num_seqs = 1;
        plan.q_heads = kGroup;
        plan.kv_heads = 1;
        plan.head_size = kHeadSize;
        plan.query_start_loc = span_of(query_start_loc_);
        plan.seq_lens = span_of(seq_lens_);
        plan_attention(plan, 1);
        plan_.resize(plan.workspace_bytes / sizeof(uint64_t) + 1);
        plan.workspace = span_of(plan_);
        plan_attention(plan, 1);

        args_.struct_size = sizeof(args_);
        args_.softmax_scale = 0.0625f;
        args_.view = &view_;
        args_.plan = plan.workspace;
        args_.block_table = span_of(block_table_);
        args_.block_table_stride = 1;
        args_.q.data = span_of(q_);
        args_.q.dtype = KV8_BF16;
        args_.q.token_stride = kGroup * kHeadSize * 2;
        args_.q.head_stride = kHeadSize * 2;
        args_.out = args_.q;
        args_.out.data = span_of(out_);
    }

    double seconds(const AttentionKernels& kernels, double (*now)()) {
        const auto& plan = *reinterpret_cast<const AttentionPlan*>(plan_.data());
        scratch_.reserve(1, kernels.scratch_bytes(plan));
        const double start = now();
        for (int64_t item = 0; item < plan.items; item++) kernels.item(args_, plan, item, scratch_.of(0));
        return now() - start;
    }

  private:
    std::vector<uint8_t> codes_;
    std::vector<uint16_t> q_, out_;
    std::vector<int32_t> query_start_loc_{0, 1}, seq_lens_{kKeys}, block_table_{0};
    std::vector<uint64_t> plan_;
    kv8_cache_view view_{};
    kv8_attention_args args_{};
    WorkerScratch scratch_;
};

}  // namespace

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool is_clearly_faster(const AttentionKernels& a, const AttentionKernels& b, double (*now)()) {
    DecodeStep step;
    double least_a = std::numeric_limits<double>::infinity(), least_b = least_a;
    for (int round = 0; round < kRounds; round++) {  // by turns, and the first of them warm up
        least_a = std::min(least_a, step.seconds(a, now));
        least_b = std::min(least_b, step.seconds(b, now));
    }
    return least_a < kClearly * least_b;
}

}  // namespace kv8::cpu
