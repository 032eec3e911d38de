// Makes and checks attention schedules. A tile is cut into several items only when it alone would keep a worker busy
// while the others wait; how it is cut cannot be seen in the results. What is shared out is what the planned window leaves to
// see: the splits before it all go to the tile's first item, and cost nothing where it is the window that attention has.
#include "cpu/attention_plan.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "dispatch/checks.h"
#include "dispatch/error.h"

namespace kv8::cpu {
namespace {

constexpr uint64_t kMagic = 0x314e414c5038766bull;  // "kv8PLAN1"
constexpr uint64_t kAlignment = 64;
constexpr int kTileRows = 128;      // queries of a tile share each converted key up to this many rows
constexpr int kConversionRows = 4;  // loading and converting a key costs about as much as this many rows' products
constexpr int kItemsPerThread = 4;
// Rows of several KV heads in one item, which then reads blocks as they lie in memory, from end to end, instead of one head's piece of
// each: only few rows are limited by memory, and what an item keeps of all its rows must stay in the second-level cache.
constexpr int kMostRowsOfHead = 8, kMostRowsOfHeads = 64;

uint64_t aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The keys that the queries of a tile see between them: [first, last).
struct KeyRange {
    int64_t first, last;
};

KeyRange visible_keys(int64_t first_query, int64_t queries, int64_t all_queries, int64_t keys, int64_t window) {
    const int64_t first_position = keys - all_queries + first_query;
    const int64_t last = std::max<int64_t>(first_position + queries, 0);
    const int64_t first = window > 0 ? std::max<int64_t>(first_position - window + 1, 0) : 0;
    return {std::min(first, last), last};
}

int group_of(const kv8_attention_plan_args& args) { return args.q_heads / args.kv_heads; }

int32_t rows_of(const AttentionItem& item, int group) { return item.kv_heads * item.queries * group; }

int32_t seen_splits(const AttentionItem& item) { return item.splits - item.hidden; }

// Of one split, in products of a row with a key.
int64_t split_work(const AttentionItem& item, int group) {
    return int64_t(kSplitKeys) * item.kv_heads * (item.queries * group + kConversionRows);
}

// How a batch is divided into tiles.
struct Tiling {
    int tile_queries;  // at most
    int tile_heads;    // KV heads in a tile of few rows, at most
};

struct Tile {
    AttentionItem whole;
    int64_t work;  // in products of a row with a key
};

template <class Visit>
void for_each_tile(const kv8_attention_plan_args& args, const Tiling& tiling, const Visit& visit) {
    const int group = group_of(args), tile_queries = tiling.tile_queries;
    for (int32_t s = 0; s < args.num_seqs; s++) {
        const int32_t begin = int32_at(args.query_start_loc, s);
        const int32_t queries = int32_at(args.query_start_loc, s + 1) - begin;
        const int32_t keys = int32_at(args.seq_lens, s);
        for (int64_t first = 0; first < queries; first += tile_queries) {
            const int32_t count = int32_t(std::min<int64_t>(tile_queries, queries - first));
            const KeyRange seen = visible_keys(first, count, queries, keys, args.window);
            Tile tile{};
            const int32_t splits = int32_t((seen.last + kSplitKeys - 1) / kSplitKeys), rows = count * group;
            const int32_t hidden = int32_t(seen.first / kSplitKeys);
            const int32_t heads =
                rows > kMostRowsOfHead ? 1 : std::max(1, std::min(tiling.tile_heads, kMostRowsOfHeads / rows));
            for (int32_t head = 0; head < args.kv_heads; head += heads) {
                const int32_t some = std::min(heads, args.kv_heads - head);
                tile.whole = {s, head, some, int32_t(first), count, 0, splits, hidden, -1};
                tile.work = (seen.last - seen.first + 1) * some * (int64_t(rows) + kConversionRows);
                visit(tile);
            }
        }
    }
}

// Whether there are items enough for every thread, and none of them alone would keep one busy for longer than all take, as far as
// fewer heads would make it smaller: a split is not cut.
bool occupies(const kv8_attention_plan_args& args, const Tiling& tiling, int threads) {
    int64_t items = 0, total = 0, largest = 0;
    for_each_tile(args, tiling, [&](const Tile& tile) {
        items += std::max(seen_splits(tile.whole), 1);
        total += tile.work;
        if (tile.whole.kv_heads > 1)
            largest = std::max(largest, std::min(tile.work, split_work(tile.whole, group_of(args))));
    });
    return items >= int64_t(threads) * kItemsPerThread && largest <= total / threads;
}

// As many KV heads in a tile as leave every thread something to do.
Tiling tiling_for(const kv8_attention_plan_args& args, int threads) {
    Tiling tiling{std::max(1, kTileRows / group_of(args)), args.kv_heads};
    while (threads > 1 && tiling.tile_heads > 1 && !occupies(args, tiling, threads))
        tiling.tile_heads = (tiling.tile_heads + 1) / 2;
    return tiling;
}

// Decides to how many splits that are seen an item may grow.
class Cutting {
  public:
    Cutting(const kv8_attention_plan_args& args, const Tiling& tiling, int threads)
        : group_(group_of(args)), most_work_(INT64_MAX) {
        if (threads == 1) return;
        int64_t total = 0;
        for_each_tile(args, tiling, [&](const Tile& tile) { total += tile.work; });
        most_work_ = total / (int64_t(threads) * kItemsPerThread);
    }

    int32_t splits_per_item(const Tile& tile) const {
        const int32_t all = std::max(seen_splits(tile.whole), 1);
        if (tile.work <= most_work_) return all;
        const int64_t most = most_work_ / split_work(tile.whole, group_);
        return int32_t(std::max<int64_t>(std::min<int64_t>(most, all), 1));
    }

  private:
    int group_;
    int64_t most_work_;
};

// Of all that attention takes for granted in a plan: in the caller's workspace something else may have been written over it.
uint64_t checksum_of(const AttentionPlan& plan) {
    uint64_t sum = 0;
    for (uint64_t offset = offsetof(AttentionPlan, bytes); offset < plan.partials_offset; offset += sizeof(sum)) {
        uint64_t word;
        std::memcpy(&word, plan.at<char>(offset), sizeof(word));
        sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
        sum ^= sum >> 32;
    }
    return sum;
}

void check_block_table(const kv8_attention_args& args, const AttentionPlan& plan) {
    const kv8_cache_view& view = *args.view;
    for (int32_t s = 0; s < plan.num_seqs; s++) {
        const int64_t queries = plan.query_start_loc()[s + 1] - plan.query_start_loc()[s];
        if (queries == 0) continue;
        const KeyRange seen = visible_keys(0, queries, queries, plan.seq_lens()[s], args.window);
        const int64_t end = (seen.last + view.block_size - 1) / view.block_size;
        for (int64_t i = seen.first / view.block_size; i < end; i++) {
            const int32_t block = int32_at(args.block_table, s * args.block_table_stride + i);
            if (block < 0 || block >= view.num_blocks)
                refuse(KV8_INVALID_ARGUMENT,
                       "Block table entry %lld of sequence %d is %d, but a visible key is in it and the cache's blocks "
                       "are "
                       "0 to %d.",
                       (long long)i, s, block, view.num_blocks - 1);
        }
    }
}

}  // namespace

void plan_attention(kv8_attention_plan_args& args, int threads) {
    const int group = group_of(args);
    const Tiling tiling = tiling_for(args, threads);
    const Cutting cutting(args, tiling, threads);

    AttentionPlan plan{};
    plan.magic = kMagic;
    plan.num_seqs = args.num_seqs;
    plan.total_queries = int32_at(args.query_start_loc, args.num_seqs);
    plan.q_heads = args.q_heads;
    plan.kv_heads = args.kv_heads;
    plan.head_size = args.head_size;
    for (int32_t s = 0; s < args.num_seqs; s++)
        if (int32_at(args.query_start_loc, s) < int32_at(args.query_start_loc, s + 1))
            plan.longest = std::max(plan.longest, int32_at(args.seq_lens, s));
    int64_t partials = 0;
    for_each_tile(args, tiling, [&](const Tile& tile) {
        const int64_t cut = cutting.splits_per_item(tile);
        const int64_t items = std::max<int64_t>((seen_splits(tile.whole) + cut - 1) / cut, 1);
        plan.items += items;
        plan.most_rows = std::max(plan.most_rows, rows_of(tile.whole, group));
        if (items == 1) return;
        plan.combines++;
        partials += int64_t(tile.whole.splits) * rows_of(tile.whole, group);
    });
    plan.query_start_loc_offset = aligned(sizeof(AttentionPlan));
    plan.seq_lens_offset = aligned(plan.query_start_loc_offset + (uint64_t(plan.num_seqs) + 1) * 4);
    plan.items_offset = aligned(plan.seq_lens_offset + uint64_t(plan.num_seqs) * 4);
    plan.combines_offset = aligned(plan.items_offset + uint64_t(plan.items) * sizeof(AttentionItem));
    plan.partials_offset = aligned(plan.combines_offset + uint64_t(plan.combines) * sizeof(AttentionItem));
    plan.bytes = plan.partials_offset + uint64_t(partials) * uint64_t(plan.partial_floats()) * 4;
    args.workspace_bytes = plan.bytes;
    if (args.workspace.ptr == 0) return;

    check_workspace(args, plan.bytes);
    char* const workspace = reinterpret_cast<char*>(args.workspace.ptr);
    std::memcpy(workspace, &plan, sizeof(plan));
    std::memcpy(workspace + plan.query_start_loc_offset, reinterpret_cast<const void*>(args.query_start_loc.ptr),
                (size_t(plan.num_seqs) + 1) * 4);
    if (plan.num_seqs > 0)
        std::memcpy(workspace + plan.seq_lens_offset, reinterpret_cast<const void*>(args.seq_lens.ptr),
                    size_t(plan.num_seqs) * 4);

    AttentionItem* const items = reinterpret_cast<AttentionItem*>(workspace + plan.items_offset);
    AttentionItem* item = items;
    AttentionItem* combine = reinterpret_cast<AttentionItem*>(workspace + plan.combines_offset);
    int64_t partial = 0;
    for_each_tile(args, tiling, [&](const Tile& tile) {
        const int32_t cut = cutting.splits_per_item(tile);
        if (seen_splits(tile.whole) <= cut) {
            *item++ = tile.whole;
            return;
        }
        *combine = tile.whole;
        combine->partial = partial;
        combine++;
        for (int32_t first = 0, end = tile.whole.hidden + cut; first < tile.whole.splits; first = end, end += cut) {
            *item = tile.whole;
            item->first_split = first;
            item->splits = std::min(end, tile.whole.splits) - first;
            item->hidden = first == 0 ? tile.whole.hidden : 0;
            item->partial = partial + int64_t(first) * rows_of(tile.whole, group);
            item++;
        }
        partial += int64_t(tile.whole.splits) * rows_of(tile.whole, group);
    });
    // Workers take items in this order: the long ones must not be the last to start.
    std::sort(items, item, [&](const AttentionItem& a, const AttentionItem& b) {
        const int64_t work_a = seen_splits(a) * split_work(a, group), work_b = seen_splits(b) * split_work(b, group);
        if (work_a != work_b) return work_a > work_b;
        if (a.sequence != b.sequence) return a.sequence < b.sequence;
        if (a.first_query != b.first_query) return a.first_query < b.first_query;
        if (a.first_split != b.first_split) return a.first_split < b.first_split;
        return a.first_kv_head < b.first_kv_head;
    });
    plan.checksum = checksum_of(*reinterpret_cast<const AttentionPlan*>(workspace));
    std::memcpy(workspace, &plan, sizeof(plan));
}

const AttentionPlan& checked_attention_plan(const kv8_attention_args& args) {
    const AttentionPlan& plan = *reinterpret_cast<const AttentionPlan*>(args.plan.ptr);
    if (args.plan.bytes < sizeof(AttentionPlan) || plan.magic != kMagic || args.plan.bytes < plan.bytes)
        refuse(KV8_INVALID_ARGUMENT,
               "plan is not a workspace that kv8_attention_plan filled on a CPU device, or not the whole of it; it has "
               "%llu "
               "bytes.",
               (unsigned long long)args.plan.bytes);
    if (plan.partials_offset > plan.bytes || plan.checksum != checksum_of(plan))
        refuse(
            KV8_INVALID_ARGUMENT,
            "plan has been written over since kv8_attention_plan filled it. Plan again, and let nothing but attention "
            "write to the workspace until the step's last layer is done.");
    check_against_plan(args, {plan.num_seqs, plan.q_heads, plan.kv_heads, plan.head_size, plan.total_queries,
                              plan.longest, plan.bytes});
    check_block_table(args, plan);
    return plan;
}

}  // namespace kv8::cpu
