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

struct PlanList {
    int32_t items;  // of all slots; 0: no tile of this shape
    int32_t reserved;
    uint64_t slot_offset;  // int32 [slots + 1]: first item of each slot; offsets count from the workspace's first byte
    uint64_t item_offset;  // PlanItem [items]
};

struct PlanHeader {
    uint64_t magic;
    int32_t num_seqs;
    int32_t total_queries;
    int32_t q_heads;
    int32_t kv_heads;
    int32_t head_size;
    int32_t longest;  // keys, of a sequence with queries
    int32_t batch_invariant;
    int32_t combine_rows;  // of all combines
    uint64_t query_start_loc_offset;
    uint64_t seq_lens_offset;
    uint64_t combine_offset;      // PlanCombine [combines]
    uint64_t combine_row_offset;  // int32 [combine_rows]: which combine has the row
    uint64_t partial_offset;      // records [partial][kv_heads]
    uint64_t total_offset;        // records [list][slot][kv_heads][rows]: where a block folds splits
    PlanList lists[2];
};

struct PlanItem {
    int32_t sequence;
    int32_t first_row;
    int32_t rows;
    int32_t first_key;  // keys [first_key, last_key), of which a row sees what its position and window allow
    int32_t last_key;
    int32_t reserved;
    int64_t
        partial;  // records of its first split, counted per KV head; -1: the item has all keys and writes the output
};

// A tile whose splits are in several items: fold records [partial + split * rows + row].
struct PlanCombine {
    int32_t sequence;
    int32_t first_row;
    int32_t rows;
    int32_t splits;
    int64_t partial;
    int32_t rows_before;  // of the combines before this one
    int32_t reserved;
};

// A result over some keys before division: float32 sums[head_size], then these two, then nothing up to 16 bytes. Weights are
// 2^(score * log2 e - reference).
KV8_HOST_DEVICE constexpr int record_floats(int head_size) { return head_size + 4; }
constexpr int kRecordReference = 0, kRecordWeight = 1;  // behind the sums

// The end of the split that key is in: splits grow with the position, so that short sequences have enough of them to fill a
// device and long ones not so many that folding shows.
KV8_HOST_DEVICE constexpr int32_t split_end(int32_t key) {
    const int32_t size = key < 8192 ? 512 : key < 65536 ? 2048 : 8192;
    return int32_t((int64_t(key) / size + 1) * size > INT32_MAX ? INT32_MAX : (key / size + 1) * size);
}

}  // namespace kv8::gpu
