// Rows of K and V into the cache, out of it, and from block to block.
//
// A row passes through a float32 buffer on the stack: it is loaded from its dtype, rotated, and stored in another dtype, so
// that seven loads and seven stores serve all pairs. Move copies bytes where source and destination mean the same by them.
#include <algorithm>

#include "cpu/encode_numbers.h"
#include "cpu/kernels.h"
#include "cpu/rope.h"
#include "cpu/row_io.h"
#include "cpu/stream_copy.h"

namespace kv8::cpu::KV8_ISA {
namespace {

constexpr float kFloatMin = 0x1p-126f, kFloatMax = 0x1.fffffep127f;

struct Row {
    alignas(64) float x[kMaxHeadSize];
};

struct Slot {
    int64_t block;
    int64_t index;
};

KV8_INLINE uint8_t* cache_row(const kv8_cache_view& view, const kv8_side& side, Slot slot, int64_t head) {
    return reinterpret_cast<uint8_t*>(view.memory.ptr) + slot.block * view.block_stride + side.offset +
           head * side.head_stride + slot.index * side.slot_stride;
}

// A slot is written once in a while, so its lines have left the caches: a store that waits for them holds up those behind it.
KV8_INLINE void ask_to_write(const uint8_t* row, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, 1);
}

KV8_INLINE bool has_row_scales(const kv8_side& side) { return side.row_scale_offset >= 0; }

KV8_INLINE uint8_t* row_scale(const kv8_cache_view& view, const kv8_side& side, Slot slot, int64_t head) {
    return reinterpret_cast<uint8_t*>(view.memory.ptr) + slot.block * view.block_stride + side.row_scale_offset +
           head * side.row_scale_head_stride + slot.index * sizeof(float);
}

KV8_INLINE f32 chan_lanes(const kv8_side& side, int64_t head, int d) {
    if (side.chan.ptr == 0) return splat(1.0f);
    const float* chan =
        reinterpret_cast<const float*>(side.chan.ptr) + head * side.chan_head_stride + d * side.chan_dim_stride;
    if (side.chan_dim_stride == 0) return splat(load<float>(chan));
    if (side.chan_dim_stride == 1) return load<f32>(chan);
    float lanes[kLanes];
    for (int i = 0; i < kLanes; i++) lanes[i] = load<float>(chan + i * side.chan_dim_stride);
    return load<f32>(lanes);
}

// Whether all channels of a head have one scale.
KV8_INLINE bool shares_scale(const kv8_side& side) { return side.chan.ptr == 0 || side.chan_dim_stride == 0; }

// Of the first channel.
KV8_INLINE float chan_scale(const kv8_side& side, int64_t head) {
    if (side.chan.ptr == 0) return 1;
    return load<float>(reinterpret_cast<const float*>(side.chan.ptr) + head * side.chan_head_stride);
}

// row * chan, kept normal and finite: then a zero divided by it stays zero, and a zero code times it too.
KV8_INLINE f32 joint_scale(float row, f32 chan) {
    const f32 product = splat(row) * chan;
    const f32 low = splat(kFloatMin), high = splat(kFloatMax);
    return select(less(product, low), low, select(less(high, product), high, product));
}

// body(divide), where divide(x, d) is x / scale for sixteen channels from d on, rounded once. `row` is the row's own scale, or
// null where there is none. A power of two is divided by with a product, which is the same number.
template <class Body>
KV8_INLINE void with_divisor(const kv8_side& side, int64_t head, const float* row, const Body& body) {
    if (!shares_scale(side)) {
        if (row == nullptr) return body(KV8_LAMBDA(const f32& x, int d) { return x / chan_lanes(side, head, d); });
        return body(KV8_LAMBDA(const f32& x, int d) { return x / joint_scale(*row, chan_lanes(side, head, d)); });
    }
    f32 scale = splat(chan_scale(side, head));
    if (row != nullptr) scale = joint_scale(*row, scale);
    const float reciprocal = 1 / scale[0];
    const bool power_of_two = (bits<uint32_t>(scale[0]) & 0x7fffff) == 0 && reciprocal >= kFloatMin;
    if (power_of_two) return body(KV8_LAMBDA(const f32& x, int) { return x * reciprocal; });
    body(KV8_LAMBDA(const f32& x, int) { return x / scale; });
}

// The greatest magnitude of x / chan. What is infinite or NaN does not count.
KV8_INLINE float greatest_quotient(const Row& row, int width, const kv8_side& side, int64_t head) {
    if (shares_scale(side)) {
        // A quotient rounded is the greater, the greater x is. Magnitudes are ordered as their bits are.
        i32 most = splat(0);
        for (int d = 0; d < width; d += kLanes) most = max(bits<i32>(abs(load<f32>(row.x + d))), most);
        if (!any(less(splat(int32_t(fp8::kFloatInfinity) - 1), most))) {
            const float quotient = reduce_max(bits<f32>(most)) / chan_scale(side, head);
            if (quotient <= kFloatMax) return quotient;
        }
    }
    f32 most = splat(0.0f);
    with_divisor(side, head, nullptr, [&](auto divide) {
        for (int d = 0; d < width; d += kLanes) {
            const f32 quotient = abs(divide(load<f32>(row.x + d), d));
            most = select(less_equal(quotient, splat(kFloatMax)), max(quotient, most), most);
        }
    });
    return reduce_max(most);
}

// The scale that makes the greatest of x / chan the greatest value that a cache holds.
KV8_INLINE float row_scale_of(const Row& row, int width, const kv8_side& side, int64_t head, float max_cached) {
    const float amax = greatest_quotient(row, width, side, head);
    if (amax == 0.0f) return 1.0f;
    const float scale = amax / max_cached;
    return scale < kFloatMin ? kFloatMin : scale;
}

// Stores quotients as codes, and counts those that saturate.
template <class Element>
KV8_INLINE void put_codes(uint8_t* to, f32 quotients, i32& saturated) {
    saturated = saturated - less(splat(Element::saturates_above), abs(quotients));
    if constexpr (Element::max_cached < Element::max_value) {
        const f32 most = splat(Element::max_cached), least = splat(-Element::max_cached);
        quotients = select(less(most, quotients), most, select(less(quotients, least), least, quotients));
    }
    Element::store(to, quotients);
}

// Stores a row's codes, whatever its values are. `row_scale` is null where there is none. Returns how many elements saturated.
template <class Element>
int64_t put_any_codes(uint8_t* to, const Row& row, int width, const kv8_side& side, int64_t head,
                      const float* row_scale) {
    i32 saturated = splat(0);
    with_divisor(side, head, row_scale, [&](auto divide) {
        for (int d = 0; d < width; d += kLanes) put_codes<Element>(to + d, divide(load<f32>(row.x + d), d), saturated);
    });
    return any(saturated) ? int64_t(reduce_add(convert<float>(saturated))) : 0;
}

// Stores rows in the cache's dtype, and their own scales if the side keeps them.
template <class Element>
class RowWriter {
  public:
    RowWriter(const kv8_cache_view& view, const kv8_side& side) : view_(view), side_(side) {}

    KV8_INLINE void put(const Row& row, Slot slot, int64_t head) {
        uint8_t* const to = cache_row(view_, side_, slot, head);
        const int width = view_.head_size;
        const auto values = KV8_LAMBDA(int64_t d) { return load<f32>(row.x + d); };
        if constexpr (!Element::fp8) {
            for (int d = 0; d < width; d += kLanes) Element::store(to + d * Element::bytes, values(d));
        } else {
            const bool own = has_row_scales(side_);
            float scale = 1;
            if (own) {
                scale = row_scale_of(row, width, side_, head, Element::max_cached);
                store(row_scale(view_, side_, slot, head), scale);
            }
            if (shares_scale(side_)) {
                const float joint =
                    own ? joint_scale(scale, splat(chan_scale(side_, head)))[0] : chan_scale(side_, head);
                if (joint != reciprocal_.scale()) reciprocal_ = Reciprocal(joint);
                if (encode_numbers<typename Element::Format>(to, width, reciprocal_, Element::max_cached, values))
                    return;
            }
            saturated_ += put_any_codes<Element>(to, row, width, side_, head, own ? &scale : nullptr);
        }
    }

    int64_t saturated() const { return saturated_; }

  private:
    const kv8_cache_view& view_;
    const kv8_side& side_;
    Reciprocal reciprocal_{1};
    int64_t saturated_ = 0;
};

// The values of a cached row.
void get_row(Row& row, const kv8_cache_view& view, const kv8_side& side, Slot slot, int64_t head) {
    const uint8_t* from = cache_row(view, side, slot, head);
    with_dtype(side.dtype, [&](auto element) {
        using Element = decltype(element);
        for (int d = 0; d < view.head_size; d += kLanes) {
            f32 x = Element::load(from + d * Element::bytes);
            if constexpr (Element::fp8) {
                const f32 chan = chan_lanes(side, head, d);
                x = x *
                    (has_row_scales(side) ? joint_scale(load<float>(row_scale(view, side, slot, head)), chan) : chan);
            }
            store(row.x + d, x);
        }
    });
}

void load_row(Row& row, const kv8_rows& rows, int64_t token, int64_t head, int width) {
    const uint8_t* from = row_at(rows, token, head);
    with_row_dtype(rows.dtype, [&](auto element) {
        using Element = decltype(element);
        for (int d = 0; d < width; d += kLanes) store(row.x + d, Element::load(from + d * Element::bytes));
    });
}

KV8_INLINE int64_t slot_of(kv8_span slots, int64_t token) {
    return load<int64_t>(reinterpret_cast<const int64_t*>(slots.ptr) + token);
}

// Rows of one side, K's rotated first. Returns how many elements saturated.
int64_t write_side(const kv8_write_args& args, const kv8_side& side, const kv8_rows& rows, bool rotated, int64_t begin,
                   int64_t end) {
    const kv8_cache_view& view = *args.view;
    const kv8_rope_table& rope = args.rope;
    const auto* positions = reinterpret_cast<const int32_t*>(rope.positions.ptr);
    const auto* table = reinterpret_cast<const uint8_t*>(rope.table.ptr);
    int64_t saturated = 0;
    with_dtype(side.dtype, [&](auto element) {
        RowWriter<decltype(element)> writer(view, side);
        Row row;
        for (int64_t pair = begin; pair < end;) {
            const int64_t token = pair / view.kv_heads, head = pair % view.kv_heads;
            const int64_t heads = std::min(view.kv_heads - head, end - pair);
            pair += heads;
            const int64_t place = slot_of(args.slots, token);
            if (place < 0) continue;
            const Slot slot = {place / view.block_size, place % view.block_size};
            const uint8_t* const angles =
                rotated ? table + load<int32_t>(positions + token) * int64_t(rope.rotary_size) * sizeof(float)
                        : nullptr;
            const int64_t next_place = pair < end ? slot_of(args.slots, token + 1) : -1;
            const Slot next = {next_place / view.block_size, next_place % view.block_size};
            for (int64_t h = head; h < head + heads; h++) {
                if (next_place >= 0) ask_to_write(cache_row(view, side, next, h), view.head_size * element.bytes);
                load_row(row, rows, token, h, view.head_size);
                if (rotated) rotate(row.x, angles, rope.rotary_size, rope.style);
                writer.put(row, slot, h);
            }
        }
        saturated = writer.saturated();
    });
    return saturated;
}

void write(const kv8_write_args& args, int64_t begin, int64_t end) {
    const int64_t saturated_k = write_side(args, args.view->k, args.k, args.rope.rotary_size > 0, begin, end);
    const int64_t saturated_v = write_side(args, args.view->v, args.v, false, begin, end);
    if (args.saturated.ptr == 0) return;
    auto* counts = reinterpret_cast<int64_t*>(args.saturated.ptr);
    if (saturated_k != 0) __atomic_fetch_add(counts, saturated_k, __ATOMIC_RELAXED);
    if (saturated_v != 0) __atomic_fetch_add(counts + 1, saturated_v, __ATOMIC_RELAXED);
}

void gather(const kv8_gather_args& args, int64_t begin, int64_t end) {
    const kv8_cache_view& view = *args.view;
    Row k, v;
    for (int64_t pair = begin; pair < end; pair++) {
        const int64_t token = pair / view.kv_heads, head = pair % view.kv_heads;
        const int64_t place = slot_of(args.slots, token);
        if (place < 0) {
            k = v = Row{};
        } else {
            const Slot slot = {place / view.block_size, place % view.block_size};
            get_row(k, view, view.k, slot, head);
            get_row(v, view, view.v, slot, head);
        }
        store_row(args.k, token, head, k.x, view.head_size);
        store_row(args.v, token, head, v.x, view.head_size);
    }
}

// Whether both sides give the same meaning to the same bytes.
bool same_meaning(const kv8_cache_view& view, const kv8_side& a, const kv8_side& b) {
    if (a.dtype != b.dtype) return false;
    if (a.dtype < KV8_E4M3FN) return true;
    if (has_row_scales(a) != has_row_scales(b)) return false;
    if (a.chan.ptr == b.chan.ptr && a.chan_head_stride == b.chan_head_stride && a.chan_dim_stride == b.chan_dim_stride)
        return true;
    for (int64_t h = 0; h < view.kv_heads; h++) {
        for (int d = 0; d < view.head_size; d += kLanes) {
            const f32 difference = chan_lanes(a, h, d) - chan_lanes(b, h, d);
            if (reduce_max(abs(difference)) != 0.0f) return false;
        }
    }
    return true;
}

// Rows of a head lie one after the other, and so do the heads.
bool is_packed(const kv8_cache_view& view, const kv8_side& side) {
    return side.slot_stride == int64_t(view.head_size) * element_bytes(side.dtype) &&
           side.head_stride == side.slot_stride * view.block_size;
}

void copy_side(const kv8_move_blocks_args& args, const kv8_side& from, const kv8_side& to, int64_t source,
               int64_t target) {
    const kv8_cache_view &src = *args.src, &dst = *args.dst;
    const int64_t row_bytes = int64_t(src.head_size) * element_bytes(from.dtype);
    const int64_t side_bytes = row_bytes * src.block_size * src.kv_heads;
    if (is_packed(src, from) && is_packed(dst, to)) {
        void* const packed = cache_row(dst, to, {target, 0}, 0);
        if (side_bytes * args.count >= kStreamedBytes)
            stream_copy(packed, cache_row(src, from, {source, 0}, 0), side_bytes);
        else
            std::memcpy(packed, cache_row(src, from, {source, 0}, 0), side_bytes);
    } else {
        for (int64_t h = 0; h < src.kv_heads; h++)
            for (int64_t s = 0; s < src.block_size; s++)
                std::memcpy(cache_row(dst, to, {target, s}, h), cache_row(src, from, {source, s}, h), row_bytes);
    }
    if (!has_row_scales(from)) return;
    for (int64_t h = 0; h < src.kv_heads; h++)
        std::memcpy(row_scale(dst, to, {target, 0}, h), row_scale(src, from, {source, 0}, h),
                    sizeof(float) * src.block_size);
}

void convert_side(const kv8_move_blocks_args& args, const kv8_side& from, const kv8_side& to, int64_t source,
                  int64_t target) {
    with_dtype(to.dtype, [&](auto element) {
        RowWriter<decltype(element)> writer(*args.dst, to);
        Row row;
        for (int64_t h = 0; h < args.src->kv_heads; h++) {
            for (int64_t s = 0; s < args.src->block_size; s++) {
                get_row(row, *args.src, from, {source, s}, h);
                writer.put(row, {target, s}, h);
            }
        }
    });
}

void move_blocks(const kv8_move_blocks_args& args, int64_t begin, int64_t end) {
    const bool same_k = same_meaning(*args.src, args.src->k, args.dst->k);
    const bool same_v = same_meaning(*args.src, args.src->v, args.dst->v);
    const auto* pairs = reinterpret_cast<const int32_t*>(args.pairs.ptr);
    for (int64_t i = begin; i < end; i++) {
        const int64_t source = load<int32_t>(pairs + 2 * i), target = load<int32_t>(pairs + 2 * i + 1);
        (same_k ? copy_side : convert_side)(args, args.src->k, args.dst->k, source, target);
        (same_v ? copy_side : convert_side)(args, args.src->v, args.dst->v, source, target);
    }
    finish_stream();
}

}  // namespace

const CacheRowKernels cache_row_kernels = {write, gather, move_blocks};

}  // namespace kv8::cpu::KV8_ISA
