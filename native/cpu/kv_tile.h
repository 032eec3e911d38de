// Consecutive keys of a KV head: where their rows lie in the paged cache, and their scales. Tiles begin at multiples of
// kTileKeys from the sequence's first key, whatever the block size. Only keys inside the range that the caller names are
// looked up, read or prefetched.
#pragma once

#include "cpu/cache_rows.h"
#include "cpu/registers.h"

namespace kv8::cpu::KV8_ISA {

constexpr int kTileKeys = 64;   // share a step of the online softmax
constexpr int kChunkKeys = 32;  // are read at once

// Addresses of the rows of K or V, and their scales where the cache has some. Rows of keys out of [begin, end) are those of a
// key in range: they may be read, and what comes of them must not be used.
struct TileSide {
    const uint8_t* rows[kTileKeys];
    float scales[kTileKeys];
    int begin, end;
};

// One sequence's K and V.
class PagedKeys {
  public:
    KV8_INLINE PagedKeys(const kv8_cache_view& view, const uint8_t* block_table_row)
        : view_(view), table_(block_table_row) {}

    // A head's rows of keys [first, last), at least one, all in the tile that begins at `tile`; their scales are asked for.
    KV8_INLINE void locate(int64_t head, int64_t tile, int64_t first, int64_t last, TileSide& k, TileSide& v) const {
        for_runs(first, last, [&](Slot slot, int64_t key, int count) {
            const int i = int(key - tile);
            locate_run(view_.k, head, slot, count, k.rows + i);
            locate_run(view_.v, head, slot, count, v.rows + i);
        });
        repeat_outside(int(first - tile), int(last - tile), k);
        repeat_outside(int(first - tile), int(last - tile), v);
    }

    // A head's scales of keys [first, last) of the tile, where the cache has some.
    KV8_INLINE void read_scales(int64_t head, int64_t tile, int64_t first, int64_t last, TileSide& k,
                                TileSide& v) const {
        if (!has_row_scales(view_.k) && !has_row_scales(view_.v)) return;
        for_runs(first, last, [&](Slot slot, int64_t key, int count) {
            const int i = int(key - tile);
            if (has_row_scales(view_.k)) copy_scales(row_scale(view_, view_.k, slot, head), count, k.scales + i);
            if (has_row_scales(view_.v)) copy_scales(row_scale(view_, view_.v, slot, head), count, v.scales + i);
        });
    }

  private:
    // Of a block at most: too few for a call of memcpy.
    static KV8_INLINE void copy_scales(const uint8_t* from, int count, float* to) {
        int i = 0;
        for (; i + kWidth <= count; i += kWidth) store(to + i, load<rf>(from + i * 4));
        for (; i < count; i++) to[i] = load<float>(from + i * 4);
    }

    static KV8_INLINE void repeat_outside(int begin, int end, TileSide& side) {
        side.begin = begin;
        side.end = end;
        for (int before = 0; before < begin; before++) side.rows[before] = side.rows[begin];
        for (int after = end; after < kTileKeys; after++) side.rows[after] = side.rows[end - 1];
    }

    // run(slot, key, count) for keys [first, last), by blocks.
    template <class Run>
    KV8_INLINE void for_runs(int64_t first, int64_t last, const Run& run) const {
        int64_t entry = first / view_.block_size, index = first % view_.block_size;
        for (int64_t key = first; key < last; entry++, index = 0) {
            const int64_t rest = last - key, in_block = view_.block_size - index;
            const int count = int(rest < in_block ? rest : in_block);
            run(Slot{load<int32_t>(table_ + entry * 4), index}, key, count);
            key += count;
        }
    }

    KV8_INLINE void locate_run(const kv8_side& side, int64_t head, Slot slot, int count, const uint8_t** rows) const {
        const uint8_t* row = cache_row(view_, side, slot, head);
        for (int key = 0; key < count; key++, row += side.slot_stride) rows[key] = row;
        if (!has_row_scales(side)) return;
        __builtin_prefetch(row_scale(view_, side, slot, head));
        __builtin_prefetch(row_scale(view_, side, {slot.block, slot.index + count - 1}, head));
    }

    const kv8_cache_view& view_;
    const uint8_t* table_;
};

// Asks for rows without waiting for them; what mostly is one run is taken for one.
KV8_INLINE void prefetch_rows(const uint8_t* const* rows, int count, int row_bytes) {
    if (rows[count - 1] - rows[0] == (count - 1) * row_bytes) {
        for (int at = 0; at < count * row_bytes; at += 64) __builtin_prefetch(rows[0] + at);
        return;
    }
    for (int i = 0; i < count; i++)
        for (int64_t at = 0; at < row_bytes; at += 64) __builtin_prefetch(rows[i] + at);
}

}  // namespace kv8::cpu::KV8_ISA
