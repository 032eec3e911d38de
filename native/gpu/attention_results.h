// The splits of an item, and what becomes of their results: a record for the combine where other items have the tile's other
// splits, else a fold of them all and the output.
#pragma once

#include "gpu/attention_rows.h"

namespace kv8::gpu {

template <int kRows>
struct SoftmaxOf {
    Softmax row[kRows];
};

// Divides a row's sums and stores them. Owner: who has what of a result,
//   kRows                       rows of which this thread has elements
//   row_in_tile(r)              which
//   for_dims(r, body)           calls body(float& sum, int d) for them
//   writes_row()                whether this thread stores what there is one of per row
template <class Owner>
KV8_DEVICE void finish_row(Owner& owner, const AttentionParams& params, const Schedule& schedule, const Tile& tile,
                           int r, const Softmax& result) {
    const int row = owner.row_in_tile(r);
    if (row >= tile.rows) return;
    const int head = tile.head(row);
    const Finish finish(params, result, head);
    const uint64_t to = row_of(params.out, tile.token(row), head);
    owner.for_dims(r, [&](float& sum, int d) {
        store_element(params.out.dtype, to, d, sum * finish.scale * channel_scale(params.view.v, tile.kv_head, d));
    });
    if (owner.writes_row()) store_lse(params, tile.token(row), schedule.q_heads(), head, finish.lse);
}

// walk(first, last) gives the softmax over the keys of tiles [first, last), with the sums in the owner; it is called for the
// item's splits in ascending order. The owner's rows are `row_before` behind the item's first; a block has `block_rows` at
// once.
template <class Owner, class Work, class Walk>
KV8_DEVICE void compute_splits(Owner& owner, const AttentionParams& params, const Schedule& schedule, const Work& work,
                               int row_before, int block_rows, const Walk& walk) {
    constexpr int kRows = Owner::kRows;
    const Tile& tile = work.tile;
    // V's static scales are used at the end, where registers are few: illegal ones are told of here.
#pragma unroll 1
    for (int d = opaque(lane()); d < params.view.head_size; d += kLanes)
        checked_channel_scale(params.view.v, tile.kv_head, d, params.fault);
    const bool is_partial = work.item.partial >= 0;
    SoftmaxOf<kRows> total{};
    bool has_total = false;
    int split = 0, key = work.item.first_key;
    do {
        const int end = schedule.batch_invariant() ? least(split_end(key), work.item.last_key) : work.item.last_key;
        const int first = most(key, work.first_tile), last = least(end, work.last_tile);
        const bool has_keys = first < last, is_last = end >= work.last_tile;
        key = end;
        if (!is_partial && !has_keys && (has_total || !is_last)) continue;  // joins nothing to the total

        const SoftmaxOf<kRows> result = walk(first, last);
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const int row = owner.row_in_tile(r);
            if (is_partial) {
                if (row >= tile.rows) continue;
                const int64_t index = work.item.partial + int64_t(split) * work.item.rows + row_before + row;
                const Record record(schedule.partials(), index * params.view.kv_heads + tile.kv_head,
                                    params.view.head_size);
                if (has_keys) owner.for_dims(r, [&](float& sum, int d) { record.set_sum(d, sum); });
                if (owner.writes_row()) record.set_softmax(result.row[r]);
                continue;
            }
            const Record record(schedule.totals(), int64_t(block()) * block_rows + row, params.view.head_size);
            if (has_total) {
                const Fold fold(total.row[r], result.row[r]);
                owner.for_dims(r, [&](float& sum, int d) { sum = fold.join(record.sum(d), sum); });
            } else {
                total.row[r] = result.row[r];
            }
            if (is_last)
                finish_row(owner, params, schedule, tile, r, total.row[r]);
            else
                owner.for_dims(r, [&](float& sum, int d) { record.set_sum(d, sum); });
        }
        has_total = true;
        split++;
        if (!is_partial && is_last) return;
    } while (key < work.item.last_key);
}

}  // namespace kv8::gpu
