// Paged attention in float32, for float32 queries and for caches that the matrix units do not take: any dtype of K with any of
// V. A block has sixteen rows at once, eight threads a row: they compute its scores of sixteen keys, then each sums an eighth of
// its dims. A row takes only the keys that it sees, so that what a hidden key's V holds cannot reach it.
#pragma once

#include "gpu/attention_results.h"
#include "gpu/elements.h"

namespace kv8::gpu {

template <int kHeadSize>
class PreciseAttention {
    static constexpr int kRowThreads = 8, kBlockRows = kPreciseThreads / kRowThreads, kTileKeys = 16;
    static constexpr int kThreadKeys = kTileKeys / kRowThreads, kThreadPairs = kHeadSize / 2 / kRowThreads;
    // Pitches in floats: rows that are read at once lie in different banks.
    static constexpr int kQueryPitch = kHeadSize + 4, kKeyPitch = kHeadSize + 1, kWeightPitch = kTileKeys + 1;
    static constexpr int kKeysAt = kBlockRows * kQueryPitch, kValuesAt = kKeysAt + kTileKeys * kKeyPitch,
                         kWeightsAt = kValuesAt + kTileKeys * kKeyPitch,
                         kScalesAt = kWeightsAt + kBlockRows * kWeightPitch, kToldAt = kScalesAt + 2 * kTileKeys,
                         kFloats = kToldAt + 1;
    static_assert(kFloats * 4 == precise_shared_bytes(kHeadSize), "the host launches with as much");

  public:
    KV8_DEVICE explicit PreciseAttention(const AttentionParams& params)
        : params_(params),
          schedule_(params),
          kv_head_(block() % params.view.kv_heads),
          row_(thread() / kRowThreads),
          part_(thread() % kRowThreads) {}

    KV8_DEVICE void run() {
        if (!schedule_.is_legal()) return;
        const int slot = block() / params_.view.kv_heads;
        const int end = schedule_.slot_begin(slot + 1);
#pragma unroll 1
        for (int index = schedule_.slot_begin(slot); index < end; index++) {
            const PlanItem item = schedule_.item(index);
            const Tile tile(params_, item, kv_head_);
#pragma unroll 1
            for (int row = 0; row < item.rows; row += kBlockRows)
                run_rows(Work<kTileKeys>(item, tile.part(row, kBlockRows)), row);
        }
        fold_shared_tiles<kHeadSize, kPreciseThreads / kLanes>(params_, at(kToldAt));
    }

    // ---- who has what of a result, for compute_splits

    static constexpr int kRows = 1;
    static constexpr bool kMayHaveScales = true;
    KV8_DEVICE int row_in_tile(int) const { return row_; }
    KV8_DEVICE bool writes_row() const { return part_ == 0; }
    template <class Body>
    KV8_DEVICE void for_pairs(int, const Body& body) {
#pragma unroll
        for (int i = 0; i < kThreadPairs; i++) body(sums_[i].x, sums_[i].y, 2 * (i * kRowThreads + part_));
    }

  private:
    KV8_DEVICE static Shared at(int floats) { return {uint32_t(floats * 4)}; }

    KV8_DEVICE void run_rows(const Work<kTileKeys>& work, int row_before) {
        const Tile& tile = work.tile;
        sync_block();  // done with what was computed before
        load_queries(tile);
        first_key_ = most(tile.first_key(row_), work.first_key);
        last_key_ = least(tile.last_key(row_), work.last_key);
        position_ = tile.position(row_);
        slope_ = params_.alibi_slopes != 0 ? load_at<float>(params_.alibi_slopes, tile.head(row_)) : 0.0f;
        compute_splits(
            *this, params_, schedule_, [&] { return work; }, row_before, kBlockRows,
            [&](int first, int last) {
                largest_ = -kInfinity;
                weight_ = 0;
#pragma unroll
                for (int i = 0; i < kThreadPairs; i++) sums_[i] = {0, 0};
#pragma unroll 1
                for (int key = first; key < last; key += kTileKeys) {
                    sync_block();  // done with the tile before; queries are there
                    load_tile(work, key);
                    sync_block();
                    walk_tile(key);
                }
                const float weight = row_sum(weight_);
                return SoftmaxOf<1>{{{largest_ == -kInfinity ? -kInfinity : largest_ * kLog2E, weight}}};
            });
    }

    // q * softmax_scale * K's static scales.
    KV8_DEVICE void load_queries(const Tile& tile) {
        const uint64_t from = row_of(params_.q, tile.token(row_), tile.head(row_));
        const kv8_side& side = params_.view.k;
#pragma unroll 1
        for (int d = part_; d < kHeadSize; d += kRowThreads) {
            const float scale = checked_channel_scale(side, kv_head_, d, params_.fault);
            const float q = load_element(params_.q.dtype, from, d) * params_.softmax_scale * scale;
            store(at(row_ * kQueryPitch + d), q);
        }
    }

    // Keys that no row of the tile sees become zeros; so do those in a block that does not exist.
    KV8_DEVICE void load_tile(const Work<kTileKeys>& work, int first) {
        const kv8_cache_view& view = params_.view;
        constexpr int kRowChunks = kHeadSize / kChunk;
#pragma unroll 1
        for (int i = thread(); i < kTileKeys * kRowChunks; i += kPreciseThreads) {
            const int row = i / kRowChunks, chunk = i % kRowChunks, key = first + row;
            Chunk k = chunk_of(0), v = chunk_of(0);
            float k_scale = 1, v_scale = 1;
            if (key >= work.first_key && key < work.last_key) {
                const int entry = key / view.block_size, slot = key % view.block_size;
                const int block =
                    load_at<int32_t>(params_.block_table, work.tile.sequence * params_.block_table_stride + entry);
                if (uint32_t(block) >= uint32_t(view.num_blocks)) {
                    report(params_.fault, kBadBlock, entry, block, view.num_blocks, uint32_t(work.tile.sequence));
                } else {
                    const uint64_t base = view.memory.ptr + uint64_t(block * view.block_stride);
                    k = load_side(view.k, base, slot, chunk);
                    v = load_side(view.v, base, slot, chunk);
                    k_scale = row_scale(view.k, base, slot);
                    v_scale = row_scale(view.v, base, slot);
                }
            }
#pragma unroll
            for (int d = 0; d < kChunk; d++) {
                store(at(kKeysAt + row * kKeyPitch + chunk * kChunk + d), k.x[d]);
                store(at(kValuesAt + row * kKeyPitch + chunk * kChunk + d), v.x[d]);
            }
            if (chunk == 0) {
                store(at(kScalesAt + row), k_scale);
                store(at(kScalesAt + kTileKeys + row), v_scale);
            }
        }
    }
    KV8_DEVICE Chunk load_side(const kv8_side& side, uint64_t block, int slot, int chunk) const {
        return load_cached(side.dtype,
                           reinterpret_cast<const uint8_t*>(
                               block + uint64_t(side.offset + kv_head_ * side.head_stride + slot * side.slot_stride) +
                               uint64_t(chunk * kChunk * element_bytes(side.dtype))));
    }
    KV8_DEVICE float row_scale(const kv8_side& side, uint64_t block, int slot) const {
        if (side.row_scale_offset < 0) return 1.0f;
        return load_at<float>(block + uint64_t(side.row_scale_offset + kv_head_ * side.row_scale_head_stride), slot);
    }

    KV8_DEVICE static float row_sum(float x) {
#pragma unroll
        for (int mask = 1; mask < kRowThreads; mask *= 2) x += shuffle_xor(x, mask);
        return x;
    }

    KV8_DEVICE float score(int slot, int key) const {
        constexpr int kSums = 8;  // short sums lose less
        float sums[kSums] = {};
        const Shared q = at(row_ * kQueryPitch), k = at(kKeysAt + slot * kKeyPitch);
#pragma unroll 2
        for (int d = 0; d < kHeadSize; d += kSums)
#pragma unroll
            for (int i = 0; i < kSums; i++)
                sums[i] = fused(load<float>(q + (d + i) * 4), load<float>(k + (d + i) * 4), sums[i]);
        float s = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
        s *= load<float>(at(kScalesAt + slot));
        if (params_.softcap > 0) s = tanh_of(divide(s, params_.softcap)) * params_.softcap;
        if (params_.alibi_slopes != 0) s = fused(slope_, float(key - position_), s);
        return s;
    }

    KV8_DEVICE void walk_tile(int first) {
        float s[kThreadKeys], largest = -kInfinity;
#pragma unroll
        for (int i = 0; i < kThreadKeys; i++) {
            const int slot = part_ + i * kRowThreads, key = first + slot;
            s[i] = key >= first_key_ && key < last_key_ ? score(slot, key) : -kInfinity;
            largest = maximum(largest, s[i]);
        }
#pragma unroll
        for (int mask = 1; mask < kRowThreads; mask *= 2) largest = maximum(largest, shuffle_xor(largest, mask));
        const float raised = maximum(largest_, largest), reference = finite(raised) * kLog2E;
        const float decay = raised == largest_ ? 1.0f : exp2_fast(fused(largest_, kLog2E, -reference));
        largest_ = raised;
        weight_ *= decay;
#pragma unroll
        for (int i = 0; i < kThreadKeys; i++) {
            const int slot = part_ + i * kRowThreads;
            const float p = exp2_fast(fused(s[i], kLog2E, -reference));
            weight_ += p;
            store(at(kWeightsAt + row_ * kWeightPitch + slot), p * load<float>(at(kScalesAt + kTileKeys + slot)));
        }
        sync_warp();
#pragma unroll
        for (int i = 0; i < kThreadPairs; i++) {
            sums_[i].x *= decay;
            sums_[i].y *= decay;
        }
        const int begin = most(first_key_ - first, 0), end = least(last_key_ - first, kTileKeys);
#pragma unroll 1
        for (int slot = begin; slot < end; slot++) {
            const float p = load<float>(at(kWeightsAt + row_ * kWeightPitch + slot));
            const Shared v = at(kValuesAt + slot * kKeyPitch + 2 * part_);
#pragma unroll
            for (int i = 0; i < kThreadPairs; i++) {
                sums_[i].x = fused(p, load<float>(v + i * kRowThreads * 8), sums_[i].x);
                sums_[i].y = fused(p, load<float>(v + (i * kRowThreads * 8 + 4)), sums_[i].y);
            }
        }
    }

    const AttentionParams& params_;
    const Schedule schedule_;
    const int kv_head_, row_, part_;
    int first_key_ = 0, last_key_ = 0, position_ = 0;
    float slope_ = 0;
    float largest_ = 0, weight_ = 0;  // scores in base e; this thread's part of the weights
    SumPair sums_[kThreadPairs];
};

}  // namespace kv8::gpu
