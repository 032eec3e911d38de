// Sixteen consecutive keys of one KV head: where their rows lie in the paged cache, and the rows as float32. Tiles
// begin at multiples of sixteen from the sequence's first key, whatever the block size. Only keys inside the range that
// the caller names are looked up, read or prefetched.
#pragma once

#include "cpu/row_io.h"
#include "kv8/kv8.h"

namespace kv8::cpu::KV8_ISA {

constexpr int kTileKeys = 16;

struct TileRows {
    const uint8_t* k[kTileKeys];
    const uint8_t* v[kTileKeys];
    float k_scale[kTileKeys];  // of the keys in range, where the cache has row scales; else not set
    float v_scale[kTileKeys];
};

// One sequence's K and V of one head.
class PagedHead {
  public:
    KV8_INLINE PagedHead(const kv8_cache_view& view, const uint8_t* block_table_row, int kv_head)
        : view_(view), table_(block_table_row), head_(kv_head) {}

    // Rows of keys [first, last), all in the tile of sixteen that begins at `tile`.
    KV8_INLINE void locate(int64_t tile, int64_t first, int64_t last, TileRows& rows) const {
        int64_t entry = first / view_.block_size, slot = first % view_.block_size;
        const uint8_t* block = block_at(entry);
        for (int64_t key = first; key < last; key++) {
            const int i = int(key - tile);
            rows.k[i] = row(view_.k, block, slot);
            rows.v[i] = row(view_.v, block, slot);
            if (view_.k.row_scale_offset >= 0) rows.k_scale[i] = row_scale(view_.k, block, slot);
            if (view_.v.row_scale_offset >= 0) rows.v_scale[i] = row_scale(view_.v, block, slot);
            if (++slot == view_.block_size && key + 1 < last) {
                slot = 0;
                block = block_at(++entry);
            }
        }
    }

    // Asks for the rows of keys [first, last) without waiting for them.
    KV8_INLINE void prefetch(int64_t first, int64_t last) const {
        int64_t slot = first % view_.block_size;
        for (int64_t key = first; key < last; slot = 0) {
            const uint8_t* const block = block_at(key / view_.block_size);
            if (view_.k.row_scale_offset >= 0) __builtin_prefetch(row_scale_address(view_.k, block, slot));
            if (view_.v.row_scale_offset >= 0) __builtin_prefetch(row_scale_address(view_.v, block, slot));
            for (; slot < view_.block_size && key < last; slot++, key++) {
                prefetch_row(row(view_.k, block, slot), view_.k.dtype);
                prefetch_row(row(view_.v, block, slot), view_.v.dtype);
            }
        }
    }

  private:
    KV8_INLINE const uint8_t* block_at(int64_t entry) const {
        int32_t block;
        std::memcpy(&block, table_ + entry * 4, 4);
        return reinterpret_cast<const uint8_t*>(view_.memory.ptr) + block * view_.block_stride;
    }

    KV8_INLINE const uint8_t* row(const kv8_side& side, const uint8_t* block, int64_t slot) const {
        return block + side.offset + head_ * side.head_stride + slot * side.slot_stride;
    }

    KV8_INLINE const uint8_t* row_scale_address(const kv8_side& side, const uint8_t* block, int64_t slot) const {
        return block + side.row_scale_offset + head_ * side.row_scale_head_stride + slot * 4;
    }

    KV8_INLINE float row_scale(const kv8_side& side, const uint8_t* block, int64_t slot) const {
        float scale;
        std::memcpy(&scale, row_scale_address(side, block, slot), 4);
        return scale;
    }

    KV8_INLINE void prefetch_row(const uint8_t* row, kv8_dtype dtype) const {
        const int64_t bytes = view_.head_size * element_bytes(dtype);
        for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i);
    }

    const kv8_cache_view& view_;
    const uint8_t* table_;
    int64_t head_;
};

// tile[i][head_size] = rows[i] as float32, for i in [first, last).
typedef void (*WidenRows)(const uint8_t* const* rows, int first, int last, int head_size, float* tile);

template <class Element>
void widen_rows(const uint8_t* const* rows, int first, int last, int head_size, float* tile) {
    for (int i = first; i < last; i++)
        for (int d = 0; d < head_size; d += kLanes)
            store(tile + i * head_size + d, Element::load(rows[i] + d * Element::bytes));
}

inline WidenRows widen_rows_of(kv8_dtype dtype) {
    WidenRows widen = nullptr;
    with_dtype(dtype, [&](auto element) { widen = widen_rows<decltype(element)>; });
    return widen;
}

}  // namespace kv8::cpu::KV8_ISA
