// Work is counted in steps of kCutKeys keys, which take a block about as long whatever its rows: a tile's width is filled up.
#include "gpu/host/attention_schedule.h"

#include <algorithm>
#include <cstring>
#include <queue>

namespace kv8::gpu {
namespace {

constexpr int64_t kItemSteps = 2;                   // what starting an item and storing its result cost
constexpr int64_t kSmallestPiece = 2;               // steps: a shorter piece of a tile costs more than it balances
constexpr int64_t kSmallestShare = 4 + kItemSteps;  // of a slot: folding more pieces costs more than they save

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
                work.whole.rows = int32_t(count);
                work.whole.first_head = int32_t(first % group_);
                work.whole.first_token = int32_at(args_.query_start_loc, s) + int32_t(first / group_);
                work.whole.first_position = int32_t(first_position);
                work.whole.last_key = int32_t(std::max<int64_t>(last_position + 1, 0));
                work.whole.shared_tile = -1;
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

    // Cuts a tile into items, each with one split or more. The first begins at key 0 and the last ends with the tile, whatever
    // the window.
    class Cutter {
      public:
        Cutter(Scheduler& scheduler, const TileWork& tile)
            : scheduler_(scheduler), whole_(tile.whole), rest_(tile.whole) {
            rest_.shared_tile = int32_t(scheduler.tile_splits_.size());
            rest_.tile_partial = scheduler.partials_;
        }
        ~Cutter() {
            if (rest_.split == 0) return;
            scheduler_.tile_splits_.push_back(rest_.split);
            scheduler_.partials_ += int64_t(rest_.split) * rest_.rows;
        }

        // The next item, up to key `last`; the whole tile where that is all of it.
        PlanItem item(int32_t last, int splits) {
            if (rest_.split == 0 && last == rest_.last_key) return whole_;
            PlanItem item = rest_;
            item.last_key = last;
            rest_.first_key = last;
            rest_.split += splits;
            return item;
        }

      private:
        Scheduler& scheduler_;
        const PlanItem& whole_;
        PlanItem rest_;
    };

    // Each slot takes the same number of steps, from one tile after the other. What the cuts themselves cost is known only
    // when they are made: as long as the last slot is left with more than its share, all get a larger one.
    void cut_evenly(List& list) {
        const int64_t slots = int64_t(list.slots.size());
        const int64_t partials = partials_;
        const size_t shared_tiles = tile_splits_.size();
        int64_t share = std::max<int64_t>((total_steps(list) + slots - 1) / slots, 1);
        for (;;) {
            const int64_t excess = cut_into_shares(list, share);
            if (excess <= kSmallestPiece) return;
            share += std::max<int64_t>(excess / slots, 1);
            for (std::vector<PlanItem>& items : list.slots) items.clear();
            partials_ = partials;
            tile_splits_.resize(shared_tiles);
        }
    }

    // By how many steps the last slot, which takes what is left, exceeds what a slot may have.
    int64_t cut_into_shares(List& list, int64_t share) {
        // A slot whose share is small takes one tile, or part of it, that is larger: cutting it finer costs more.
        const int64_t most = std::max(share, kSmallestShare);
        size_t slot = 0;
        int64_t room = share;
        const auto next_slot = [&] {
            if (slot + 1 < list.slots.size()) slot++, room = share;
        };
        const auto is_empty = [&] { return list.slots[slot].empty(); };
        for (const TileWork& tile : list.tiles) {
            const int64_t left = tile.steps();
            if (room < std::min(left, kSmallestPiece + kItemSteps) && !is_empty()) next_slot();
            if (left <= (is_empty() ? most : room) + kSmallestPiece || slot + 1 == list.slots.size()) {
                list.slots[slot].push_back(tile.whole);
                room -= left;
                continue;
            }
            Cutter cutter(*this, tile);
            int32_t end = 0;
            for (int64_t key = tile.first_key; end < tile.whole.last_key; key = end) {
                if (room <= kItemSteps && !is_empty()) next_slot();
                const int64_t steps = (is_empty() ? most : room) - kItemSteps;
                const int64_t cut = (key + steps * kCutKeys) / kCutKeys * kCutKeys;
                const bool rest =
                    slot + 1 == list.slots.size() || cut + kSmallestPiece * kCutKeys >= tile.whole.last_key;
                end =
                    rest ? tile.whole.last_key : int32_t(std::max<int64_t>(cut, key / kCutKeys * kCutKeys + kCutKeys));
                list.slots[slot].push_back(cutter.item(end, 1));
                room -= (end - key + kCutKeys - 1) / kCutKeys + kItemSteps;
                if (!rest) next_slot();
            }
        }
        return share - room - most;
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
            Cutter cutter(*this, tile);
            for (int32_t end = 0; end < tile.whole.last_key;) {
                int splits = 0;
                int64_t steps = 0;
                do {
                    const int32_t next = std::min(split_end(end), tile.whole.last_key);
                    const int64_t more =
                        next <= tile.first_key ? 0 : (next - std::max(end, tile.first_key) + kCutKeys - 1) / kCutKeys;
                    if (steps > 0 && steps + more > most) break;
                    steps += more;
                    end = next;
                    splits++;
                } while (end < tile.whole.last_key);
                pieces.push_back({cutter.item(end, splits), steps + kItemSteps});
            }
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
    int64_t partials_ = 0;              // records per KV head
    std::vector<int32_t> tile_splits_;  // of each shared tile
};

template <class T>
void put(std::vector<char>& bytes, uint64_t offset, const T* values, size_t count) {
    if (count > 0) std::memcpy(bytes.data() + offset, values, count * sizeof(T));
}

AttentionSchedule Scheduler::write() const {
    AttentionSchedule schedule;
    KnownPlan& known = schedule.known;
    uint64_t items = 0, block_records = 0;
    for (int tiles : {kSmallTiles, kLargeTiles}) {
        const auto& slots = lists_[tiles].slots;
        known.slots[tiles] = int32_t(slots.size());
        for (size_t slot = 0; slot < slots.size(); slot++) {
            items += slots[slot].size();
            if (!slots[slot].empty()) known.used_slots[tiles] = int32_t(slot) + 1;
        }
        const int rows = tiles == kSmallTiles ? kSmallRows : target_.large_rows;
        block_records = std::max<uint64_t>(block_records, uint64_t(known.used_slots[tiles]) * uint64_t(rows));
    }
    const PlanPlaces places = plan_places(known.slots);

    PlanHeader header{};
    header.magic = kPlanMagic;
    header.num_seqs = args_.num_seqs;
    header.total_queries = int32_at(args_.query_start_loc, args_.num_seqs);
    header.q_heads = args_.q_heads;
    header.kv_heads = args_.kv_heads;
    header.head_size = args_.head_size;
    header.longest = longest_;
    header.batch_invariant = (args_.flags & KV8_PLAN_BATCH_INVARIANT) != 0;
    uint64_t end = places.items_at;
    const auto take = [&](uint64_t bytes) {
        const uint64_t offset = end;
        end = plan_aligned(end + bytes);
        return offset;
    };
    take(items * sizeof(PlanItem));
    header.arrival_offset = take(tile_splits_.size() * uint64_t(args_.kv_heads) * 4);
    schedule.bytes.resize(end);
    const uint64_t record_bytes = uint64_t(record_floats(args_.head_size)) * 4 * uint64_t(args_.kv_heads);
    header.partial_offset = take(uint64_t(partials_) * record_bytes);
    header.total_offset = take(header.batch_invariant ? block_records * record_bytes : 0);
    schedule.workspace_bytes = end;
    known.shape = {args_.num_seqs,       args_.q_heads, args_.kv_heads,          args_.head_size,
                   header.total_queries, longest_,      schedule.workspace_bytes};

    put(schedule.bytes, 0, &header, 1);
    int32_t item = 0;
    for (int tiles : {kSmallTiles, kLargeTiles}) {
        uint64_t slot_at = places.slots_at[tiles];
        put(schedule.bytes, slot_at, &item, 1);
        for (const std::vector<PlanItem>& of_slot : lists_[tiles].slots) {
            for (PlanItem written : of_slot) {
                if (written.shared_tile >= 0) written.splits = tile_splits_[size_t(written.shared_tile)];
                put(schedule.bytes, places.items_at + uint64_t(item++) * sizeof(PlanItem), &written, 1);
            }
            put(schedule.bytes, slot_at += 4, &item, 1);
        }
    }
    return schedule;
}

}  // namespace

AttentionSchedule make_schedule(const kv8_attention_plan_args& args, const ScheduleTarget& target) {
    return Scheduler(args, target).write();
}

}  // namespace kv8::gpu
