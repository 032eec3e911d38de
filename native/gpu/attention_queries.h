// A tile's queries on their way to the matrix units: 16-bit floats in shared memory, as operands lie there.
//
// A row of q is brought near 2^8 by a power of two, so that bfloat16's range fits a half float; the power, and what scales are
// the same for all dims, are the row's factor, which scores are multiplied by. With scales by channel a product is not a half
// float any more, and what rounding took lies in shared memory too, to be multiplied with the keys as the rest is.
#pragma once

#include "gpu/attention_config.h"
#include "gpu/attention_rows.h"
#include "gpu/matrix.h"

namespace kv8::gpu {

template <class Format, int kHeadSize, bool kLarge>
class TileQueries {
    using M = Matrix<Format>;
    static constexpr AttentionConfig kConfig = attention_config(kAttentionDevice, kHeadSize, Format::bytes, kLarge);
    static constexpr bool kFp8 = Format::bytes == 1;
    static constexpr int kPairs = kHeadSize / 2, kSteps = (kPairs + kLanes - 1) / kLanes;  // of dims
    static constexpr int kRowsAtOnce = kCopiesInRegisters ? 1 : 4;  // of a warp, whose loads are under way together
    static constexpr int kRemainder = kConfig.query_remainder_at() - kConfig.query_at();
    using Raw = uint32_t[kRowsAtOnce][kSteps];

  public:
    KV8_DEVICE TileQueries(const AttentionParams& params, int kv_head) : params_(params), kv_head_(kv_head) {}

    KV8_DEVICE bool scaled_by_channel() const {
        return kFp8 && params_.view.k.chan.ptr != 0 && params_.view.k.chan_dim_stride != 0;
    }

    // The whole block's work, between barriers.
    KV8_DEVICE void store_all(const Tile& tile) const {
        const kv8_side& side = params_.view.k;
        const Shared rows = {uint32_t(kConfig.query_at())}, factors = {uint32_t(kConfig.factor_at())};
        static_assert(kConfig.rows() % (kRowsAtOnce * kAttentionWarps) == 0, "warps have as many rows");
        const int own = opaque(lane());
        const bool whole_pairs =
            ((params_.q.data.ptr | uint64_t(params_.q.token_stride) | uint64_t(params_.q.head_stride)) & 3) == 0;
        float scale[kSteps][2];
#pragma unroll
        for (int j = 0; j < kSteps; j++) {
            const int pair = j * kLanes + own;
            scale[j][0] = scale[j][1] = 1;
            if (!scaled_by_channel() || pair >= kPairs) continue;
            scale[j][0] = checked_channel_scale(side, kv_head_, 2 * pair, params_.fault);
            scale[j][1] = checked_channel_scale(side, kv_head_, 2 * pair + 1, params_.fault);
        }
#pragma unroll 1
        for (int first = warp(); first < kConfig.rows(); first += kRowsAtOnce * kAttentionWarps) {
            Raw raw;
            if (whole_pairs)
                read(raw, tile, first, own, [](uint64_t row, int pair) { return load_at<uint32_t>(row, pair); });
            else
                read(raw, tile, first, own, [](uint64_t row, int pair) {
                    return load_at<uint16_t>(row, 2 * pair) | uint32_t(load_at<uint16_t>(row, 2 * pair + 1)) << 16;
                });
            int own_power = 0;  // of the row that this lane tells the factor of
#pragma unroll
            for (int i = 0; i < kRowsAtOnce; i++) {
                const int row = first + i * kAttentionWarps;
                float low[kSteps], high[kSteps], largest = 0;
#pragma unroll
                for (int j = 0; j < kSteps; j++) {
                    low[j] = widen(uint16_t(raw[i][j])) * scale[j][0];
                    high[j] = widen(uint16_t(raw[i][j] >> 16)) * scale[j][1];
                    largest = maximum(largest, maximum(magnitude(low[j]), magnitude(high[j])));
                }
                int power = 0;
                if constexpr (Format::dtype != KV8_BF16) {
                    largest = largest_of_warp(largest);
                    power = largest > 0 ? least(most(exponent_of(largest) - 8, -126), 126) : 0;
                }
                if (own == i) own_power = power;
                const Shared to = rows + row / 16 * 16 * kConfig.query_pitch;
#pragma unroll
                for (int j = 0; j < kSteps; j++) {
                    const int pair = j * kLanes + own;
                    if (kPairs % kLanes != 0 && pair >= kPairs) continue;
                    const float x = low[j] * power_of_two(-power), y = high[j] * power_of_two(-power);
                    const uint32_t packed = Format::dtype == KV8_BF16 ? pack_bf16(x, y) : pack_f16(x, y);
                    M::store_query(to, kConfig.query_pitch, row % 16, pair, packed);
                    if (scaled_by_channel())
                        M::store_query(
                            to + kRemainder, kConfig.query_pitch, row % 16, pair,
                            pack_f16(x - widen_f16(uint16_t(packed)), y - widen_f16(uint16_t(packed >> 16))));
                }
            }
            if (own < kRowsAtOnce) {
                const int row = first + own * kAttentionWarps;
                float factor = params_.softmax_scale * power_of_two(own_power) / M::kStoredK;
                if (kFp8 && side.chan.ptr != 0 && !scaled_by_channel())
                    factor *= checked_channel_scale(side, kv_head_, 0, params_.fault);
                if (params_.softcap == 0) factor *= kLog2E;
                store(factors + 4 * row, factor);
                if (params_.alibi_slopes != 0)
                    store(slopes() + 4 * row, load_at<float>(params_.alibi_slopes, tile.head(row)) * kLog2E);
            }
        }
    }

    // What is read back: by a warp of rows, operands from q's part of shared memory, or from its remainder's.
    template <int kCount>
    KV8_DEVICE static void load_operands(typename M::Query (&q)[kCount], int row_warp, int at) {
        const Shared rows = {uint32_t(at)};
#pragma unroll
        for (int atom = 0; atom < kCount; atom++)
            q[atom] =
                M::template load_query<kCount>(rows + row_warp * 16 * kConfig.query_pitch, kConfig.query_pitch, atom);
    }
    KV8_DEVICE static float factor(int row) { return load<float>(Shared{uint32_t(kConfig.factor_at())} + 4 * row); }
    KV8_DEVICE static float slope(int row) { return load<float>(slopes() + 4 * row); }

  private:
    KV8_DEVICE static Shared slopes() { return {uint32_t(kConfig.slope_at())}; }

    // Pairs as they lie there, of either 16-bit type: a conversion would wait for its load before the next.
    template <class Load>
    KV8_DEVICE void read(Raw& raw, const Tile& tile, int first, int own, const Load& load_pair) const {
#pragma unroll
        for (int i = 0; i < kRowsAtOnce; i++) {
            const int row = first + i * kAttentionWarps;
            const uint64_t from = row_of(params_.q, tile.token(row), tile.head(row));
#pragma unroll
            for (int j = 0; j < kSteps; j++) {
                const int pair = j * kLanes + own;
                raw[i][j] = pair < kPairs && row < tile.rows ? load_pair(from, pair) : 0;
            }
        }
    }

    KV8_DEVICE float widen(uint16_t x) const { return params_.q.dtype == KV8_F16 ? widen_f16(x) : widen_bf16(x); }
    KV8_DEVICE static float magnitude(float x) { return x < 0 ? -x : x; }
    KV8_DEVICE static int exponent_of(float x) { return int(__builtin_bit_cast(uint32_t, x) >> 23 & 0xFF) - 127; }
    KV8_DEVICE static float power_of_two(int n) { return __builtin_bit_cast(float, uint32_t(n + 127) << 23); }

    const AttentionParams& params_;
    const int kv_head_;
};

}  // namespace kv8::gpu
