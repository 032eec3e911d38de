// Paged attention on matrix units: a block walks the keys of its items, tile by tile, for one KV head.
//
// The 16 rows of a row warp (the query heads that share the KV head, and several queries) stand in the rows of one matrix, so
// that a key is read once for all of them. With several token warps, each computes the scores of its sixteen tokens of the
// tile; maxima and weights are exchanged through shared memory, and each warp then sums its part of the head's dims over all
// of the tile's tokens. With one, nothing is exchanged. Either way a row's arithmetic is the same: scores by ascending dims,
// one maximum per tile, sums by ascending tokens.
//
// Scores are in base 2. Static scales are folded into q and the result; row scales multiply columns of scores and weights.
#pragma once

#include "gpu/attention_queries.h"
#include "gpu/attention_results.h"
#include "gpu/attention_stream.h"
#include "gpu/attention_warps.h"

namespace kv8::gpu {

// Weights are 2^14 at most instead of 1, which moves what half floats lose from 2^-24 to 2^-38 of the largest; normalized row
// scales, below 2, still fit above.
constexpr float kWeightExponent = 14;

template <class Format, int kHeadSize, bool kLarge>
class Attention {
    using Stream = TileStream<kHeadSize, Format::bytes, kLarge>;
    using Queries = TileQueries<Format, kHeadSize, kLarge>;
    using Warps = TokenWarps<Format, kHeadSize, kLarge>;
    using M = Matrix<Format>;
    static constexpr AttentionConfig kConfig = Stream::kConfig;
    static constexpr int kTokenWarps = kConfig.token_warps, kTileKeys = kConfig.tile_keys;
    static constexpr int kTokens = M::kTokens, kDims = M::kDims;
    static constexpr int kGroups = Warps::kGroups, kWarpGroups = Warps::kWarpGroups;
    static constexpr int kAtoms = kHeadSize / 16;                                // of 16 dims in a head
    static constexpr int kWarpAtoms = (kAtoms + kTokenWarps - 1) / kTokenWarps;  // that a warp sums
    static constexpr bool kFp8 = Format::bytes == 1;
    static constexpr bool kHoldsQuery = kAtoms <= M::kHeldAtoms;  // in registers; else it is read for each tile
    static constexpr int kWeightParts = Warps::kWeightParts;

  public:
    KV8_DEVICE explicit Attention(const AttentionParams& params)
        : params_(params),
          schedule_(params),
          kv_head_(block() % params.view.kv_heads),
          warps_{warp() / kTokenWarps, warp() % kTokenWarps},
          first_atom_(least(warps_.token_warp * kWarpAtoms, kAtoms)),
          some_atoms_(least(kWarpAtoms, kAtoms - first_atom_)) {}

    KV8_DEVICE void run() {
        if (!schedule_.is_legal()) return;
        const int slot = block() / params_.view.kv_heads;
        const int begin = schedule_.slot_begin(slot), end = schedule_.slot_begin(slot + 1);
        if (begin == end) return;
        {
            Stream stream(params_, schedule_, kv_head_, begin, end);
            // Opaque: RDNA's compiler else keeps values of the next item while it walks this one, in registers that are not there.
#pragma unroll 1
            for (int index = begin; index < end; index++) run_item(stream, opaque(index));
        }
        fold_shared_tiles<kHeadSize, kAttentionWarps>(params_, {uint32_t(kConfig.told_at())});
    }

    // ---- who has what of a result, for compute_splits

    static constexpr int kRows = M::kRows;
    static constexpr bool kMayHaveScales = kFp8;
    KV8_DEVICE int row_in_tile(int r) const { return warps_.row_warp * 16 + M::row(r); }
    KV8_DEVICE bool writes_row() const { return warps_.token_warp == 0 && opaque(M::token(0)) == 0; }

    template <class Body>
    KV8_DEVICE void for_pairs(int r, const Body& body) {
        const int first_dim = opaque(first_atom_ * 16 + M::dim(0));
#pragma unroll
        for (int a = 0; a < kWarpAtoms; a++) {
            if (a >= atoms()) break;
#pragma unroll
            for (int i = 0; i < kDims; i += 2)
                body(output_[a][r][i], output_[a][r][i + 1], first_dim + a * 16 + (M::dim(i) - M::dim(0)));
        }
    }

  private:
    KV8_DEVICE void run_item(Stream& stream, int index) {
        const auto read_work = [&] { return Work<kTileKeys>(params_, kv_head_, schedule_.item(index)); };
        {
            const Work<kTileKeys> work = read_work();
            // Also for none, on AMD: what may be skipped must be kept, in registers that are few.
            if (kCopiesInRegisters || work.first_tile < work.last_tile) {
                load_rows(work);
                load_queries(work.tile);
            }
        }
        compute_splits(*this, params_, schedule_, read_work, 0, kConfig.rows(), [&](int first, int last) {
            start_split();
#pragma unroll 1
            for (int tile = first; tile < last; tile += kTileKeys) {
                const int stage = stream.next();
                walk_tile(stage, tile);
                stream.finish();
            }
            return close_split(first < last);
        });
    }

    // ---- what belongs to an item's rows

    KV8_DEVICE void load_rows(const Work<kTileKeys>& work) {
        const Tile& tile = work.tile;
        // Keys that every row sees need no mask.
        seen_by_all_first_ = most(tile.first_key(tile.rows - 1), work.first_key);
        seen_by_all_last_ = least(tile.last_key(0), work.last_key);
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const int row = row_in_tile(r);
            first_key_[r] = tile.first_key(row);
            last_key_[r] = tile.last_key(row);
        }
    }

    KV8_DEVICE void load_queries(const Tile& tile) {
        const Queries queries(params_, kv_head_);
        // What is read for each tile was, for the last one before. And an item without keys has no barrier of its own.
        if (kCopiesInRegisters || !kHoldsQuery || queries.scaled_by_channel() || params_.alibi_slopes != 0)
            sync_block();
        queries.store_all(tile);
        sync_block();
        if constexpr (kHoldsQuery) Queries::load_operands(query_, warps_.row_warp, kConfig.query_at());
#pragma unroll
        for (int r = 0; r < kRows; r++) factor_[r] = Queries::factor(row_in_tile(r));
    }

    // ---- one split: online softmax

    KV8_DEVICE void start_split() {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            value_scale_[r] = 0;
            largest_[r] = -kInfinity;
#pragma unroll
            for (int g = 0; g < kWarpGroups; g++) weight_[g][r] = 0;
        }
#pragma unroll
        for (int a = 0; a < kWarpAtoms; a++)
#pragma unroll
            for (int r = 0; r < kRows; r++)
#pragma unroll
                for (int d = 0; d < kDims; d++) output_[a][r][d] = 0;
    }

    KV8_DEVICE void walk_tile(int stage, int tile) {
        float s[kWarpGroups][kRows][kTokens];
#pragma unroll
        for (int g = 0; g < kWarpGroups; g++) {
            if (!warps_.has_group(g)) continue;
            const Shared keys = Stream::keys(stage) + warps_.group(g) * 16 * kConfig.pitch;
            if constexpr (kHoldsQuery) {
                M::scores(s[g], query_, keys, kConfig.pitch);
            } else {
#pragma unroll
                for (int r = 0; r < kRows; r++)
#pragma unroll
                    for (int t = 0; t < kTokens; t++) s[g][r][t] = 0;
                add_products(s[g], kConfig.query_at(), keys);
            }
            if (Queries(params_, kv_head_).scaled_by_channel()) add_products(s[g], kConfig.query_remainder_at(), keys);
            scale_scores(s[g], stage, tile, warps_.group(g));
        }
        float decay[kRows];
        raise_maximum(s, decay);

        typename M::Weights weights[kWeightParts][kGroups];
        const bool row_scales = kFp8 && params_.view.v.row_scale_offset >= 0;
#pragma unroll
        for (int g = 0; g < kWarpGroups; g++) {
            if (!warps_.has_group(g)) continue;
            weigh(s[g], g, decay);
            if constexpr (!kFp8) {
                weights[0][g] = M::pack(s[g]);
                if constexpr (kWeightParts == 2) weights[1][g] = M::pack(remainder_of(s[g]).x);
            }
        }
        if constexpr (kFp8) {
            if (row_scales) raise_value_scale(s, stage);
#pragma unroll
            for (int g = 0; g < kWarpGroups; g++) {
                if (!warps_.has_group(g)) continue;
                if (row_scales) scale_weights(s[g], stage, warps_.group(g));
                weights[0][g] = M::pack(s[g]);
            }
        }
        if constexpr (kTokenWarps > 1) warps_.exchange(weights);

        bool decays = false;
#pragma unroll
        for (int r = 0; r < kRows; r++) decays |= decay[r] != 1.0f;
        if (any_lane(decays)) {
#pragma unroll
            for (int r = 0; r < kRows; r++) multiply_row(r, decay[r]);
        }
#pragma unroll
        for (int g = 0; g < kGroups; g++)
#pragma unroll
            for (int part = 0; part < kWeightParts; part++)
                M::accumulate(output_, weights[part][g],
                              Stream::values(stage) + (g * 16 * kConfig.pitch + first_atom_ * 16 * Format::bytes),
                              kConfig.pitch, atoms());
    }

    // Adds the products with what lies in shared memory as q does, a few atoms at a time.
    template <int kFirst = 0>
    KV8_DEVICE void add_products(float (&s)[kRows][kTokens], int queries_at, Shared keys) const {
        constexpr int kMost = kAtoms % 4 == 0 ? 4 : 2, kCount = kAtoms - kFirst < kMost ? kAtoms - kFirst : kMost;
        typename M::Query q[kCount];
        Queries::load_operands(q, warps_.row_warp, queries_at + kFirst * M::kAtomBytes);
        float more[kRows][kTokens];
        M::scores(more, q, keys + kFirst * 16 * Format::bytes, kConfig.pitch);
#pragma unroll
        for (int r = 0; r < kRows; r++)
#pragma unroll
            for (int t = 0; t < kTokens; t++) s[r][t] += more[r][t];
        if constexpr (kFirst + kCount < kAtoms) {
            sync_warp();  // or the compiler would load all of q ahead, into registers that are not there
            add_products<kFirst + kCount>(s, queries_at, keys);
        }
    }

    // Products become scores in base 2: scaled, capped, biased, masked.
    KV8_DEVICE void scale_scores(float (&s)[kRows][kTokens], int stage, int tile, int group) {
        const bool row_scales = kFp8 && params_.view.k.row_scale_offset >= 0;
#pragma unroll
        for (int t = 0; t < kTokens; t++) {
            const int token = group * 16 + M::token(t);
            float scale = 1;
            if (row_scales) scale = load<float>(Stream::key_scales(stage) + 4 * token);
#pragma unroll
            for (int r = 0; r < kRows; r++) {
                s[r][t] *= factor_[r];
                if (row_scales) s[r][t] *= scale;
            }
        }
        if (params_.softcap > 0) {
#pragma unroll
            for (int r = 0; r < kRows; r++)
#pragma unroll
                for (int t = 0; t < kTokens; t++)
                    s[r][t] = tanh_of(divide(s[r][t], params_.softcap)) * (params_.softcap * kLog2E);
        }
        if (params_.alibi_slopes != 0) {
#pragma unroll
            for (int r = 0; r < kRows; r++) {
                const float slope = Queries::slope(row_in_tile(r));
                const int position = last_key_[r] - 1;  // of a row that sees a key
#pragma unroll
                for (int t = 0; t < kTokens; t++)
                    s[r][t] = fused(slope, float(tile + group * 16 + M::token(t) - position), s[r][t]);
            }
        }
        if (tile < seen_by_all_first_ || tile + kTileKeys > seen_by_all_last_) {
#pragma unroll
            for (int r = 0; r < kRows; r++)
#pragma unroll
                for (int t = 0; t < kTokens; t++) {
                    const int key = tile + group * 16 + M::token(t);
                    if (key < first_key_[r] || key >= last_key_[r]) s[r][t] = -kInfinity;
                }
        }
    }

    // The largest score of each row so far, over all token warps; decay: what earlier weights are multiplied by.
    KV8_DEVICE void raise_maximum(const float (&s)[kWarpGroups][kRows][kTokens], float (&decay)[kRows]) {
        float largest[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            largest[r] = -kInfinity;
#pragma unroll
            for (int g = 0; g < kWarpGroups; g++) {
                if (!warps_.has_group(g)) continue;
#pragma unroll
                for (int t = 0; t < kTokens; t++) largest[r] = maximum(largest[r], s[g][r][t]);
            }
            largest[r] = M::row_maximum(largest[r]);
        }
        if constexpr (kTokenWarps > 1) warps_.exchange_maxima(largest);
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const float raised = maximum(largest_[r], largest[r]);
            decay[r] = raised == largest_[r] ? 1.0f : exp2_fast(largest_[r] - raised);
            largest_[r] = raised;
        }
    }

    // Scores become weights; their sum is taken before they are rounded to 16 bits.
    KV8_DEVICE void weigh(float (&s)[kRows][kTokens], int g, const float (&decay)[kRows]) {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const float reference = finite(largest_[r]) - kWeightExponent;
            float sum = 0;
#pragma unroll
            for (int t = 0; t < kTokens; t++) {
                s[r][t] = exp2_fast(s[r][t] - reference);
                sum += s[r][t];
            }
            weight_[g][r] = fused(weight_[g][r], decay[r], sum);
        }
    }

    struct Scores {
        float x[kRows][kTokens];
    };

    // What rounding to bfloat16 takes from weights.
    KV8_DEVICE static Scores remainder_of(const float (&p)[kRows][kTokens]) {
        Scores remainder;
#pragma unroll
        for (int r = 0; r < kRows; r++)
#pragma unroll
            for (int t = 0; t < kTokens; t++) remainder.x[r][t] = p[r][t] - widen_bf16(narrow_bf16(p[r][t]));
        return remainder;
    }

    // A row's sums over V's codes are kept times 1 / value_scale_, the power of two below the largest row scale that it has
    // met: of keys with a weight, since what other rows see may be larger by more than a half float holds.
    KV8_DEVICE void raise_value_scale(const float (&p)[kWarpGroups][kRows][kTokens], int stage) {
        float largest[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) largest[r] = 0;
#pragma unroll
        for (int g = 0; g < kWarpGroups; g++) {
            if (!warps_.has_group(g)) continue;
#pragma unroll
            for (int t = 0; t < kTokens; t++) {
                const float scale = value_scale_of(stage, warps_.group(g), t);
#pragma unroll
                for (int r = 0; r < kRows; r++) largest[r] = maximum(largest[r], p[g][r][t] > 0 ? scale : 0.0f);
            }
        }
#pragma unroll
        for (int r = 0; r < kRows; r++) largest[r] = M::row_maximum(largest[r]);
        if constexpr (kTokenWarps > 1) {
            sync_block();  // all have read the maxima that lie where these go
            warps_.exchange_maxima(largest);
        }
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const float raised = maximum(
                value_scale_[r], __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, largest[r]) & 0x7F800000u));
            if (raised != value_scale_[r]) multiply_row(r, value_scale_[r] * inverse_of_power(raised));
            value_scale_[r] = raised;
        }
    }

    // 1 / x of a power of two that is normal, as its inverse is.
    KV8_DEVICE static float inverse_of_power(float x) {
        return __builtin_bit_cast(float, 0x7F000000u - __builtin_bit_cast(uint32_t, x));
    }

    KV8_DEVICE static float value_scale_of(int stage, int group, int t) {
        return load<float>(Stream::value_scales(stage) + 4 * (group * 16 + M::token(t)));
    }

    KV8_DEVICE void scale_weights(float (&p)[kRows][kTokens], int stage, int group) {
        float inverse[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) inverse[r] = value_scale_[r] > 0 ? inverse_of_power(value_scale_[r]) : 0.0f;
#pragma unroll
        for (int t = 0; t < kTokens; t++) {
            const float scale = value_scale_of(stage, group, t);
#pragma unroll
            for (int r = 0; r < kRows; r++) p[r][t] *= scale * inverse[r];
        }
    }

    KV8_DEVICE void multiply_row(int r, float factor) {
#pragma unroll
        for (int a = 0; a < kWarpAtoms; a++)
#pragma unroll
            for (int d = 0; d < kDims; d++) output_[a][r][d] *= factor;
    }

    // What the split gave: softmax of this lane's rows; the sums become sums of V without its static scale.
    KV8_DEVICE SoftmaxOf<kRows> close_split(bool has_keys) {
        float weight[kRows] = {};
        if (has_keys) warps_.sum_weights(weight_, weight);
        const bool row_scales = kFp8 && params_.view.v.row_scale_offset >= 0;
        SoftmaxOf<kRows> result;
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            result.row[r] = {largest_[r] == -kInfinity ? -kInfinity : largest_[r] - kWeightExponent, weight[r]};
            const float factor = (row_scales ? value_scale_[r] : 1.0f) / M::kStoredV;
            if (factor != 1.0f) multiply_row(r, factor);
        }
        return result;
    }

    // That this warp sums.
    KV8_DEVICE int atoms() const { return kAtoms % kTokenWarps == 0 ? kWarpAtoms : some_atoms_; }

    const AttentionParams& params_;
    const Schedule schedule_;
    const int kv_head_;
    const Warps warps_;
    const int first_atom_, some_atoms_;

    typename M::Query query_[kHoldsQuery ? kAtoms : 1];
    float factor_[kRows];
    int first_key_[kRows], last_key_[kRows];
    int seen_by_all_first_, seen_by_all_last_;

    float largest_[kRows];
    float weight_[kWarpGroups][kRows];  // this lane's part of each group's sum
    float value_scale_[kRows];
    float output_[kWarpAtoms][kRows][kDims];
};

}  // namespace kv8::gpu
