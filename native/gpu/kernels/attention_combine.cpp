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
        for (int split = 0; split < tile.splits; split++) {
            const int64_t index = tile.partial + int64_t(split) * tile.rows + row;
            const Record record(schedule.partials(), index * params.view.kv_heads + kv_head, head_size_);
            const Softmax next = record.softmax();
            if (next.weight == 0) continue;  // no keys: its sums were not stored
            const bool first = total.weight == 0;
            if (first) total = next;
            const Fold fold = first ? Fold() : Fold(total, next);
            for_dims(0, [&](float& sum, int d) { sum = first ? record.sum(d) : fold.join(sum, record.sum(d)); });
        }
        const Tile rows(schedule, tile.sequence, kv_head, tile.first_row, tile.rows, params.window);
        finish_row(*this, params, schedule, rows, 0, total);
    }

    KV8_DEVICE int row_in_tile(int) const { return row_; }
    KV8_DEVICE bool writes_row() const { return lane() == 0; }
    template <class Body>
    KV8_DEVICE void for_dims(int, const Body& body) {
#pragma unroll
        for (int i = 0; i < 256 / kLanes; i++)
            if (i * kLanes + lane() < head_size_) body(sums_[i], i * kLanes + lane());
    }

  private:
    const int row_, head_size_;
    float sums_[256 / kLanes] = {};
};

// The combine that has the row: the last with rows_before <= row.
KV8_DEVICE int combine_of(const Schedule& schedule, int row) {
    int first = 0, last = schedule.combines() - 1;
    while (first < last) {
        const int middle = (first + last + 1) / 2;
        if (schedule.combine(middle).rows_before <= row)
            first = middle;
        else
            last = middle - 1;
    }
    return first;
}

KV8_KERNEL(kv8_attention_combine, kCombineThreads, 4, AttentionParams) {
    const Schedule schedule(params);
    if (!schedule.is_legal()) return;
    constexpr int kWarps = kCombineThreads / kLanes;
    const int kv_heads = params.view.kv_heads;
    const int64_t rows = int64_t(schedule.combine_rows()) * kv_heads;
    for (int64_t i = int64_t(block()) * kWarps + warp(); i < rows; i += int64_t(blocks()) * kWarps) {
        const int row = int(i / kv_heads);
        const PlanCombine tile = schedule.combine(combine_of(schedule, row));
        CombinedRow(params, schedule, tile, row - tile.rows_before, int(i % kv_heads));
    }
}

}  // namespace kv8::gpu
