// The tiles of K and V that a block walks, item after item, on their way into shared memory.
//
// It runs ahead of the block's work by the pipeline's depth, over the ends of items too, so that loads are always under way.
// Each key's row is found one step before it is copied, by one thread, and its entry of the block table is read one step
// earlier still: neither is waited for.
#pragma once

#include "gpu/attention_config.h"
#include "gpu/attention_rows.h"
#include "gpu/report.h"

namespace kv8::gpu {

template <int kHeadSize, int kElementBytes, bool kLarge>
class TileStream {
  public:
    static constexpr AttentionConfig kConfig = attention_config(kAttentionDevice, kHeadSize, kElementBytes, kLarge);
    static constexpr int kTileKeys = kConfig.tile_keys, kThreads = kAttentionWarps * kLanes;

    // Items [begin, end) of the schedule's list.
    KV8_DEVICE TileStream(const AttentionParams& params, const Schedule& schedule, int kv_head, int begin, int end)
        : params_(params),
          schedule_(schedule),
          kv_head_(kv_head),
          tile_entries_(quotient(kTileKeys, params.view.block_size)),
          tile_slots_(kTileKeys - tile_entries_ * params.view.block_size),
          item_(begin - 1),
          end_(end) {
        next_item();
        read_entry();
        find_rows();
#pragma unroll 1
        for (int i = 0; i < kConfig.stages - 1; i++) {
            sync_block();
            advance();
            finish();
        }
    }

    // Waits for the next tile and gives the stage that holds it; every thread has done with the one before. The copies that
    // it starts are closed by finish(), to be called after the work on the tile.
    KV8_DEVICE int next() {
        wait_copies<kConfig.stages - 2>();
        sync_block();
        advance();
        const int stage = reading_;
        reading_ = after(reading_);
        return stage;
    }

    KV8_DEVICE void finish() {
        if (kCopyThreads == kThreads || thread() < kCopyThreads) commit_copies(copies_);
    }

    KV8_DEVICE static Shared keys(int stage) { return {uint32_t(stage * kConfig.stage_bytes())}; }
    KV8_DEVICE static Shared values(int stage) { return keys(stage) + kConfig.tile_bytes(); }
    // Row scales of the tile's keys, float32 [kTileKeys], zero where there is no key.
    KV8_DEVICE static Shared key_scales(int stage) { return {uint32_t(kScaleAt + stage * 2 * 4 * kTileKeys)}; }
    KV8_DEVICE static Shared value_scales(int stage) { return key_scales(stage) + 4 * kTileKeys; }

  private:
    // Constants, so that no device evaluates what a configuration's functions say.
    static constexpr int kCopyThreads = kConfig.copy_threads(), kRowsAtOnce = kConfig.rows_at_once(),
                         kAddressPitch = kConfig.address_pitch(), kAddressBytes = kConfig.address_bytes(),
                         kAddressAt = kConfig.address_at(), kScaleAt = kConfig.scale_at();
    static constexpr bool kOneUnit = kConfig.copies_one_unit();
    static constexpr int kUnits = kConfig.row_units, kCopies = kConfig.copies();
    // Addresses are read a few at a time: all before the copies, between which loads would cost NVIDIA's compiler a wait
    // each. Registers that hold copies want constant indices.
    static constexpr int kAtOnce = kCopiesInRegisters ? 1 : kCopies % 4 == 0 ? 4 : kCopies % 2 == 0 ? 2 : 1;
    static constexpr int kUnrolled = kCopiesInRegisters ? kCopies / kAtOnce : 1;
    static_assert(kConfig.tile_copies() % kCopyThreads == 0 && kTileKeys <= kThreads,
                  "every thread has as many copies");

    KV8_DEVICE static int address_of_row(int row) { return row % kRowsAtOnce * kAddressPitch + row / kRowsAtOnce * 8; }

    struct Rows {  // where a key's K and V are, 0: nowhere
        uint64_t k, v;
    };

    KV8_DEVICE static int after(int stage) { return stage + 1 == kConfig.stages ? 0 : stage + 1; }
    KV8_DEVICE static Shared rows_at(int parity) { return {uint32_t(kAddressAt + parity * kAddressBytes)}; }
    KV8_DEVICE bool has_row_scales() const {
        return params_.view.k.row_scale_offset >= 0 || params_.view.v.row_scale_offset >= 0;
    }

    // The next item that has a key.
    KV8_DEVICE void next_item() {
#pragma unroll 1
        for (item_++; item_ < end_; item_++) {
            const Work<kTileKeys> work(params_, kv_head_, schedule_.item(item_));
            tile_ = work.first_tile;
            last_tile_ = work.last_tile;
            first_key_ = work.first_key;
            sequence_ = work.item.sequence;
            entry_ = quotient(tile_ + thread(), params_.view.block_size);
            slot_ = tile_ + thread() - entry_ * params_.view.block_size;
            if (tile_ < last_tile_) return;
        }
        tile_ = last_tile_ = first_key_ = 0;
    }

    KV8_DEVICE void next_tile() {
        tile_ += kTileKeys;
        if (tile_ >= last_tile_) return next_item();
        entry_ += tile_entries_;
        slot_ += tile_slots_;
        if (slot_ < params_.view.block_size) return;
        slot_ -= params_.view.block_size;
        entry_++;
    }

    // Of this thread's key in the tile that is to be found next.
    KV8_DEVICE void read_entry() {
        const int key = tile_ + thread();
        has_key_ = thread() < kTileKeys && key >= first_key_ && key < last_tile_;
        if (has_key_) block_ = load_at<int32_t>(params_.block_table, sequence_ * params_.block_table_stride + entry_);
    }

    // Turns the entry into addresses, and reads the next tile's.
    KV8_DEVICE void find_rows() {
        if (thread() < kTileKeys) {
            const kv8_cache_view& view = params_.view;
            Rows rows{};
            k_scale_ = v_scale_ = 0;
            if (has_key_ && uint32_t(block_) >= uint32_t(view.num_blocks)) {
                report(params_.fault, kBadBlock, entry_, block_, view.num_blocks, uint32_t(sequence_));
            } else if (has_key_) {
                const uint64_t block = view.memory.ptr + uint64_t(block_ * view.block_stride);
                rows = {block + uint64_t(row_offset(view.k)), block + uint64_t(row_offset(view.v))};
                if (view.k.row_scale_offset >= 0) k_scale_ = load_at<float>(block + scale_offset(view.k), slot_);
                if (view.v.row_scale_offset >= 0) v_scale_ = load_at<float>(block + scale_offset(view.v), slot_);
            }
            store(rows_at(parity_) + address_of_row(thread()), rows.k);
            store(rows_at(parity_) + address_of_row(kTileKeys + thread()), rows.v);
        }
        parity_ ^= 1;
        if (tile_ < last_tile_) next_tile();
        read_entry();
    }
    KV8_DEVICE int64_t row_offset(const kv8_side& side) const {
        return side.offset + kv_head_ * side.head_stride + slot_ * side.slot_stride;
    }
    KV8_DEVICE uint64_t scale_offset(const kv8_side& side) const {
        return uint64_t(side.row_scale_offset + kv_head_ * side.row_scale_head_stride);
    }

    KV8_DEVICE void start_copies() {
        const Shared found = rows_at(parity_ ^ 1), to = keys(writing_);
#pragma unroll kUnrolled
        for (int first = 0; first < kCopies; first += kAtOnce) {
            int row[kAtOnce], unit[kAtOnce];
            uint64_t from[kAtOnce];
#pragma unroll
            for (int i = 0; i < kAtOnce; i++) {
                const int number = (first + i) * kCopyThreads + opaque(thread());
                row[i] = kOneUnit ? (first + i) * kRowsAtOnce + thread() / kUnits : number / kUnits;
                unit[i] = kOneUnit ? thread() % kUnits : number % kUnits;
            }
            if constexpr (kOneUnit && kAtOnce % 2 == 0) {
#pragma unroll
                for (int i = 0; i < kAtOnce; i += 2) {
                    const Shared at = found + (thread() / kUnits * kAddressPitch + 8 * (first + i));
                    const Words4 two = load<Words4>(at);
                    from[i] = uint64_t(two.y) << 32 | two.x;
                    from[i + 1] = uint64_t(two.w) << 32 | two.z;
                }
            } else {
#pragma unroll
                for (int i = 0; i < kAtOnce; i++)
                    from[i] = load<uint64_t>(found + (kOneUnit ? thread() / kUnits * kAddressPitch + 8 * (first + i)
                                                               : address_of_row(row[i])));
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; i++)
                copy_async(copies_, first + i, to + (row[i] * kConfig.pitch + unit[i] * 16),
                           reinterpret_cast<const void*>(from[i] + uint64_t(unit[i] * 16)),
                           (uint32_t(from[i]) | uint32_t(from[i] >> 32)) != 0);
        }
    }

    // Starts the copies of the tile whose rows were found last, and finds those of the next.
    KV8_DEVICE void advance() {
        if (has_row_scales() && thread() < kTileKeys) {
            store(key_scales(writing_) + 4 * thread(), k_scale_);
            store(value_scales(writing_) + 4 * thread(), v_scale_);
        }
        if (kCopyThreads == kThreads || thread() < kCopyThreads) start_copies();
        writing_ = after(writing_);
        find_rows();
    }

    const AttentionParams& params_;
    const Schedule& schedule_;
    const int kv_head_, tile_entries_, tile_slots_;  // a tile's keys in blocks of the cache, and the rest of them
    int item_, end_;
    int tile_ = 0, last_tile_ = 0, first_key_ = 0, sequence_ = 0;  // to be found next
    bool has_key_ = false;
    int entry_ = 0, slot_ = 0, block_ = 0;
    float k_scale_ = 0, v_scale_ = 0;
    int parity_ = 0, writing_ = 0, reading_ = 0;
    Copies<kCopies> copies_;
};

}  // namespace kv8::gpu
