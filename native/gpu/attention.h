// Paged attention on matrix units: a block walks the keys of its items, tile by tile, for one KV head.
//
// The 16 rows of a row warp (the query heads that share the KV head, and several queries) stand in the rows of one matrix, so
// that a key is read once for all of them. With several token warps, each computes the scores of its sixteen tokens of the
// tile; maxima and weights are exchanged through shared memory, and each warp then sums its part of the head's dims over all
// of the tile's tokens. With one, nothing is exchanged. Either way a row's arithmetic is the same: scores by ascending dims,
// one maximum per tile, sums by ascending tokens.
//
// Scores are in base 2. Static scales are folded into q and the result; row scales multiply columns of scores and weights.
//
// It is one class on purpose. With the queries and the warps' exchange in classes of their own, NVIDIA's code stays as it is to
// the byte, but AMD's compiler orders it otherwise and spills more (gfx1201, head size 112: eleven registers instead of three).
#pragma once

#include "gpu/attention_results.h"
#include "gpu/attention_stream.h"
#include "gpu/matrix.h"

namespace kv8::gpu {

// Weights are 2^14 at most instead of 1, which moves what half floats lose from 2^-24 to 2^-38 of the largest; normalized row
// scales, below 2, still fit above.
constexpr float kWeightExponent = 14;

template <class Format, int kHeadSize, bool kLarge>
class Attention {
    using Stream = TileStream<kHeadSize, Format::bytes, kLarge>;
    using M = Matrix<Format>;
    static constexpr AttentionConfig kConfig = Stream::kConfig;
    static constexpr int kTokenWarps = kConfig.token_warps, kTileKeys = kConfig.tile_keys;
    static constexpr int kTokens = M::kTokens, kDims = M::kDims;
    static constexpr int kGroups = kConfig.groups();                               // of 16 tokens in a tile
    static constexpr int kWarpGroups = (kGroups + kTokenWarps - 1) / kTokenWarps;  // that a warp scores
    static constexpr int kAtoms = kHeadSize / 16;                                  // of 16 dims in a head
    static constexpr int kWarpAtoms = (kAtoms + kTokenWarps - 1) / kTokenWarps;    // that a warp sums
    static constexpr bool kFp8 = Format::bytes == 1;
    static constexpr bool kHoldsQuery = kAtoms <= M::kHeldAtoms;  // in registers; else it is read for each tile
    static constexpr int kWeightParts = attention_weight_parts(Format::dtype == KV8_BF16);

  public:
    KV8_DEVICE explicit Attention(const AttentionParams& params)
        : params_(params),
          schedule_(params),
          kv_head_(block() % params.view.kv_heads),
          row_warp_(warp() / kTokenWarps),
          token_warp_(warp() % kTokenWarps),
          first_atom_(least(token_warp_ * kWarpAtoms, kAtoms)),
          some_atoms_(least(kWarpAtoms, kAtoms - first_atom_)) {}

    KV8_DEVICE void run() {
        if (!schedule_.is_legal()) return;
        const int slot = block() / params_.view.kv_heads;
        const int begin = schedule_.slot_begin(slot), end = schedule_.slot_begin(slot + 1);
        if (begin == end) return;
        Stream stream(params_, schedule_, kv_head_, begin, end);
#pragma unroll 1
        for (int index = begin; index < end; index++) run_item(stream, index);
    }

    // ---- who has what of a result, for compute_splits

    static constexpr int kRows = M::kRows;
    static constexpr bool kMayHaveScales = kFp8;
    KV8_DEVICE int row_in_tile(int r) const { return row_warp_ * 16 + M::row(r); }
    KV8_DEVICE bool writes_row() const { return token_warp_ == 0 && opaque(M::token(0)) == 0; }

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
                load_queries(work);
            }
        }
        const int splits =
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
        // By as many registers as there are: large tiles have none to spare, and many rows.
        fold_if_last<kHeadSize, kAttentionWarps, kLarge ? 1 : 2>(params_, schedule_, index, kv_head_, splits,
                                                                 {uint32_t(kConfig.told_at())});
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

    static constexpr int kQueryPairs = kHeadSize / 2, kQuerySteps = (kQueryPairs + kLanes - 1) / kLanes;
    static constexpr int kRowsAtOnce = kCopiesInRegisters ? 1 : 4;  // of a warp, whose loads are under way together
    using RawQueries = uint32_t[kRowsAtOnce][kQuerySteps];          // pairs of dims

    // q to 16-bit floats in shared memory, from there to operands. A row is brought near 2^8 by a power of two, so that
    // bfloat16's range fits a half float; the power, and what scales are the same for all dims, return in factor_. With scales
    // by channel a product is not a half float any more, and what rounding took is multiplied with the keys too.
    KV8_DEVICE void load_queries(const Work<kTileKeys>& work) {
        const kv8_side& side = params_.view.k;
        const Shared rows = {uint32_t(kConfig.query_at())}, factors = {uint32_t(kConfig.factor_at())};
        // What is read for each tile was, for the last one before. And an item without keys has no barrier of its own.
        if (kCopiesInRegisters || !kHoldsQuery || scales_by_channel() || params_.alibi_slopes != 0) sync_block();
        static_assert(kConfig.rows() % (kRowsAtOnce * kAttentionWarps) == 0, "warps have as many rows");
        const int own = opaque(lane());
        const bool whole_pairs =
            ((params_.q.data.ptr | uint64_t(params_.q.token_stride) | uint64_t(params_.q.head_stride)) & 3) == 0;
        float scale[kQuerySteps][2];
#pragma unroll
        for (int j = 0; j < kQuerySteps; j++) {
            const int pair = j * kLanes + own;
            scale[j][0] = scale[j][1] = 1;
            if (!scales_by_channel() || pair >= kQueryPairs) continue;
            scale[j][0] = checked_channel_scale(side, kv_head_, 2 * pair, params_.fault);
            scale[j][1] = checked_channel_scale(side, kv_head_, 2 * pair + 1, params_.fault);
        }
#pragma unroll 1
        for (int first = warp(); first < kConfig.rows(); first += kRowsAtOnce * kAttentionWarps) {
            RawQueries raw;
            if (whole_pairs)
                read_queries(raw, work.tile, first, own,
                             [](uint64_t row, int pair) { return load_at<uint32_t>(row, pair); });
            else
                read_queries(raw, work.tile, first, own, [](uint64_t row, int pair) {
                    return load_at<uint16_t>(row, 2 * pair) | uint32_t(load_at<uint16_t>(row, 2 * pair + 1)) << 16;
                });
            int own_power = 0;  // of the row that this lane tells the factor of
#pragma unroll
            for (int i = 0; i < kRowsAtOnce; i++) {
                const int row = first + i * kAttentionWarps;
                float low[kQuerySteps], high[kQuerySteps], largest = 0;
#pragma unroll
                for (int j = 0; j < kQuerySteps; j++) {
                    low[j] = widen_query(uint16_t(raw[i][j])) * scale[j][0];
                    high[j] = widen_query(uint16_t(raw[i][j] >> 16)) * scale[j][1];
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
                for (int j = 0; j < kQuerySteps; j++) {
                    const int pair = j * kLanes + own;
                    if (kQueryPairs % kLanes != 0 && pair >= kQueryPairs) continue;
                    const float x = low[j] * power_of_two(-power), y = high[j] * power_of_two(-power);
                    const uint32_t packed = Format::dtype == KV8_BF16 ? pack_bf16(x, y) : pack_f16(x, y);
                    M::store_query(to, kConfig.query_pitch, row % 16, pair, packed);
                    if (scales_by_channel())
                        M::store_query(
                            to + kRemainder, kConfig.query_pitch, row % 16, pair,
                            pack_f16(x - widen_f16(uint16_t(packed)), y - widen_f16(uint16_t(packed >> 16))));
                }
            }
            if (own < kRowsAtOnce) {
                const int row = first + own * kAttentionWarps;
                float factor = params_.softmax_scale * power_of_two(own_power) / M::kStoredK;
                if (kFp8 && side.chan.ptr != 0 && !scales_by_channel())
                    factor *= checked_channel_scale(side, kv_head_, 0, params_.fault);
                if (params_.softcap == 0) factor *= kLog2E;
                store(factors + 4 * row, factor);
                if (params_.alibi_slopes != 0)
                    store(slopes() + 4 * row, load_at<float>(params_.alibi_slopes, work.tile.head(row)) * kLog2E);
            }
        }
        sync_block();
        if constexpr (kHoldsQuery) load_operands(query_, rows);
#pragma unroll
        for (int r = 0; r < kRows; r++) factor_[r] = load<float>(factors + 4 * row_in_tile(r));
    }

    // Pairs as they lie there, of either 16-bit type: a conversion would wait for its load before the next.
    template <class Load>
    KV8_DEVICE void read_queries(RawQueries& raw, const Tile& tile, int first, int own, const Load& load_pair) const {
#pragma unroll
        for (int i = 0; i < kRowsAtOnce; i++) {
            const int row = first + i * kAttentionWarps;
            const uint64_t from = row_of(params_.q, tile.token(row), tile.head(row));
#pragma unroll
            for (int j = 0; j < kQuerySteps; j++) {
                const int pair = j * kLanes + own;
                raw[i][j] = pair < kQueryPairs && row < tile.rows ? load_pair(from, pair) : 0;
            }
        }
    }

    KV8_DEVICE static Shared slopes() { return {uint32_t(kConfig.slope_at())}; }
    static constexpr int kRemainder = kConfig.query_remainder_at() - kConfig.query_at();

    KV8_DEVICE bool scales_by_channel() const {
        return kFp8 && params_.view.k.chan.ptr != 0 && params_.view.k.chan_dim_stride != 0;
    }

    template <int kCount>
    KV8_DEVICE void load_operands(typename M::Query (&q)[kCount], Shared rows) const {
#pragma unroll
        for (int atom = 0; atom < kCount; atom++)
            q[atom] =
                M::template load_query<kCount>(rows + row_warp_ * 16 * kConfig.query_pitch, kConfig.query_pitch, atom);
    }

    KV8_DEVICE float widen_query(uint16_t x) const { return params_.q.dtype == KV8_F16 ? widen_f16(x) : widen_bf16(x); }
    KV8_DEVICE static float magnitude(float x) { return x < 0 ? -x : x; }
    KV8_DEVICE static int exponent_of(float x) { return int(__builtin_bit_cast(uint32_t, x) >> 23 & 0xFF) - 127; }
    KV8_DEVICE static float power_of_two(int n) { return __builtin_bit_cast(float, uint32_t(n + 127) << 23); }

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

    // The atoms of the output that this warp sums.
    KV8_DEVICE int atoms() const { return kAtoms % kTokenWarps == 0 ? kWarpAtoms : some_atoms_; }

    // A warp's g-th group of sixteen tokens; there may be fewer groups than token warps.
    KV8_DEVICE int group(int g) const { return token_warp_ + g * kTokenWarps; }
    KV8_DEVICE bool has_group(int g) const { return kGroups % kTokenWarps == 0 || group(g) < kGroups; }

    KV8_DEVICE void walk_tile(int stage, int tile) {
        float s[kWarpGroups][kRows][kTokens];
#pragma unroll
        for (int g = 0; g < kWarpGroups; g++) {
            if (!has_group(g)) continue;
            const Shared keys = Stream::keys(stage) + group(g) * 16 * kConfig.pitch;
            if constexpr (kHoldsQuery) {
                M::scores(s[g], query_, keys, kConfig.pitch);
            } else {
#pragma unroll
                for (int r = 0; r < kRows; r++)
#pragma unroll
                    for (int t = 0; t < kTokens; t++) s[g][r][t] = 0;
                add_products(s[g], kConfig.query_at(), keys);
            }
            if (scales_by_channel()) add_products(s[g], kConfig.query_remainder_at(), keys);
            scale_scores(s[g], stage, tile, group(g));
        }
        float decay[kRows];
        raise_maximum(s, decay);

        typename M::Weights weights[kWeightParts][kGroups];
        const bool row_scales = kFp8 && params_.view.v.row_scale_offset >= 0;
#pragma unroll
        for (int g = 0; g < kWarpGroups; g++) {
            if (!has_group(g)) continue;
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
                if (!has_group(g)) continue;
                if (row_scales) scale_weights(s[g], stage, group(g));
                weights[0][g] = M::pack(s[g]);
            }
        }
        if constexpr (kTokenWarps > 1) exchange(weights);

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
        load_operands(q, {uint32_t(queries_at + kFirst * M::kAtomBytes)});
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
                const float slope = load<float>(slopes() + 4 * row_in_tile(r));
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
                if (!has_group(g)) continue;
#pragma unroll
                for (int t = 0; t < kTokens; t++) largest[r] = maximum(largest[r], s[g][r][t]);
            }
            largest[r] = M::row_maximum(largest[r]);
        }
        if constexpr (kTokenWarps > 1) exchange_maxima(largest);
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
            if (!has_group(g)) continue;
#pragma unroll
            for (int t = 0; t < kTokens; t++) {
                const float scale = value_scale_of(stage, group(g), t);
#pragma unroll
                for (int r = 0; r < kRows; r++) largest[r] = maximum(largest[r], p[g][r][t] > 0 ? scale : 0.0f);
            }
        }
#pragma unroll
        for (int r = 0; r < kRows; r++) largest[r] = M::row_maximum(largest[r]);
        if constexpr (kTokenWarps > 1) {
            sync_block();  // all have read the maxima that lie where these go
            exchange_maxima(largest);
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

    // ---- between the token warps of a row warp

    // Every warp's weights to every warp. What is written here was last read before the barriers of the tile's start.
    KV8_DEVICE void exchange(typename M::Weights (&weights)[kWeightParts][kGroups]) {
        const Shared rows = {uint32_t(kConfig.weight_at() + row_warp_ * 16 * kConfig.weight_pitch)};
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

    // Joins what the token warps have for a row: one number for all groups of a warp, or one for each group, in the groups'
    // order.
    template <int kValues, class Join>
    KV8_DEVICE void exchange_rows(const float (&own)[kValues][kRows], float (&joined)[kRows], const Join& join) {
        constexpr int kAll = kValues == kWarpGroups ? kGroups : kTokenWarps;
        static_assert(kAll == 1 || kAll == 2 || kAll == 4, "a row's numbers are read by one load");
        struct alignas(4 * kAll) Numbers {
            float x[kAll];
        };
        const Shared at = {uint32_t(kConfig.maximum_at() + row_warp_ * 16 * kGroups * 4)};
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
            for (int g = 1; g < kAll; g++) joined[r] = join(joined[r], all.x[g]);
        }
    }

    KV8_DEVICE void exchange_maxima(float (&largest)[kRows]) {
        float of_warp[1][kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) of_warp[0][r] = largest[r];
        exchange_rows(of_warp, largest, [](float a, float b) { return maximum(a, b); });
    }

    KV8_DEVICE void sum_weights(float (&weight)[kRows]) {
        float of_group[kWarpGroups][kRows];
#pragma unroll
        for (int g = 0; g < kWarpGroups; g++)
#pragma unroll
            for (int r = 0; r < kRows; r++) of_group[g][r] = M::row_sum(weight_[g][r]);
        if constexpr (kTokenWarps > 1) {
            exchange_rows(of_group, weight, [](float a, float b) { return a + b; });
        } else {
#pragma unroll
            for (int r = 0; r < kRows; r++) {
                weight[r] = of_group[0][r];
#pragma unroll
                for (int g = 1; g < kWarpGroups; g++) weight[r] += of_group[g][r];
            }
        }
    }

    // ---- results

    // What the split gave: softmax of this lane's rows; the sums become sums of V without its static scale.
    KV8_DEVICE SoftmaxOf<kRows> close_split(bool has_keys) {
        float weight[kRows] = {};
        if (has_keys) sum_weights(weight);
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

    const AttentionParams& params_;
    const Schedule schedule_;
    const int kv_head_, row_warp_, token_warp_, first_atom_, some_atoms_;

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
