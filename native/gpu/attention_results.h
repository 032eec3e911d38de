// The splits of an item, and what becomes of their results: records where other items have the tile's other splits, which the
// last of them folds; else a fold of them all and the output.
#pragma once

#include "gpu/attention_rows.h"

namespace kv8::gpu {

template <int kRows>
struct SoftmaxOf {
    Softmax row[kRows];
};

constexpr int kNoMore = -2;  // keys of an item

// An owner has sums of a result in its registers:
//   kMayHaveScales              whether the caches that it reads may have scales
//   kRows                       rows of which this thread has elements
//   row_in_tile(r)              which
//   for_pairs(r, body)          calls body(float& x, float& y, int d) for its sums of dims d and d + 1, d even
//   writes_row()                whether this thread stores what there is one of per row

// The sums are lost.
template <class Owner>
KV8_DEVICE void store_row(Owner& owner, int r, kv8_dtype dtype, uint64_t to) {
    if (dtype == KV8_F32) {
        owner.for_pairs(r, [&](float x, float y, int d) {
            store(reinterpret_cast<void*>(to + uint64_t(d) * 4), x);
            store(reinterpret_cast<void*>(to + uint64_t(d) * 4 + 4), y);
        });
        return;
    }
    // Two halves take the place of one sum: all pairs' beside the sums would be more than some GPUs have registers for.
    if (dtype == KV8_F16)
        owner.for_pairs(r, [](float& x, float y, int) { x = __builtin_bit_cast(float, pack_f16(x, y)); });
    else
        owner.for_pairs(r, [](float& x, float y, int) { x = __builtin_bit_cast(float, pack_bf16(x, y)); });
    if (to % 4 == 0) {
        owner.for_pairs(r, [&](float x, float, int d) { store(reinterpret_cast<void*>(to + uint64_t(d) * 2), x); });
    } else {
        owner.for_pairs(r, [&](float x, float, int d) {
            const uint32_t both = __builtin_bit_cast(uint32_t, x);
            store(reinterpret_cast<void*>(to + uint64_t(d) * 2), uint16_t(both));
            store(reinterpret_cast<void*>(to + uint64_t(d) * 2 + 2), uint16_t(both >> 16));
        });
    }
}

// Divides a row's sums and stores them.
template <class Owner>
KV8_DEVICE void finish_row(Owner& owner, const AttentionParams& params, const Tile& tile, int r,
                           const Softmax& result) {
    const int row = owner.row_in_tile(r);
    if (row >= tile.rows) return;
    const int head = tile.head(row);
    const Finish finish(params, result, head);
    const kv8_side& v = params.view.v;
    if (Owner::kMayHaveScales && v.chan.ptr != 0 && v.chan_dim_stride != 0) {
        owner.for_pairs(r, [&](float& x, float& y, int d) {
            x = x * finish.scale * chan_at(v, tile.kv_head, d);
            y = y * finish.scale * chan_at(v, tile.kv_head, d + 1);
            keep_order();
        });
    } else {
        const float scale = channel_scale(v, tile.kv_head, 0);
        owner.for_pairs(r, [&](float& x, float& y, int) {
            x = x * finish.scale * scale;
            y = y * finish.scale * scale;
        });
    }
    store_row(owner, r, params.out.dtype, row_of(params.out, tile.token(row), head));
    if (owner.writes_row()) store_lse(params, tile.token(row), head, finish.lse);
}

// walk(first, last) gives the softmax over the keys of tiles [first, last), with the sums in the owner; it is called for the
// item's splits in ascending order. read_work() gives the item, again after each walk: it need not be in registers meanwhile.
// The owner's rows are `row_before` behind the item's first; a block has `block_rows` at once.
template <class Owner, class ReadWork, class Walk>
KV8_DEVICE void compute_splits(Owner& owner, const AttentionParams& params, const Schedule& schedule,
                               const ReadWork& read_work, int row_before, int block_rows, const Walk& walk) {
    constexpr int kRows = Owner::kRows;
    // V's static scales are used at the end, where registers are few: illegal ones are told of here.
#pragma unroll 1
    for (int d = opaque(lane()); d < params.view.head_size; d += kLanes)
        checked_channel_scale(params.view.v, block() % params.view.kv_heads, d, params.fault);
    SoftmaxOf<kRows> total{};
    bool has_total = false, is_last = false;
    int split = 0, next_key = -1;  // -1: the item's first
    do {
        bool has_keys;
        SoftmaxOf<kRows> result;
        {
            const auto work = read_work();
            if (next_key < 0) next_key = work.item.first_key;
            const int end =
                schedule.batch_invariant() ? least(split_end(next_key), work.item.last_key) : work.item.last_key;
            const int first = most(next_key, work.first_tile), last = least(end, work.last_tile);
            next_key = end < work.item.last_key ? end : kNoMore;
            has_keys = first < last;
            // Of an item with all keys: behind its last tile nothing is left to join.
            is_last = work.item.shared_tile < 0 && end >= work.last_tile;
            if (work.item.shared_tile < 0 && !has_keys && (has_total || !is_last)) continue;
            result = walk(first, last);
        }
        const auto work = read_work();
        const PlanItem& item = work.item;
        const Tile& tile = work.tile;
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const int row = owner.row_in_tile(r);
            if (row >= tile.rows) continue;
            if (item.shared_tile >= 0) {
                const int64_t index = item.tile_partial + int64_t(item.split + split) * item.rows + row_before + row;
                const Record record(schedule.partials(), index * params.view.kv_heads + tile.kv_head,
                                    params.view.head_size);
                if (has_keys) owner.for_pairs(r, [&](float& x, float& y, int d) { record.set_sums(d, x, y); });
                if (owner.writes_row()) record.set_softmax(result.row[r]);
                continue;
            }
            const Record record(schedule.totals(), int64_t(block()) * block_rows + row, params.view.head_size);
            if (has_total) {
                const Fold fold(total.row[r], result.row[r]);
                owner.for_pairs(r, [&](float& x, float& y, int d) {
                    const SumPair before = record.sums(d);
                    x = fold.join(before.x, x);
                    y = fold.join(before.y, y);
                });
            } else {
                total.row[r] = result.row[r];
            }
            if (is_last)
                finish_row(owner, params, tile, r, total.row[r]);
            else
                owner.for_pairs(r, [&](float& x, float& y, int d) { record.set_sums(d, x, y); });
        }
        has_total = true;
        split++;
    } while (next_key != kNoMore && !is_last);
}

// A row of a shared tile in one warp, folded from the records of its splits in ascending order. The loads of some splits are
// under way together.
template <int kHeadSize>
class FoldedRow {
  public:
    static constexpr int kRows = 1;
    static constexpr bool kMayHaveScales = true;

    // Of an item of the tile, which is read again where it is needed: registers are few here.
    KV8_DEVICE FoldedRow(const AttentionParams& params, const Schedule& schedule, int index, int kv_head, int row)
        : row_(row) {
        Softmax total{-kInfinity, 0};
        {
            const PlanItem item = schedule.item(index);
            const int64_t first = (item.tile_partial + row) * params.view.kv_heads + kv_head,
                          step = int64_t(item.rows) * params.view.kv_heads;
            fold(total, schedule.partials(), first, step, item.splits);
        }
        finish_row(*this, params, Tile(params, schedule.item(index), kv_head), 0, total);
    }

    KV8_DEVICE int row_in_tile(int) const { return row_; }
    KV8_DEVICE bool writes_row() const { return lane() == 0; }
    template <class Body>
    KV8_DEVICE void for_pairs(int, const Body& body) {
#pragma unroll
        for (int k = 0; k < kPairs; k++)
            if (has_pair(k)) body(sums_[k].x, sums_[k].y, dim(k));
    }

  private:
    static constexpr int kPairs = (kHeadSize / 2 + kLanes - 1) / kLanes;
    static constexpr int kAtOnce = 4;  // as many as there are registers for: six spilled on sm_100

    KV8_DEVICE int dim(int k) const { return 2 * (k * kLanes + lane_); }
    KV8_DEVICE bool has_pair(int k) const { return kHeadSize / 2 % kLanes == 0 || dim(k) < kHeadSize; }

    KV8_DEVICE void fold(Softmax& total, uint64_t records, int64_t index, int64_t step, int splits) {
#pragma unroll 1
        for (int first = 0; first < splits; first += kAtOnce) {
            Softmax next[kAtOnce];
            SumPair sums[kAtOnce][kPairs];
#pragma unroll
            for (int i = 0; i < kAtOnce; i++) {
                next[i] = {-kInfinity, 0};
                if (first + i >= splits) continue;
                const Record record(records, index, kHeadSize);
                index += step;
                next[i] = record.softmax();
#pragma unroll
                for (int k = 0; k < kPairs; k++)
                    if (has_pair(k)) sums[i][k] = record.sums(dim(k));
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; i++) {
                if (next[i].weight == 0) continue;  // no keys: its sums were not stored
                const bool is_first = total.weight == 0;
                if (is_first) total = next[i];
                const Fold fold = is_first ? Fold() : Fold(total, next[i]);
#pragma unroll
                for (int k = 0; k < kPairs; k++) {
                    if (!has_pair(k)) continue;
                    sums_[k].x = is_first ? sums[i][k].x : fold.join(sums_[k].x, sums[i][k].x);
                    sums_[k].y = is_first ? sums[i][k].y : fold.join(sums_[k].y, sums[i][k].y);
                }
            }
        }
    }

    const int row_, lane_ = opaque(lane());
    SumPair sums_[kPairs] = {};
};

// How many splits compute_splits makes of an item's keys.
KV8_DEVICE int splits_of(const PlanItem& item, bool batch_invariant) {
    int splits = 1;
    for (int key = split_end(item.first_key); batch_invariant && key < item.last_key; key = split_end(key)) splits++;
    return splits;
}

// Tells that the block has stored the records of an item of a shared tile. Returns whether all the others of the tile are
// stored too: no other item of it is told that. `told` is a word of shared memory that nothing else uses.
KV8_DEVICE bool arrives_last(const Schedule& schedule, const PlanItem& item, int kv_head, Shared told) {
    fence_device();
    sync_block();
    if (thread() == 0) {
        const int splits = splits_of(item, schedule.batch_invariant());
        uint32_t* arrivals = schedule.arrivals(item.shared_tile, kv_head);
        const uint32_t arrived = fetch_add(arrivals, uint32_t(splits)) + uint32_t(splits);
        if (arrived == uint32_t(item.splits)) store(arrivals, uint32_t{0});  // for the next layer
        store(told, arrived);
    }
    sync_block();
    if (load<uint32_t>(told) != uint32_t(item.splits)) return false;
    fence_device();
    return true;
}

// To be called by the whole block when it has walked its items: of each tile that it shares with others, the last of them to come here
// folds all splits. Not after each item: here nothing else needs registers, and loads of many splits can be under way together,
// which a single long text waits for.
template <int kHeadSize, int kWarps>
KV8_DEVICE void fold_shared_tiles(const AttentionParams& params, Shared told) {
    const Schedule schedule(params);
    const int kv_head = block() % params.view.kv_heads, slot = block() / params.view.kv_heads;
    const int end = schedule.slot_begin(slot + 1);
#pragma unroll 1
    for (int index = schedule.slot_begin(slot); index < end; index++) {
        const PlanItem item = schedule.item(index);
        if (item.shared_tile < 0 || !arrives_last(schedule, item, kv_head, told)) continue;
        const int own = warp();
#pragma unroll 1
        for (int row = own; row < schedule.item(index).rows; row += kWarps)
            FoldedRow<kHeadSize>(params, schedule, index, kv_head, row);
    }
}

}  // namespace kv8::gpu
