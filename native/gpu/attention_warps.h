// Several token warps of one row warp: each has scores of some of a tile's tokens, in groups of sixteen, and they tell each other
// maxima, weights and sums through shared memory. The groups are joined in their own order, whichever warps have them.
#pragma once

#include "gpu/attention_config.h"
#include "gpu/attention_rows.h"
#include "gpu/matrix.h"

namespace kv8::gpu {

template <class Format, int kHeadSize, bool kLarge>
struct TokenWarps {
    using M = Matrix<Format>;
    static constexpr AttentionConfig kConfig = attention_config(kAttentionDevice, kHeadSize, Format::bytes, kLarge);
    static constexpr int kTokenWarps = kConfig.token_warps;
    static constexpr int kGroups = kConfig.groups();                               // of 16 tokens in a tile
    static constexpr int kWarpGroups = (kGroups + kTokenWarps - 1) / kTokenWarps;  // that a warp scores
    static constexpr int kRows = M::kRows;
    static constexpr int kWeightParts = attention_weight_parts(Format::dtype == KV8_BF16);

    const int row_warp, token_warp;

    // A warp's g-th group of sixteen tokens; there may be fewer groups than token warps.
    KV8_DEVICE int group(int g) const { return token_warp + g * kTokenWarps; }
    KV8_DEVICE bool has_group(int g) const { return kGroups % kTokenWarps == 0 || group(g) < kGroups; }

    // Every warp's weights to every warp. What is written here was last read before the barriers of the tile's start.
    KV8_DEVICE void exchange(typename M::Weights (&weights)[kWeightParts][kGroups]) const {
        const Shared rows = {uint32_t(kConfig.weight_at() + row_warp * 16 * kConfig.weight_pitch)};
        constexpr int kPart = kConfig.rows() * kConfig.weight_pitch;
#pragma unroll
        for (int part = 0; part < kWeightParts; part++)
#pragma unroll
            for (int g = 0; g < kWarpGroups; g++)
                if (has_group(g))
                    M::store_weights(rows + (part * kPart + group(g) * 32), kConfig.weight_pitch, weights[part][g]);
        sync_block();
#pragma unroll
        for (int part = 0; part < kWeightParts; part++)
#pragma unroll
            for (int g = 0; g < kGroups; g++)
                weights[part][g] = M::load_weights(rows + (part * kPart + g * 32), kConfig.weight_pitch);
    }

    // A row's maximum in each warp becomes that of all.
    KV8_DEVICE void exchange_maxima(float (&largest)[kRows]) const {
        float of_warp[1][kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) of_warp[0][r] = largest[r];
        join(of_warp, largest, [](float a, float b) { return maximum(a, b); });
    }

    // A row's weight, of what its lanes have for each group.
    KV8_DEVICE void sum_weights(const float (&lanes)[kWarpGroups][kRows], float (&weight)[kRows]) const {
        float of_group[kWarpGroups][kRows];
#pragma unroll
        for (int g = 0; g < kWarpGroups; g++)
#pragma unroll
            for (int r = 0; r < kRows; r++) of_group[g][r] = M::row_sum(lanes[g][r]);
        if constexpr (kTokenWarps > 1) {
            join(of_group, weight, [](float a, float b) { return a + b; });
        } else {
#pragma unroll
            for (int r = 0; r < kRows; r++) {
                weight[r] = of_group[0][r];
#pragma unroll
                for (int g = 1; g < kWarpGroups; g++) weight[r] += of_group[g][r];
            }
        }
    }

  private:
    // Joins what the token warps have for a row: one number for all groups of a warp, or one for each group, in the groups'
    // order.
    template <int kValues, class Join>
    KV8_DEVICE void join(const float (&own)[kValues][kRows], float (&joined)[kRows], const Join& join_two) const {
        constexpr int kAll = kValues == kWarpGroups ? kGroups : kTokenWarps;
        static_assert(kAll == 1 || kAll == 2 || kAll == 4, "a row's numbers are read by one load");
        struct alignas(4 * kAll) Numbers {
            float x[kAll];
        };
        const Shared at = {uint32_t(kConfig.maximum_at() + row_warp * 16 * kGroups * 4)};
#pragma unroll
        for (int g = 0; g < kValues; g++)
#pragma unroll
            for (int r = 0; r < kRows; r++)
                if (has_group(g) && M::token(0) == 0) store(at + (M::row(r) * kAll + group(g)) * 4, own[g][r]);
        sync_block();
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const Numbers all = load<Numbers>(at + M::row(r) * kAll * 4);
            joined[r] = all.x[0];
#pragma unroll
            for (int g = 1; g < kAll; g++) joined[r] = join_two(joined[r], all.x[g]);
        }
    }
};

}  // namespace kv8::gpu
