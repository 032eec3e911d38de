// Work is counted in steps of kCutKeys keys, which take a block about as long whatever its rows: a tile's width is filled up.
#include "gpu/host/attention_schedule.h"

#include <algorithm>
#include <cstring>
#include <queue>

namespace kv8::gpu {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr int64_t kItemSteps = 2;                   // what starting an item and storing its result cost
constexpr int64_t kSmallestPiece = 4;               // steps: a shorter piece of a tile costs more than it balances
constexpr int64_t kSmallestShare = 8 + kItemSteps;  // of a slot: more slots cost the combine more than they save

uint64_t aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The whole of a tile's work, to be cut.
struct TileWork {
    PlanItem whole;     // all its keys
    int32_t first_key;  // that the window lets it see

    int64_t steps() const { return (int64_t(whole.last_key) - first_key + kCutKeys - 1) / kCutKeys + kItemSteps; }
};

// What one list of tiles becomes.
struct List {
    std::vector<TileWork> tiles;
    std::vector<std::vector<PlanItem>> slots;
    std::vector<PlanCombine> combines;
};

class Scheduler {
  public:
    Scheduler(const kv8_attention_plan_args& args, const ScheduleTarget& target)
        : args_(args), target_(target), group_(args.q_heads / args.kv_heads) {
        make_tiles();
        for (int tiles : {kSmallTiles, kLargeTiles}) {
            List& list = lists_[tiles];
            list.slots.resize(size_t(target.slots[tiles]));
            if (args.flags & KV8_PLAN_BATCH_INVARIANT)
                cut_by_position(list);
            else
                cut_evenly(list);
        }
    }

    AttentionSchedule write() const;

  private:
    void make_tiles() {
        for (int32_t s = 0; s < args_.num_seqs; s++) {
            const int32_t queries = int32_at(args_.query_start_loc, s + 1) - int32_at(args_.query_start_loc, s);
            const int32_t keys = int32_at(args_.seq_lens, s);
            if (queries > 0) longest_ = std::max(longest_, keys);
            const int64_t rows = int64_t(queries) * group_;
            for (int64_t first = 0; first < rows;) {
                const bool small = rows - first <= kSmallRows;
                const int64_t count = std::min<int64_t>(small ? kSmallRows : target_.large_rows, rows - first);
                const int64_t first_position = keys - queries + first / group_;
                const int64_t last_position = keys - queries + (first + count - 1) / group_;
                TileWork work{};
                work.whole.sequence = s;
                work.whole.first_row = int32_t(first);
                work.whole.rows = int32_t(count);
                work.whole.last_key = int32_t(std::max<int64_t>(last_position + 1, 0));
                work.whole.partial = -1;
                const int64_t seen = args_.window > 0 ? std::max<int64_t>(first_position - args_.window + 1, 0) : 0;
                work.first_key = int32_t(std::min<int64_t>(seen, work.whole.last_key));
                lists_[small ? kSmallTiles : kLargeTiles].tiles.push_back(work);
                first += count;
            }
        }
    }

    int64_t total_steps(const List& list) const {
        int64_t total = 0;
        for (const TileWork& tile : list.tiles) total += tile.steps();
        return total;
    }

    // A tile's next item is [first, last); the first item begins at key 0 and the last ends with the tile, whatever the window.
    struct Cutter {
        Scheduler& scheduler;
        List& list;
        const TileWork& tile;
        int pieces = 0;
        int64_t partial = 0;

        PlanItem item(int32_t first, int32_t last, int splits) {
            PlanItem item = tile.whole;
            item.first_key = first;
            item.last_key = last;
            item.partial = scheduler.partials_ + int64_t(pieces) * item.rows;
            pieces += splits;
            return item;
        }
        void finish() {
            list.combines.push_back({tile.whole.sequence, tile.whole.first_row, tile.whole.rows, pieces,
                                     scheduler.partials_, scheduler.combine_rows_, 0});
            scheduler.combine_rows_ += tile.whole.rows;
            scheduler.partials_ += int64_t(pieces) * tile.whole.rows;
        }
    };

    // Each slot takes the same number of steps, from one tile after the other. What the cuts themselves cost is known only
    // when they are made: as long as the last slot is left with more than its share, all get a larger one.
    void cut_evenly(List& list) {
        const int64_t slots = int64_t(list.slots.size());
        const int64_t partials = partials_;
        const int32_t combine_rows = combine_rows_;
        int64_t share = std::max<int64_t>((total_steps(list) + slots - 1) / slots, kSmallestShare);
        for (;;) {
            const int64_t excess = cut_into_shares(list, share);
            if (excess <= kSmallestPiece) return;
            share += std::max<int64_t>(excess / slots, 1);
            for (std::vector<PlanItem>& items : list.slots) items.clear();
            list.combines.clear();
            partials_ = partials;
            combine_rows_ = combine_rows;
        }
    }

    // By how many steps the last slot, which takes what is left, exceeds its share.
    int64_t cut_into_shares(List& list, int64_t share) {
        size_t slot = 0;
        int64_t room = share;
        const auto next_slot = [&] {
            if (slot + 1 < list.slots.size()) slot++, room = share;
        };
        for (const TileWork& tile : list.tiles) {
            int64_t left = tile.steps();
            if (room < std::min(left, kSmallestPiece + kItemSteps)) next_slot();
            if (left <= room + kSmallestPiece || slot + 1 == list.slots.size()) {
                list.slots[slot].push_back(tile.whole);
                room -= left;
                continue;
            }
            Cutter cutter{*this, list, tile};
            int32_t begin = 0;
            for (int64_t key = tile.first_key; begin < tile.whole.last_key;) {
                if (room <= kItemSteps) next_slot();
                const int64_t cut = (key + (room - kItemSteps) * kCutKeys) / kCutKeys * kCutKeys;
                const bool rest =
                    slot + 1 == list.slots.size() || cut + kSmallestPiece * kCutKeys >= tile.whole.last_key;
                const int32_t end =
                    rest ? tile.whole.last_key : int32_t(std::max<int64_t>(cut, key / kCutKeys * kCutKeys + kCutKeys));
                list.slots[slot].push_back(cutter.item(begin, end, 1));
                room -= (end - key + kCutKeys - 1) / kCutKeys + kItemSteps;
                key = begin = end;
                if (!rest) next_slot();
            }
            cutter.finish();
        }
        return -room;
    }

    // Items of whole splits, the longest first to the slot that has least.
    void cut_by_position(List& list) {
        const int64_t slots = int64_t(list.slots.size());
        const int64_t most = std::max<int64_t>(total_steps(list) / slots, kSmallestPiece);
        struct Piece {
            PlanItem item;
            int64_t steps;
        };
        std::vector<Piece> pieces;
        for (const TileWork& tile : list.tiles) {
            if (tile.steps() <= most || split_end(tile.first_key) >= tile.whole.last_key) {
                pieces.push_back({tile.whole, tile.steps()});
                continue;
            }
            Cutter cutter{*this, list, tile};
            for (int32_t begin = 0; begin < tile.whole.last_key;) {
                int32_t end = begin;
                int splits = 0;
                int64_t steps = 0;
                do {
                    const int32_t next = std::min(split_end(end), tile.whole.last_key);
                    const int64_t more =
                        next <= tile.first_key ? 0 : (next - std::max(end, tile.first_key) + kCutKeys - 1) / kCutKeys;
                    if (splits > 0 && steps + more > most) break;
                    steps += more;
                    end = next;
                    splits++;
                } while (end < tile.whole.last_key);
                pieces.push_back({cutter.item(begin, end, splits), steps + kItemSteps});
                begin = end;
            }
            cutter.finish();
        }
        std::stable_sort(pieces.begin(), pieces.end(),
                         [](const Piece& a, const Piece& b) { return a.steps > b.steps; });
        using Load = std::pair<int64_t, int>;  // steps, slot
        std::priority_queue<Load, std::vector<Load>, std::greater<Load>> loads;
        for (int slot = 0; slot < int(slots); slot++) loads.push({0, slot});
        for (const Piece& piece : pieces) {
            const Load least = loads.top();
            loads.pop();
            list.slots[size_t(least.second)].push_back(piece.item);
            loads.push({least.first + piece.steps, least.second});
        }
    }

    const kv8_attention_plan_args& args_;
    const ScheduleTarget& target_;
    const int32_t group_;
    List lists_[2];
    int32_t longest_ = 0;
    int64_t partials_ = 0;  // records per KV head
    int32_t combine_rows_ = 0;
};

template <class T>
void put(std::vector<char>& bytes, uint64_t offset, const T* values, size_t count) {
    if (count > 0) std::memcpy(bytes.data() + offset, values, count * sizeof(T));
}

AttentionSchedule Scheduler::write() const {
    PlanHeader header{};
    header.magic = kPlanMagic;
    header.num_seqs = args_.num_seqs;
    header.total_queries = int32_at(args_.query_start_loc, args_.num_seqs);
    header.q_heads = args_.q_heads;
    header.kv_heads = args_.kv_heads;
    header.head_size = args_.head_size;
    header.longest = longest_;
    header.batch_invariant = (args_.flags & KV8_PLAN_BATCH_INVARIANT) != 0;
    header.combine_rows = combine_rows_;

    uint64_t end = aligned(sizeof(header));
    const auto take = [&](uint64_t bytes) {
        const uint64_t offset = end;
        end = aligned(end + bytes);
        return offset;
    };
    header.query_start_loc_offset = take((uint64_t(args_.num_seqs) + 1) * 4);
    header.seq_lens_offset = take(uint64_t(args_.num_seqs) * 4);
    std::vector<PlanCombine> combines;
    AttentionSchedule schedule;
    uint64_t block_records = 0;
    for (int tiles : {kSmallTiles, kLargeTiles}) {
        const List& list = lists_[tiles];
        PlanList& written = header.lists[tiles];
        int used = 0;
        for (size_t slot = 0; slot < list.slots.size(); slot++) {
            written.items += int32_t(list.slots[slot].size());
            if (!list.slots[slot].empty()) used = int(slot) + 1;
        }
        written.slot_offset = take((list.slots.size() + 1) * 4);
        written.item_offset = take(uint64_t(written.items) * sizeof(PlanItem));
        combines.insert(combines.end(), list.combines.begin(), list.combines.end());
        schedule.known.slots[tiles] = int32_t(list.slots.size());
        schedule.known.used_slots[tiles] = used;
        const int rows = tiles == kSmallTiles ? kSmallRows : target_.large_rows;
        block_records = std::max<uint64_t>(block_records, uint64_t(used) * uint64_t(rows));
    }
    header.combine_offset = take(combines.size() * sizeof(PlanCombine));
    std::vector<int32_t> combine_of_row;
    for (size_t i = 0; i < combines.size(); i++)
        combine_of_row.insert(combine_of_row.end(), size_t(combines[i].rows), int32_t(i));
    header.combine_row_offset = take(combine_of_row.size() * 4);
    const uint64_t plan_bytes = end;
    const uint64_t record_bytes = uint64_t(record_floats(args_.head_size)) * 4 * uint64_t(args_.kv_heads);
    header.partial_offset = take(uint64_t(partials_) * record_bytes);
    header.total_offset = take(header.batch_invariant ? block_records * record_bytes : 0);
    schedule.workspace_bytes = end;

    schedule.bytes.resize(plan_bytes);
    put(schedule.bytes, 0, &header, 1);
    put(schedule.bytes, header.query_start_loc_offset, reinterpret_cast<const int32_t*>(args_.query_start_loc.ptr),
        size_t(args_.num_seqs) + 1);
    put(schedule.bytes, header.seq_lens_offset, reinterpret_cast<const int32_t*>(args_.seq_lens.ptr),
        size_t(args_.num_seqs));
    put(schedule.bytes, header.combine_offset, combines.data(), combines.size());
    put(schedule.bytes, header.combine_row_offset, combine_of_row.data(), combine_of_row.size());
    for (int tiles : {kSmallTiles, kLargeTiles}) {
        int32_t item = 0;
        for (size_t slot = 0; slot <= lists_[tiles].slots.size(); slot++) {
            put(schedule.bytes, header.lists[tiles].slot_offset + slot * 4, &item, 1);
            if (slot == lists_[tiles].slots.size()) break;
            const std::vector<PlanItem>& items = lists_[tiles].slots[slot];
            put(schedule.bytes, header.lists[tiles].item_offset + uint64_t(item) * sizeof(PlanItem), items.data(),
                items.size());
            item += int32_t(items.size());
        }
    }
    schedule.known.combine_rows = combine_rows_;
    schedule.known.shape = {args_.num_seqs,       args_.q_heads, args_.kv_heads,          args_.head_size,
                            header.total_queries, longest_,      schedule.workspace_bytes};
    return schedule;
}

}  // namespace

AttentionSchedule make_schedule(const kv8_attention_plan_args& args, const ScheduleTarget& target) {
    return Scheduler(args, target).write();
}

}  // namespace kv8::gpu
