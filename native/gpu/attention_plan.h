// A step's attention schedule in the caller's workspace, as the host writes it and kernels read it.
//
// The queries of a sequence and the query heads of one KV head are flattened to rows, row = query * group + head of the
// group, and cut into tiles of rows that share what they read of the cache: small tiles for decode, large ones for chunks of a
// prompt. A tile's keys are cut into items, each walked by one block, in order, for one KV head. Blocks of a kernel are
// [slot][kv head]; a slot has a list of items.
//
// Where a schedule is batch-invariant, keys are cut at places that depend on the key's own position, and a row's result is
// always the fold of these splits in ascending order, whether one item walks them all or each has an item of its own. A row's
// bits then depend on its own position alone: not on the batch, the tile's shape, or how the prompt was chunked.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fp8/fp8.h"

namespace kv8::gpu {

constexpr uint64_t kPlanMagic = 0x314E414C50753867ull;  // "g8uPLAN1"
constexpr int kSmallRows = 16;
constexpr int kCutKeys = 64;  // items begin and end at multiples of this, which every kernel's tile of keys divides

// Which of a plan's two lists of tiles.
enum Tiles { kSmallTiles = 0, kLargeTiles = 1 };

struct PlanHeader {
    uint64_t magic;
    int32_t num_seqs;
    int32_t total_queries;
    int32_t q_heads;
    int32_t kv_heads;
    int32_t head_size;
    int32_t longest;  // keys, of a sequence with queries; up to here it is what a kernel checks first, by two loads
    int32_t batch_invariant;
    int32_t reserved;
    uint64_t arrival_offset;  // uint32 [shared tiles][kv_heads]: splits that are done; zero before and after each call
    uint64_t partial_offset;  // records [partial][kv_heads]
    uint64_t total_offset;    // records [slot][kv_heads][rows], of one list at a time: where a block folds splits
};

// Behind the header, for each list of tiles int32 [slots + 1]: the first item of each slot; then the items of both. Where they
// lie depends on the numbers of slots alone, which are the device's: a kernel is told, and need not wait for the header.
struct PlanPlaces {
    uint32_t slots_at[2];
    uint32_t items_at;
};

// Some keys of a tile, for one block.
struct PlanItem {
    int32_t sequence;
    int32_t rows;
    int32_t first_head;   // of the group, of the tile's first row
    int32_t first_token;  // and its query among all of the batch
    int32_t first_position;
    int32_t first_key;  // keys [first_key, last_key), of which a row sees what its position and window allow
    int32_t last_key;
    int32_t shared_tile;   // its number among the tiles that several items share; -1: the item has all keys
    int64_t tile_partial;  // records of a shared tile's splits, counted per KV head
    int32_t split;         // the item's first
    int32_t splits;        // of the tile
};

constexpr uint64_t plan_aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

inline PlanPlaces plan_places(const int (&slots)[2]) {
    PlanPlaces places{};
    places.slots_at[kSmallTiles] = uint32_t(plan_aligned(sizeof(PlanHeader)));
    places.slots_at[kLargeTiles] = places.slots_at[kSmallTiles] + 4 * (uint32_t(slots[kSmallTiles]) + 1);
    places.items_at = uint32_t(plan_aligned(places.slots_at[kLargeTiles] + 4 * (uint64_t(slots[kLargeTiles]) + 1)));
    return places;
}

KV8_HOST_DEVICE constexpr int record_floats(int head_size) { return head_size + 4; }

// The end of the split that key is in: splits grow with the position, so that short sequences have enough of them to fill a
// device and long ones not so many that folding shows.
KV8_HOST_DEVICE constexpr int32_t split_end(int32_t key) {
    const int32_t size = key < 8192 ? 512 : key < 65536 ? 2048 : 8192;
    return int32_t((int64_t(key) / size + 1) * size > INT32_MAX ? INT32_MAX : (key / size + 1) * size);
}

}  // namespace kv8::gpu
