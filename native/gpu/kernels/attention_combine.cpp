// Folds the splits of tiles that several items share, in ascending order: one warp per row and KV head.
#include "gpu/attention_results.h"

namespace kv8::gpu {

class CombinedRow {
  public:
    static constexpr int kRows = 1;

    KV8_DEVICE CombinedRow(const AttentionParams& params, const Schedule& schedule, const PlanCombine& tile, int row,
                           int kv_head)
        : row_(row), head_size_(params.view.head_size) {
        Softmax total{-kInfinity, 0};
        for (int first = 0; first < tile.splits; first += kAtOnce) {
            Softmax next[kAtOnce];
            float sums[kAtOnce][kSums];
#pragma unroll
            for (int i = 0; i < kAtOnce; i++) {
                next[i] = {-kInfinity, 0};
                if (first + i >= tile.splits) continue;
                const int64_t index = tile.partial + int64_t(first + i) * tile.rows + row;
                const Record record(schedule.partials(), index * params.view.kv_heads + kv_head, head_size_);
                next[i] = record.softmax();
#pragma unroll
                for (int k = 0; k < kSums; k++)
                    if (has_sum(k)) sums[i][k] = record.sum(k * kLanes + lane());
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; i++) {
                if (next[i].weight == 0) continue;  // no keys: its sums were not stored
                const bool is_first = total.weight == 0;
                if (is_first) total = next[i];
                const Fold fold = is_first ? Fold() : Fold(total, next[i]);
#pragma unroll
                for (int k = 0; k < kSums; k++)
                    if (has_sum(k)) sums_[k] = is_first ? sums[i][k] : fold.join(sums_[k], sums[i][k]);
            }
        }
        const Tile rows(schedule, tile.sequence, kv_head, tile.first_row, tile.rows, params.window);
        finish_row(*this, params, schedule, rows, 0, total);
    }

    KV8_DEVICE int row_in_tile(int) const { return row_; }
    KV8_DEVICE bool writes_row() const { return lane() == 0; }
    template <class Body>
    KV8_DEVICE void for_dims(int, const Body& body) {
#pragma unroll
        for (int i = 0; i < kSums; i++)
            if (has_sum(i)) body(sums_[i], i * kLanes + lane());
    }

  private:
    static constexpr int kSums = 256 / kLanes;
    static constexpr int kAtOnce = 6;  // splits whose loads are under way together

    KV8_DEVICE bool has_sum(int i) const { return i * kLanes + lane() < head_size_; }

    const int row_, head_size_;
    float sums_[kSums] = {};
};

KV8_KERNEL(kv8_attention_combine, kCombineThreads, 4, AttentionParams) {
    const Schedule schedule(params);
    if (!schedule.is_legal()) return;
    constexpr int kWarps = kCombineThreads / kLanes;
    const int kv_heads = params.view.kv_heads;
    const int64_t rows = int64_t(schedule.combine_rows()) * kv_heads;
    for (int64_t i = int64_t(block()) * kWarps + warp(); i < rows; i += int64_t(blocks()) * kWarps) {
        const int row = int(i / kv_heads);
        const PlanCombine tile = schedule.combine(schedule.combine_of(row));
        CombinedRow(params, schedule, tile, row - tile.rows_before, int(i % kv_heads));
    }
}

}  // namespace kv8::gpu
