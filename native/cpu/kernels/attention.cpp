// Paged attention in float32. An item walks its keys in tiles of sixteen: K and V rows are converted once for all query
// heads of the group and all queries of the tile, scores go through an online softmax, and each split's result is
// folded into the row's total in ascending order. What a row computes is the same whichever rows, items or chunks stand
// beside it.
#include "cpu/attention_rows.h"
#include "cpu/kernels.h"
#include "cpu/kv_tile.h"
#include "cpu/tile_products.h"

namespace kv8::cpu::KV8_ISA {
namespace {

constexpr int kPrefetchKeys = 2 * kTileKeys;

// One worker's private memory, cut into arrays.
struct Scratch {
    float *q, *sums, *totals;             // [rows][head_size]
    float *k, *v;                         // [16][head_size]
    float* scores;                        // [rows][16]: then the weights
    float *maximum, *weight, *decay;      // [rows]
    float *total_maximum, *total_weight;  // [rows]
    uint64_t bytes;

    KV8_INLINE Scratch(const AttentionPlan& plan, void* memory) {
        char* at = static_cast<char*>(memory);
        const auto take = [&](uint64_t floats) {
            float* const array = reinterpret_cast<float*>(at);
            at += (floats * 4 + 63) / 64 * 64;
            return array;
        };
        const uint64_t rows = uint64_t(plan.tile_rows()), head_size = uint64_t(plan.head_size);
        q = take(rows * head_size);
        sums = take(rows * head_size);
        totals = take(rows * head_size);
        k = take(kTileKeys * head_size);
        v = take(kTileKeys * head_size);
        scores = take(rows * kTileKeys);
        maximum = take(rows);
        weight = take(rows);
        decay = take(rows);
        total_maximum = take(rows);
        total_weight = take(rows);
        bytes = uint64_t(at - static_cast<char*>(memory));
    }
};

class Item {
  public:
    KV8_INLINE Item(const kv8_attention_args& args, const AttentionPlan& plan, const AttentionItem& item, void* scratch)
        : args_(args),
          plan_(plan),
          item_(item),
          queries_(args, plan, item),
          cache_(*args.view,
                 reinterpret_cast<const uint8_t*>(args.block_table.ptr) + item.sequence * args.block_table_stride * 4,
                 item.kv_head),
          widen_k_(widen_rows_of(args.view->k.dtype)),
          widen_v_(widen_rows_of(args.view->v.dtype)),
          scratch_(plan, scratch),
          group_(plan.group()),
          rows_(item.queries * group_),
          head_size_(plan.head_size) {}

    void run() {
        load_queries();
        // Scores of keys out of range are computed from what an earlier tile left, and then masked.
        std::memset(scratch_.k, 0, size_t(kTileKeys) * head_size_ * 4);
        const int64_t first_key = most(queries_.first_key(0), int64_t(item_.first_split) * kSplitKeys);
        end_ = least(queries_.last_key(item_.queries - 1), (int64_t(item_.first_split) + item_.splits) * kSplitKeys);
        cache_.prefetch(first_key, least(first_key / kTileKeys * kTileKeys + kPrefetchKeys, end_));
        for (int64_t first = first_key; first < end_;) {
            const int64_t split = first / kSplitKeys;
            const int64_t last = least((split + 1) * kSplitKeys, end_);
            walk(first, last);
            for (int query = 0; query < item_.queries; query++)
                if (sees(query, split)) keep_split(query, split);
            first = last;
        }
        if (item_.partial >= 0) return;
        for (int query = 0; query < item_.queries; query++)
            for (int row = query * group_; row < (query + 1) * group_; row++)
                finish_row(args_, plan_, queries_.token(query), item_.kv_head, head_of(row), total(row),
                           queries_.first_key(query) < queries_.last_key(query));
    }

  private:
    KV8_INLINE int head_of(int row) const { return item_.kv_head * group_ + row % group_; }
    KV8_INLINE Softmax current(int row) const {
        return {scratch_.sums + row * head_size_, scratch_.maximum[row], scratch_.weight[row]};
    }
    KV8_INLINE Softmax total(int row) const {
        return {scratch_.totals + row * head_size_, scratch_.total_maximum[row], scratch_.total_weight[row]};
    }
    KV8_INLINE bool sees(int query, int64_t split) const {
        return queries_.first_key(query) < (split + 1) * kSplitKeys && queries_.last_key(query) > split * kSplitKeys;
    }

    // q * softmax_scale * K's channel scales, as float32.
    void load_queries() {
        float channels[kMaxHeadSize];
        for (int d = 0; d < head_size_; d++) channels[d] = channel_scale(args_.view->k, item_.kv_head, d);
        for (int row = 0; row < rows_; row++) {
            const uint8_t* const from = row_at(args_.q, queries_.token(row / group_), head_of(row));
            float* const to = scratch_.q + row * head_size_;
            with_row_dtype(args_.q.dtype, [&](auto element) {
                for (int d = 0; d < head_size_; d += kLanes)
                    store(to + d,
                          element.load(from + d * element.bytes) * args_.softmax_scale * load<f32>(channels + d));
            });
        }
    }

    // Softmax of every row over keys [first, last) of one split.
    void walk(int64_t first, int64_t last) {
        std::memset(scratch_.sums, 0, size_t(rows_) * head_size_ * 4);
        for (int row = 0; row < rows_; row++) {
            scratch_.maximum[row] = -kInfinity;
            scratch_.weight[row] = 0;
        }
        TileRows rows{};
        for (int64_t tile = first / kTileKeys * kTileKeys; tile < last; tile += kTileKeys) {
            const int begin = int(most(first - tile, 0)), end = int(least(last - tile, kTileKeys));
            cache_.prefetch(least(tile + kPrefetchKeys, end_), least(tile + kPrefetchKeys + kTileKeys, end_));
            cache_.locate(tile, tile + begin, tile + end, rows);
            widen_k_(rows.k, begin, end, head_size_, scratch_.k);
            dot_tile(scratch_.q, rows_, scratch_.k, head_size_, scratch_.scores);
            widen_v_(rows.v, begin, end, head_size_, scratch_.v);
            if (queries_.first_key(item_.queries - 1) <= tile && queries_.last_key(0) >= tile + kTileKeys)
                whole_tile(tile, rows);
            else
                edge_tile(tile, rows);
        }
    }

    // Every row sees all sixteen keys.
    KV8_INLINE void whole_tile(int64_t tile, const TileRows& keys) {
        for (int row = 0; row < rows_; row++) softmax_row(row, tile, 0, kTileKeys, keys);
        accumulate_tile(scratch_.scores, rows_, scratch_.v, 0, kTileKeys, head_size_, scratch_.decay, scratch_.sums);
    }

    // Rows see different keys, so each query takes only those that it sees: a hidden key's V may hold NaN.
    KV8_INLINE void edge_tile(int64_t tile, const TileRows& keys) {
        for (int query = 0; query < item_.queries; query++) {
            const int begin = int(most(queries_.first_key(query) - tile, 0));
            const int end = int(least(queries_.last_key(query) - tile, kTileKeys));
            if (begin >= end) continue;
            const int row = query * group_;
            for (int g = 0; g < group_; g++) softmax_row(row + g, tile, begin, end, keys);
            accumulate_tile(scratch_.scores + row * kTileKeys, group_, scratch_.v, begin, end, head_size_,
                            scratch_.decay + row, scratch_.sums + row * head_size_);
        }
    }

    // scores[row] becomes weights of keys [begin, end), times V's row scales; maximum, weight and decay of the row
    // follow.
    KV8_INLINE void softmax_row(int row, int64_t tile, int begin, int end, const TileRows& keys) {
        constexpr int kRegisters = kTileKeys / kWidth;
        float* const scores = scratch_.scores + row * kTileKeys;
        rf s[kRegisters];
        rf largest = all(-kInfinity);
        for (int i = 0; i < kRegisters; i++) {
            s[i] = load<rf>(scores + i * kWidth);
            if (args_.view->k.row_scale_offset >= 0) s[i] *= load<rf>(keys.k_scale + i * kWidth);
            if (args_.softcap > 0) s[i] = tanh_of(s[i] / args_.softcap) * args_.softcap;
            if (args_.alibi_slopes.ptr != 0) {
                const rf distance = lane_numbers() + float(tile + i * kWidth - queries_.position(row / group_));
                s[i] = fused(distance, all(float_at(args_.alibi_slopes, head_of(row))), s[i]);
            }
            if (begin > 0 || end < kTileKeys) {
                const rf lane = lane_numbers() + float(i * kWidth);
                s[i] = lane < all(float(begin)) ? all(-kInfinity) : lane < all(float(end)) ? s[i] : all(-kInfinity);
            }
            largest = s[i] > largest ? s[i] : largest;
        }
        const float old_maximum = scratch_.maximum[row], tile_maximum = largest_of(largest);
        const float maximum = tile_maximum > old_maximum ? tile_maximum : old_maximum;
        const float decay = maximum == old_maximum ? 1.0f : one_exp_of_negative(old_maximum - maximum);
        rf weights = {};
        for (int i = 0; i < kRegisters; i++) {
            rf p = exp_of_negative(s[i] - finite_maximum(maximum));
            weights += p;
            if (args_.view->v.row_scale_offset >= 0) p *= load<rf>(keys.v_scale + i * kWidth);
            store(scores + i * kWidth, p);
        }
        scratch_.maximum[row] = maximum;
        scratch_.weight[row] = scratch_.weight[row] * decay + sum_of(weights);
        scratch_.decay[row] = decay;
    }

    // A finished split goes into the row's total, or to the workspace where other items have the other splits.
    KV8_INLINE void keep_split(int query, int64_t split) {
        for (int row = query * group_; row < (query + 1) * group_; row++) {
            const Softmax result = current(row);
            if (item_.partial >= 0) {
                float* const to = plan_.partial(item_.partial + (split - item_.first_split) * rows_ + row);
                std::memcpy(to, result.sums, size_t(head_size_) * 4);
                to[head_size_] = result.maximum;
                to[head_size_ + 1] = result.weight;
                continue;
            }
            Softmax whole = total(row);
            if (split == queries_.first_key(query) / kSplitKeys)
                copy(whole, result, head_size_);
            else
                fold(whole, result, head_size_);
            scratch_.total_maximum[row] = whole.maximum;
            scratch_.total_weight[row] = whole.weight;
        }
    }

    const kv8_attention_args& args_;
    const AttentionPlan& plan_;
    const AttentionItem& item_;
    const Queries queries_;
    const PagedHead cache_;
    const WidenRows widen_k_, widen_v_;
    const Scratch scratch_;
    const int group_, rows_, head_size_;
    int64_t end_ = 0;
};

uint64_t scratch_bytes(const AttentionPlan& plan) { return Scratch(plan, nullptr).bytes; }

void run_item(const kv8_attention_args& args, const AttentionPlan& plan, int64_t index, void* scratch) {
    Item(args, plan, plan.item(index), scratch).run();
}

// Folds the splits that several items left in the workspace.
void combine_tiles(const kv8_attention_args& args, const AttentionPlan& plan, int64_t begin, int64_t end) {
    const int group = plan.group(), head_size = plan.head_size;
    for (int64_t i = begin; i < end; i++) {
        const AttentionItem& tile = plan.combine(i);
        const Queries queries(args, plan, tile);
        const int rows = tile.queries * group;
        for (int row = 0; row < rows; row++) {
            const int query = row / group;
            const int64_t first_key = queries.first_key(query), last_key = queries.last_key(query);
            float sums[kMaxHeadSize];
            Softmax total{sums, 0, 0};
            for (int64_t split = first_key / kSplitKeys; split * kSplitKeys < last_key; split++) {
                float* const from = plan.partial(tile.partial + split * rows + row);
                const Softmax part{from, from[head_size], from[head_size + 1]};
                if (split == first_key / kSplitKeys)
                    copy(total, part, head_size);
                else
                    fold(total, part, head_size);
            }
            finish_row(args, plan, queries.token(query), tile.kv_head, tile.kv_head * group + row % group, total,
                       first_key < last_key);
        }
    }
}

// One side's elements [d, d + count) of a row as float32; a side that takes no part is not read.
KV8_INLINE f32 side_of(const kv8_rows& rows, int64_t token, int64_t head, int64_t d, int64_t count, float factor) {
    if (factor == 0) return splat(0.0f);
    f32 values{};
    with_row_dtype(rows.dtype, [&](auto element) {
        values = load_part<decltype(element)>(row_at(rows, token, head) + d * element.bytes, count);
    });
    return values * factor;
}

void merge_states(const kv8_merge_states_args& args, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
        const int64_t token = i / args.heads, head = i % args.heads;
        const double lse_a = float_at(args.lse_a, i), lse_b = float_at(args.lse_b, i);
        const double maximum = lse_a > lse_b ? lse_a : lse_b;
        const double weight_a = lse_a == -kInfinity ? 0 : ::exp(lse_a - maximum);
        const double weight_b = lse_b == -kInfinity ? 0 : ::exp(lse_b - maximum);
        const double both = weight_a + weight_b;
        const float factor_a = both == 0 ? 0 : float(weight_a / both),
                    factor_b = both == 0 ? 0 : float(weight_b / both);
        for (int64_t d = 0; d < args.width; d += kLanes) {
            const int64_t count = least(args.width - d, kLanes);
            const f32 joined =
                side_of(args.a, token, head, d, count, factor_a) + side_of(args.b, token, head, d, count, factor_b);
            with_row_dtype(args.out.dtype, [&](auto element) {
                store_part<decltype(element)>(row_at(args.out, token, head) + d * element.bytes, joined, count);
            });
        }
        if (args.lse.ptr != 0) set_float(args.lse, i, both == 0 ? -kInfinity : float(maximum + ::log(both)));
    }
}

}  // namespace

const AttentionKernels attention_kernels = {scratch_bytes, run_item, combine_tiles, merge_states};

}  // namespace kv8::cpu::KV8_ISA
