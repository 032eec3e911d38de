// How a batch's attention is dealt to a GPU's blocks: evenly, and each key once. What is computed is the same however it is
// dealt, so no test of results sees it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "elements.h"
#include "gpu/host/attention_schedule.h"

namespace kv8::gpu {
namespace {

constexpr int kSlots = 66, kLargeRows = 64, kGroup = 4, kKvHeads = 8;

struct Batch {
    const char* name;
    std::vector<int32_t> queries, keys;
    int32_t window = 0;
};

class Schedule {
  public:
    Schedule(const Batch& batch, uint32_t flags) : batch_(batch) {
        std::vector<int32_t> starts{0};
        for (int32_t queries : batch.queries) starts.push_back(starts.back() + queries);
        kv8_attention_plan_args args{};
        args.struct_size = sizeof(args);
        args.flags = flags;
        args.num_seqs = int32_t(batch.queries.size());
        args.q_heads = kGroup * kKvHeads;
        args.kv_heads = kKvHeads;
        args.head_size = 128;
        args.window = batch.window;
        args.query_start_loc = kv8_test::span_of(starts);
        args.seq_lens = kv8_test::span_of(batch.keys);
        made_ = make_schedule(args, {{kSlots, kSlots}, kLargeRows});
        places_ = plan_places(made_.known.slots);
    }

    std::vector<PlanItem> items(int tiles, int slot) const {
        const int32_t begin = slot_begin(tiles, slot), end = slot_begin(tiles, slot + 1);
        std::vector<PlanItem> items(size_t(end - begin));
        if (items.empty()) return items;
        std::memcpy(items.data(), made_.bytes.data() + places_.items_at + size_t(begin) * sizeof(PlanItem),
                    items.size() * sizeof(PlanItem));
        return items;
    }

    // What a block has to walk, in steps of kCutKeys, and two for each item.
    int64_t steps(const PlanItem& item) const {
        const int32_t seen = batch_.window > 0 ? std::max(item.first_position - batch_.window + 1, 0) : 0;
        return (std::max(item.last_key - std::max(item.first_key, seen), 0) + kCutKeys - 1) / kCutKeys + 2;
    }

  private:
    int32_t slot_begin(int tiles, int slot) const {
        int32_t begin = 0;
        std::memcpy(&begin, made_.bytes.data() + places_.slots_at[tiles] + size_t(slot) * 4, 4);
        return begin;
    }

    const Batch& batch_;
    AttentionSchedule made_;
    PlanPlaces places_{};
};

// As many as a kernel counts: one, or those that end at places which depend on the keys' positions.
int32_t splits_of(const PlanItem& item, uint32_t flags) {
    if (flags == 0) return 1;
    int32_t splits = 0;
    for (int32_t key = item.first_key; key < item.last_key; key = std::min(split_end(key), item.last_key)) splits++;
    return splits;
}

std::vector<Batch> batches() {
    std::vector<Batch> all{
        {"uniform", std::vector<int32_t>(256, 1), std::vector<int32_t>(256, 4096)},
        {"one long text", {1}, {131072}},
        {"one long text among short ones", std::vector<int32_t>(256, 1), std::vector<int32_t>(256, 512)},
        {"windowed", std::vector<int32_t>(64, 1), std::vector<int32_t>(64, 32768), 4096},
        {"a prompt", {8192}, {8192}},
        {"a chunk behind a long text", {2048}, {32768}}};
    all[2].keys[77] = 131072;
    return all;
}

TEST(GpuSchedule, GivesEverySlotAsMuchAsTheNext) {
    for (const Batch& batch : batches())
        for (uint32_t flags : {0u, uint32_t{KV8_PLAN_BATCH_INVARIANT}}) {
            SCOPED_TRACE(testing::Message() << batch.name << ", flags " << flags);
            const Schedule schedule(batch, flags);
            int64_t all = 0;
            for (int tiles : {kSmallTiles, kLargeTiles}) {
                int64_t total = 0, largest = 0, longest_item = 0;
                int used = 0;
                for (int slot = 0; slot < kSlots; slot++) {
                    int64_t steps = 0;
                    for (const PlanItem& item : schedule.items(tiles, slot)) {
                        steps += schedule.steps(item);
                        longest_item = std::max(longest_item, schedule.steps(item));
                    }
                    total += steps;
                    largest = std::max(largest, steps);
                    used += steps > 0;
                }
                if (total == 0) continue;
                all += total;
                EXPECT_GE(used, kSlots / 2);  // one text has only so many splits by position
                // Cut anywhere, a slot's share and what no cut is worth; cut by position, an item more at most.
                const int64_t bound = flags == 0 ? 8 : longest_item;
                EXPECT_LE(largest, total / kSlots + bound) << "of " << total << " steps, tiles " << tiles;
            }
            EXPECT_GT(all, 0);
        }
}

// Where slots outnumber the work, a sequence that is not worth cutting has a slot of its own.
TEST(GpuSchedule, LetsNoSequenceWaitForAnotherWhereSlotsAreFree) {
    for (int sequences : {1, 8, 32, kSlots}) {
        const Batch batch{"short", std::vector<int32_t>(size_t(sequences), 1),
                          std::vector<int32_t>(size_t(sequences), 128)};
        const Schedule schedule(batch, 0);
        for (int slot = 0; slot < kSlots; slot++)
            EXPECT_EQ(schedule.items(kSmallTiles, slot).size(), slot < sequences ? 1u : 0u)
                << sequences << ", " << slot;
    }
}

// For every row of a sequence: keys from 0 to its last one, without a gap or an overlap.
TEST(GpuSchedule, HasEachKeyOfATileInOneItem) {
    for (const Batch& batch : batches())
        for (uint32_t flags : {0u, uint32_t{KV8_PLAN_BATCH_INVARIANT}}) {
            SCOPED_TRACE(testing::Message() << batch.name << ", flags " << flags);
            const Schedule schedule(batch, flags);
            std::map<std::pair<int32_t, int32_t>, std::vector<PlanItem>> tile_items;  // by sequence and first row
            std::vector<int32_t> starts{0};
            for (int32_t queries : batch.queries) starts.push_back(starts.back() + queries);
            for (int tiles : {kSmallTiles, kLargeTiles})
                for (int slot = 0; slot < kSlots; slot++)
                    for (const PlanItem& item : schedule.items(tiles, slot))
                        tile_items[{item.sequence,
                                    (item.first_token - starts[size_t(item.sequence)]) * kGroup + item.first_head}]
                            .push_back(item);
            std::vector<int32_t> next_row(batch.queries.size(), 0);
            std::map<int32_t, int> shared_tiles;
            for (auto& [tile, items] : tile_items) {
                std::sort(items.begin(), items.end(),
                          [](const PlanItem& a, const PlanItem& b) { return a.first_key < b.first_key; });
                const size_t sequence = size_t(tile.first);
                ASSERT_EQ(tile.second, next_row[sequence]);
                next_row[sequence] += items.front().rows;
                int32_t key = 0, split = 0;
                const int32_t before = batch.keys[sequence] - batch.queries[sequence];
                for (const PlanItem& item : items) {
                    ASSERT_EQ(item.first_key, key);
                    ASSERT_EQ(item.rows, items.front().rows);
                    ASSERT_EQ(item.first_position, before + tile.second / kGroup);
                    ASSERT_EQ(item.shared_tile >= 0, items.size() > 1);
                    key = item.last_key;
                    if (item.shared_tile < 0) continue;
                    ASSERT_EQ(item.shared_tile, items.front().shared_tile);
                    ASSERT_EQ(item.tile_partial, items.front().tile_partial);
                    ASSERT_EQ(item.splits, items.front().splits);
                    ASSERT_EQ(item.split, split);
                    split += splits_of(item, flags);
                }
                ASSERT_EQ(split, items.front().splits);
                if (items.size() > 1) {
                    ASSERT_EQ(shared_tiles[items.front().shared_tile]++, 0);
                }
                const int32_t last_query = (tile.second + items.front().rows - 1) / kGroup;
                ASSERT_EQ(key, before + last_query + 1);
            }
            for (size_t s = 0; s < next_row.size(); s++) ASSERT_EQ(next_row[s], batch.queries[s] * kGroup);
        }
}

// A kernel finds a shared tile's counters by its number times the KV heads, in 32 bits.
TEST(GpuSchedule, SharesFewerTilesOfAListThanTheListHasSlots) {
    std::vector<Batch> all = batches();
    const size_t many = 20 * kSlots;
    all.push_back({"many tiles", std::vector<int32_t>(many, 40), std::vector<int32_t>(many, 1000)});
    all.push_back({"many tiles, of which many are long", std::vector<int32_t>(many, 1), {}});
    for (size_t s = 0; s < many; s++) all.back().keys.push_back(s % 20 == 0 ? 20000 : 1);
    for (const Batch& batch : all)
        for (uint32_t flags : {0u, uint32_t{KV8_PLAN_BATCH_INVARIANT}}) {
            SCOPED_TRACE(testing::Message() << batch.name << ", flags " << flags);
            const Schedule schedule(batch, flags);
            std::set<int32_t> shared[2];
            for (int tiles : {kSmallTiles, kLargeTiles})
                for (int slot = 0; slot < kSlots; slot++)
                    for (const PlanItem& item : schedule.items(tiles, slot))
                        if (item.shared_tile >= 0) shared[tiles].insert(item.shared_tile);
            EXPECT_LT(shared[kSmallTiles].size(), size_t{kSlots});
            EXPECT_LT(shared[kLargeTiles].size(), size_t{kSlots});
            shared[kSmallTiles].merge(shared[kLargeTiles]);
            if (!shared[kSmallTiles].empty()) {
                EXPECT_EQ(size_t(*shared[kSmallTiles].rbegin()) + 1, shared[kSmallTiles].size());
            }
        }
}

}  // namespace
}  // namespace kv8::gpu
