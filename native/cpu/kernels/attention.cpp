// Paged attention in float32, and for 16-bit queries in products of pairs of bfloat16 where the instruction set has them. An
// item walks its keys in tiles, and in each tile its KV heads: K and V rows are read and converted for all query heads of the
// group and all queries of the tile at once, scores go through an online softmax in base 2, and each split's result is folded
// into the row's total in ascending order. What a row computes is the same whichever rows, heads, items or chunks stand beside it.
#include "cpu/attention_rows.h"
#include "cpu/kernels.h"
#include "cpu/kv_tile.h"
#include "cpu/pair_products.h"
#include "cpu/tile_products.h"

namespace kv8::cpu::KV8_ISA {
namespace {

// One worker's private memory, cut into arrays. Rows are those of all of an item's heads.
struct Scratch {
    float *q, *sums, *totals;  // [rows][head_size]
    uint8_t* wide;             // [kChunkKeys][head_size] of K or V in the form that the products read, float32 at most
    float* scores;             // [rows][kTileKeys]: then the weights; of one head at a time
    uint16_t*
        pair_weights;  // [rows][2][kTileKeys]: weights in two parts of bfloat16, for products of pairs; of one head
    float *maximum, *weight;              // [rows]
    float *total_maximum, *total_weight;  // [rows]
    uint64_t bytes;

    KV8_INLINE Scratch(const AttentionPlan& plan, void* memory) {
        char* at = static_cast<char*>(memory);
        const auto take = [&](uint64_t floats) {
            float* const array = reinterpret_cast<float*>(at);
            at += (floats * 4 + 63) / 64 * 64;
            return array;
        };
        const uint64_t rows = uint64_t(plan.most_rows), head_size = uint64_t(plan.head_size);
        q = take(rows * head_size);
        sums = take(rows * head_size);
        totals = take(rows * head_size);
        wide = reinterpret_cast<uint8_t*>(take(kChunkKeys * head_size));
        scores = take(rows * kTileKeys);
        pair_weights = reinterpret_cast<uint16_t*>(take(kPairs ? rows * kTileKeys : 0));
        maximum = take(rows);
        weight = take(rows);
        total_maximum = take(rows);
        total_weight = take(rows);
        bytes = uint64_t(at - static_cast<char*>(memory));
    }
};

// Which products are of pairs. K's scales must be the same for all channels, so that they can be applied to the scores: q times a
// scale has too many bits.
struct Paired {
    bool scores, values;
};
KV8_INLINE Paired paired(const kv8_attention_args& args) {
    const kv8_side &k = args.view->k, &v = args.view->v;
    const bool may = kPairs && args.q.dtype != KV8_F32;
    return {may && fits_bfloat(k.dtype) && shares_scale(k), may && fits_bfloat(v.dtype)};
}

// What is in use and what is on its way, of K and V, stay in the first-level cache together. Few lines are asked for at once: many
// would fill the processor's queue of misses, and it would wait instead of computing.
constexpr int kChunkBytes = 2048, kBytesAhead = 8192;

// K or V of the tile in use and of the next, which is asked for meanwhile.
class SideStream {
  public:
    KV8_INLINE SideStream(const kv8_side& side, bool pairs, int query_rows, int head_size, uint8_t* wide)
        : reading_(reading_of(side.dtype, query_rows, pairs)),
          head_size_(head_size),
          row_bytes_(int(head_size * element_bytes(side.dtype))),
          chunk_(query_rows > kMostRowsInHalf ? kChunkKeys : keys_within(kChunkBytes)),
          ahead_(keys_within(kBytesAhead)),
          wide_(wide) {
        const int wide_row_bytes = head_size * (reading_.form == RowForm::kFloat ? 4 : 2);
        for (int i = 0; i < kChunkKeys; i++) wide_rows_[i] = wide + i * wide_row_bytes;
    }

    KV8_INLINE TileSide& current() { return tiles_[current_]; }
    // To be filled with the rows of the next tile.
    KV8_INLINE TileSide& next() {
        has_next_ = true;
        return tiles_[1 - current_];
    }
    KV8_INLINE const float* scales() const { return tiles_[current_].scales; }
    KV8_INLINE float factor() const { return reading_.factor; }
    KV8_INLINE RowForm form() const { return reading_.form; }
    // The next tile becomes the one in use.
    KV8_INLINE void advance() {
        current_ = 1 - current_;
        has_next_ = false;
    }
    // Asks for the keys of the next tile that are read before any other would ask for them.
    KV8_INLINE void ask_for_first() const {
        const TileSide& next = tiles_[1 - current_];
        prefetch_rows(next.rows + next.begin, int(least(ahead_, kTileKeys - next.begin)), row_bytes_);
    }

    // The end of the chunk that a key is in.
    KV8_INLINE int chunk_end(int key) const { return (key / chunk_ + 1) * chunk_; }

    // Keys [first, first + count), which are in one chunk, in the form to read, while as many later ones are asked for.
    KV8_INLINE const uint8_t* const* rows(int first, int count) {
        const uint8_t* const* const here = tiles_[current_].rows + first;
        const uint8_t* const* const asked = later(first + ahead_, count);
        if (reading_.widen == nullptr) {
            prefetch_rows(asked, count, row_bytes_);
            return here;
        }
        reading_.widen(here, asked, count, head_size_, wide_);
        return wide_rows_;
    }

  private:
    KV8_INLINE int keys_within(int bytes) const {
        int keys = kChunkKeys;
        while (keys > kSums && keys * row_bytes_ > bytes) keys /= 2;
        return keys;
    }

    // Rows of keys from `first` on, of the tile in use or, behind its end, of the next; where neither has so many, some of the tile's.
    KV8_INLINE const uint8_t* const* later(int first, int count) const {
        const TileSide &here = tiles_[current_], &next = tiles_[1 - current_];
        if (first + count <= kTileKeys) return here.rows + first;
        if (has_next_ && first >= kTileKeys && first - kTileKeys + count <= kTileKeys)
            return next.rows + first - kTileKeys;
        return here.rows + kTileKeys - count;
    }

    const RowReading reading_;
    const int head_size_, row_bytes_, chunk_, ahead_;
    uint8_t* const wide_;
    TileSide tiles_[2];
    int current_ = 0;
    bool has_next_ = false;
    const uint8_t* wide_rows_[kChunkKeys];
};

class Item {
  public:
    KV8_INLINE Item(const kv8_attention_args& args, const AttentionPlan& plan, const AttentionItem& item, void* scratch)
        : args_(args),
          plan_(plan),
          item_(item),
          queries_(args, plan, item),
          cache_(*args.view,
                 reinterpret_cast<const uint8_t*>(args.block_table.ptr) + item.sequence * args.block_table_stride * 4),
          scratch_(plan, scratch),
          group_(plan.group()),
          rows_(item.queries * group_),
          all_rows_(item.kv_heads * rows_),
          head_size_(plan.head_size),
          paired_(paired(args)),
          k_(args.view->k, paired_.scores, rows_, head_size_, scratch_.wide),
          v_(args.view->v, paired_.values, rows_, head_size_, scratch_.wide) {}

    void run() {
        for (int head = 0; head < item_.kv_heads; head++) load_queries(head);
        const int64_t first_key = most(queries_.first_key(0), int64_t(item_.first_split) * kSplitKeys);
        end_ = least(queries_.last_key(item_.queries - 1), (int64_t(item_.first_split) + item_.splits) * kSplitKeys);
        if (first_key < end_) {
            locate_next(0, first_key);
            k_.ask_for_first();
            v_.ask_for_first();
        }
        for (int64_t first = first_key; first < end_;) {
            const int64_t split = first / kSplitKeys;
            const int64_t last = least((split + 1) * kSplitKeys, end_);
            walk(first, last);
            for (int row = 0; row < all_rows_; row++)
                if (sees(query_of(row), split)) keep_split(row, split);
            first = last;
        }
        if (item_.partial >= 0) return;
        for (int row = 0; row < all_rows_; row++) {
            const int query = query_of(row);
            finish_row(args_, plan_, queries_.token(query), kv_head_of(row), head_of(row), total(row),
                       queries_.first_key(query) < queries_.last_key(query), v_.factor());
        }
    }

  private:
    // Of a row, which are [kv_heads][queries][group].
    KV8_INLINE int query_of(int row) const { return row % rows_ / group_; }
    KV8_INLINE int kv_head_of(int row) const { return item_.first_kv_head + row / rows_; }
    KV8_INLINE int head_of(int row) const { return kv_head_of(row) * group_ + row % group_; }
    KV8_INLINE Softmax current(int row) const {
        return {scratch_.sums + row * head_size_, scratch_.maximum[row], scratch_.weight[row]};
    }
    KV8_INLINE Softmax total(int row) const {
        return {scratch_.totals + row * head_size_, scratch_.total_maximum[row], scratch_.total_weight[row]};
    }
    KV8_INLINE bool sees(int query, int64_t split) const {
        return queries_.first_key(query) < (split + 1) * kSplitKeys && queries_.last_key(query) > split * kSplitKeys;
    }

    // The scale of scores before a softcap, or in units of ln 2.
    KV8_INLINE float softmax_scale() const {
        return args_.softcap > 0 ? args_.softmax_scale : float(args_.softmax_scale / kLn2);
    }

    // Of what the products of a row give.
    KV8_INLINE float score_factor(int row) const {
        return paired_.scores ? softmax_scale() * chan_scale(args_.view->k, kv_head_of(row)) : k_.factor();
    }

    // q * softmax_scale * K's channel scales, as float32; for products of pairs q alone, and the scales are the scores'.
    void load_queries(int head) {
#if KV8_PAIRS
        if (paired_.scores) return load_pair_queries(head);
#endif
        float channels[kMaxHeadSize];
        for (int d = 0; d < head_size_; d++) channels[d] = chan_scale(args_.view->k, item_.first_kv_head + head, d);
        const float scale = softmax_scale();
        for (int row = head * rows_; row < (head + 1) * rows_; row++) {
            const uint8_t* const from = row_at(args_.q, queries_.token(query_of(row)), head_of(row));
            float* const to = scratch_.q + row * head_size_;
            with_row_dtype(args_.q.dtype, [&](auto element) {
                for (int d = 0; d < head_size_; d += kLanes)
                    store(to + d, element.load(from + d * element.bytes) * scale * load<f32>(channels + d));
            });
        }
    }

#if KV8_PAIRS
    KV8_INLINE int query_parts() const { return args_.q.dtype == KV8_BF16 ? 1 : 2; }
    // A head's rows of q in parts of bfloat16: [rows][parts][head_size].
    KV8_INLINE uint8_t* pair_queries(int head) const {
        return reinterpret_cast<uint8_t*>(scratch_.q + head * rows_ * head_size_);
    }

    void load_pair_queries(int head) {
        const int bytes = head_size_ * 2;
        uint8_t* to = pair_queries(head);
        for (int row = head * rows_; row < (head + 1) * rows_; row++, to += query_parts() * bytes) {
            const uint8_t* const from = row_at(args_.q, queries_.token(query_of(row)), head_of(row));
            if (args_.q.dtype == KV8_BF16)
                std::memcpy(to, from, size_t(bytes));
            else
                for (int d = 0; d < bytes; d += kWidth * 2)
                    store_bfloats(to + bytes + d, store_bfloats(to + d, HalfForm::load(from + d)));
        }
    }

    KV8_INLINE void score_pairs(int head, int begin, int end) {
        for (int first = begin; first < end;) {
            const int after = int(least(k_.chunk_end(first), (end + kSums - 1) / kSums * kSums));
            const uint8_t* const* const rows = k_.rows(first, after - first);
            float* const scores = scratch_.scores + first;
            if (query_parts() == 1)
                dot_pair_chunk<1>(pair_queries(head), rows_, rows, after - first, head_size_, scores);
            else
                dot_pair_chunk<2>(pair_queries(head), rows_, rows, after - first, head_size_, scores);
            first = after;
        }
    }

    KV8_INLINE void accumulate_pairs(float* sums, bool all_see, int64_t tile, int begin, int end) {
        for (int first = begin; first < end;) {
            const int after = int(least(v_.chunk_end(first), end));
            const uint8_t* const* const rows = v_.rows(first, after - first);
            if (all_see) accumulate_pair_chunk(scratch_.pair_weights, rows_, rows, first, after, head_size_, sums);
            for (int query = 0; !all_see && query < item_.queries; query++) {
                const Seen seen = seen_by(query, tile, first, after);
                const int row = query * group_;
                if (seen.begin < seen.end)
                    accumulate_pair_chunk(scratch_.pair_weights + row * 2 * kTileKeys, group_,
                                          rows + seen.begin - first, seen.begin, seen.end, head_size_,
                                          sums + row * head_size_);
            }
            first = after;
        }
    }

    // Weights of keys [begin, end) in two parts, from key i on; the pairs at the range's ends have zeros for the keys outside, whose
    // scales may be NaN.
    KV8_INLINE void store_pair_weights(uint16_t* parts, rf p, int i, int begin, int end) const {
        const rf lane = lane_numbers() + float(i);
        p = lane < all(float(begin)) ? rf{} : lane < all(float(end)) ? p : rf{};
        store_bfloats(parts + kTileKeys + i, store_bfloats(parts + i, p));
    }
#endif

    // Finds a head's rows of the tile of a key, up to the item's end.
    KV8_INLINE void locate_next(int head, int64_t key) {
        const int64_t tile = key / kTileKeys * kTileKeys;
        cache_.locate(item_.first_kv_head + head, tile, key, least(tile + kTileKeys, end_), k_.next(), v_.next());
    }

    // Softmax of every row over keys [first, last) of one split.
    void walk(int64_t first, int64_t last) {
        std::memset(scratch_.sums, 0, size_t(all_rows_) * head_size_ * 4);
        for (int row = 0; row < all_rows_; row++) {
            scratch_.maximum[row] = -kInfinity;
            scratch_.weight[row] = 0;
        }
        for (int64_t tile = first / kTileKeys * kTileKeys; tile < last; tile += kTileKeys) {
            const int begin = int(most(first - tile, 0)), end = int(least(last - tile, kTileKeys));
            for (int head = 0; head < item_.kv_heads; head++) {
                k_.advance();
                v_.advance();
                if (head + 1 < item_.kv_heads)
                    locate_next(head + 1, tile + begin);
                else if (tile + kTileKeys < end_)
                    locate_next(0, tile + kTileKeys);
                cache_.read_scales(item_.first_kv_head + head, tile, tile + begin, tile + end, k_.current(),
                                   v_.current());
                score(head, begin / kSums * kSums, end);
                softmax(head, tile, begin, end);
                accumulate(head, tile, begin, end);
            }
        }
    }

    // The keys of a tile that a query sees, of those in [begin, end).
    struct Seen {
        int begin, end;
    };
    KV8_INLINE Seen seen_by(int query, int64_t tile, int begin, int end) const {
        return {int(most(queries_.first_key(query) - tile, begin)), int(least(queries_.last_key(query) - tile, end))};
    }

    // Scores of all rows of a head with keys [begin, end) of the tile, and with some after them, which mean nothing.
    KV8_INLINE void score(int head, int begin, int end) {
#if KV8_PAIRS
        if (paired_.scores) return score_pairs(head, begin, end);
#endif
        const float* const q = scratch_.q + head * rows_ * head_size_;
        with_form(k_.form(), [&](auto form) {
            for (int first = begin; first < end;) {
                const int after = int(least(k_.chunk_end(first), (end + kSums - 1) / kSums * kSums));
                dot_chunk<decltype(form)>(q, rows_, k_.rows(first, after - first), after - first, head_size_,
                                          scratch_.scores + first);
                first = after;
            }
        });
    }

    KV8_INLINE void softmax(int head, int64_t tile, int begin, int end) {
        for (int query = 0; query < item_.queries; query++) {
            const Seen seen = seen_by(query, tile, begin, end);
            if (seen.begin >= seen.end) continue;
            for (int i = query * group_; i < (query + 1) * group_; i++)
                softmax_row(head, i, tile, seen.begin, seen.end);
        }
    }

    // Adds weighted V of keys [begin, end) of the tile to the sums of a head's rows. Where rows see different keys, each query takes only
    // those that it sees: a hidden key's V may hold NaN.
    KV8_INLINE void accumulate(int head, int64_t tile, int begin, int end) {
        float* const sums = scratch_.sums + head * rows_ * head_size_;
        const bool all_see =
            queries_.first_key(item_.queries - 1) <= tile + begin && queries_.last_key(0) >= tile + end;
#if KV8_PAIRS
        if (paired_.values) return accumulate_pairs(sums, all_see, tile, begin, end);
#endif
        with_form(v_.form(), [&](auto form) {
            using Form = decltype(form);
            for (int first = begin; first < end;) {
                const int after = int(least(v_.chunk_end(first), end));
                const uint8_t* const* const rows = v_.rows(first, after - first);
                if (all_see)
                    accumulate_chunk<Form>(scratch_.scores + first, rows_, rows, after - first, head_size_, sums);
                for (int query = 0; !all_see && query < item_.queries; query++) {
                    const Seen seen = seen_by(query, tile, first, after);
                    const int row = query * group_;
                    if (seen.begin < seen.end)
                        accumulate_chunk<Form>(scratch_.scores + row * kTileKeys + seen.begin, group_,
                                               rows + seen.begin - first, seen.end - seen.begin, head_size_,
                                               sums + row * head_size_);
                }
                first = after;
            }
        });
    }

    // Scores of a head's row become weights of keys [begin, end), times V's row scales; maximum and weight of the row follow, and its
    // sums where the maximum has grown.
    KV8_INLINE void softmax_row(int head, int head_row, int64_t tile, int begin, int end) {
        const int row = head * rows_ + head_row;
        float* const scores = scratch_.scores + head_row * kTileKeys;
        const int from = begin / kWidth * kWidth;
        const rf factor = all(score_factor(row));
        // Read once: a store of scores might change them, for all that the compiler knows.
        const bool has_scales = args_.view->k.row_scale_offset >= 0, has_slopes = args_.alibi_slopes.ptr != 0;
        const float softcap = args_.softcap;
        rf largest = all(-kInfinity);
        for (int i = from; i < end; i += kWidth) {
            rf s = load<rf>(scores + i) * factor;
            if (has_scales) s *= load<rf>(k_.scales() + i);
            if (softcap > 0) s = tanh_of(s / softcap) * (softcap * kLog2E);
            if (has_slopes) {
                const rf distance = lane_numbers() + float(tile + i - queries_.position(query_of(row)));
                s = fused(distance, all(float_at(args_.alibi_slopes, head_of(row)) * kLog2E), s);
            }
            if (i < begin || i + kWidth > end) {
                const rf lane = lane_numbers() + float(i);
                s = lane < all(float(begin)) ? all(-kInfinity) : lane < all(float(end)) ? s : all(-kInfinity);
            }
            largest = s > largest ? s : largest;
            store(scores + i, s);
        }
        const float old_maximum = scratch_.maximum[row], tile_maximum = largest_of(largest);
        if (tile_maximum > old_maximum) {
            scratch_.maximum[row] = tile_maximum;
            decay(row, one_exp2_of_negative(old_maximum - tile_maximum));
        }
        const rf maximum = all(finite_maximum(scratch_.maximum[row]));
        const bool has_value_scales = args_.view->v.row_scale_offset >= 0;
        rf weights = {};
        for (int i = from; i < end; i += kWidth) {
            rf p = exp2_of_negative(load<rf>(scores + i) - maximum);
            weights += p;
            if (has_value_scales) p *= load<rf>(v_.scales() + i);
#if KV8_PAIRS
            if (paired_.values) {
                store_pair_weights(scratch_.pair_weights + head_row * 2 * kTileKeys, p, i, begin, end);
                continue;
            }
#endif
            store(scores + i, p);
        }
        scratch_.weight[row] += sum_of(weights);
    }

    KV8_INLINE void decay(int row, float factor) {
        scratch_.weight[row] *= factor;
        float* const sums = scratch_.sums + row * head_size_;
        for (int d = 0; d < head_size_; d += kWidth) store(sums + d, load<rf>(sums + d) * factor);
    }

    // A finished split goes into the row's total, or to the workspace where other items have the other splits.
    KV8_INLINE void keep_split(int row, int64_t split) {
        const Softmax result = current(row);
        if (item_.partial >= 0) {
            float* const to = plan_.partial(item_.partial + (split - item_.first_split) * all_rows_ + row);
            std::memcpy(to, result.sums, size_t(head_size_) * 4);
            to[head_size_] = result.maximum;
            to[head_size_ + 1] = result.weight;
            return;
        }
        Softmax whole = total(row);
        if (split == queries_.first_key(query_of(row)) / kSplitKeys)
            copy(whole, result, head_size_);
        else
            fold(whole, result, head_size_);
        scratch_.total_maximum[row] = whole.maximum;
        scratch_.total_weight[row] = whole.weight;
    }

    const kv8_attention_args& args_;
    const AttentionPlan& plan_;
    const AttentionItem& item_;
    const Queries queries_;
    const PagedKeys cache_;
    const Scratch scratch_;
    const int group_, rows_, all_rows_, head_size_;  // rows_: of one KV head
    const Paired paired_;
    SideStream k_, v_;
    int64_t end_ = 0;
};

uint64_t scratch_bytes(const AttentionPlan& plan) { return Scratch(plan, nullptr).bytes; }

void run_item(const kv8_attention_args& args, const AttentionPlan& plan, int64_t index, void* scratch) {
    Item(args, plan, plan.item(index), scratch).run();
}

// Folds the splits that several items left in the workspace.
void combine_tiles(const kv8_attention_args& args, const AttentionPlan& plan, int64_t begin, int64_t end) {
    const int group = plan.group(), head_size = plan.head_size;
    for (int64_t i = begin; i < end; i++) {
        const AttentionItem& tile = plan.combine(i);
        const Queries queries(args, plan, tile);
        const int rows = tile.queries * group, all_rows = tile.kv_heads * rows;
        for (int row = 0; row < all_rows; row++) {
            const int query = row % rows / group, kv_head = tile.first_kv_head + row / rows;
            const int64_t first_key = queries.first_key(query), last_key = queries.last_key(query);
            float sums[kMaxHeadSize];
            Softmax total{sums, 0, 0};
            for (int64_t split = first_key / kSplitKeys; split * kSplitKeys < last_key; split++) {
                float* const from = plan.partial(tile.partial + split * all_rows + row);
                const Softmax part{from, from[head_size], from[head_size + 1]};
                if (split == first_key / kSplitKeys)
                    copy(total, part, head_size);
                else
                    fold(total, part, head_size);
            }
            finish_row(args, plan, queries.token(query), kv_head, kv_head * group + row % group, total,
                       first_key < last_key, reading_of(args.view->v.dtype, rows, paired(args).values).factor);
        }
    }
}

// One side's elements [d, d + count) of a row as float32; a side that takes no part is not read.
KV8_INLINE f32 side_of(const kv8_rows& rows, int64_t token, int64_t head, int64_t d, int64_t count, float factor) {
    if (factor == 0) return splat(0.0f);
    f32 values{};
    with_row_dtype(rows.dtype, [&](auto element) {
        values = load_part<decltype(element)>(row_at(rows, token, head) + d * element.bytes, count);
    });
    return values * factor;
}

void merge_states(const kv8_merge_states_args& args, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
        const int64_t token = i / args.heads, head = i % args.heads;
        const double lse_a = float_at(args.lse_a, i), lse_b = float_at(args.lse_b, i);
        const double maximum = lse_a > lse_b ? lse_a : lse_b;
        const double weight_a = lse_a == -kInfinity ? 0 : ::exp(lse_a - maximum);
        const double weight_b = lse_b == -kInfinity ? 0 : ::exp(lse_b - maximum);
        const double both = weight_a + weight_b;
        const float factor_a = both == 0 ? 0 : float(weight_a / both),
                    factor_b = both == 0 ? 0 : float(weight_b / both);
        for (int64_t d = 0; d < args.width; d += kLanes) {
            const int64_t count = least(args.width - d, kLanes);
            const f32 joined =
                side_of(args.a, token, head, d, count, factor_a) + side_of(args.b, token, head, d, count, factor_b);
            with_row_dtype(args.out.dtype, [&](auto element) {
                store_part<decltype(element)>(row_at(args.out, token, head) + d * element.bytes, joined, count);
            });
        }
        if (args.lse.ptr != 0) set_float(args.lse, i, both == 0 ? -kInfinity : float(maximum + ::log(both)));
    }
}

}  // namespace

const AttentionKernels attention_kernels = {scratch_bytes, run_item, combine_tiles, merge_states};

}  // namespace kv8::cpu::KV8_ISA
