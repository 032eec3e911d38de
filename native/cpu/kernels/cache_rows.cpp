// Rows of K and V into the cache, out of it, and from block to block.
//
// Written rows go from dtype to dtype in registers where that pays; else a row passes through a float32 buffer on the stack: it is
// loaded from its dtype, rotated, and stored in another dtype, so that seven loads and seven stores serve all pairs. Move
// copies bytes where source and destination mean the same by them.
#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/row_writer.h"
#include "cpu/stream_copy.h"

namespace kv8::cpu::KV8_ISA {
namespace {

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

// A row as whatever head's it is.
KV8_INLINE auto source_of_heads(const Row& row) {
    return [&row](int64_t) { return source_of(row); };
}

KV8_INLINE int64_t slot_of(kv8_span slots, int64_t token) {
    return load<int64_t>(reinterpret_cast<const int64_t*>(slots.ptr) + token);
}

KV8_INLINE const uint8_t* angles_of(const kv8_rope_table& rope, int64_t token) {
    const int64_t position = load<int32_t>(reinterpret_cast<const int32_t*>(rope.positions.ptr) + token);
    return reinterpret_cast<const uint8_t*>(rope.table.ptr) + position * rope.rotary_size * int64_t(sizeof(float));
}

// Rows of one side, as a part of a call writes them: K's are rotated first, `rope` is null for V's.
struct SideRows {
    const kv8_write_args& args;
    const kv8_side& side;
    const kv8_rows& rows;
    const kv8_rope_table* rope;
    int64_t begin, end;

    // body(token, slot, first, last): the heads of a token that are written.
    template <class Body>
    KV8_INLINE void for_each_token(const Body& body) const {
        const kv8_cache_view& view = *args.view;
        const auto slot_at = KV8_LAMBDA(int64_t place) {
            return Slot{place / view.block_size, place % view.block_size};
        };
        for (int64_t pair = begin; pair < end;) {
            const int64_t token = pair / view.kv_heads, first = pair % view.kv_heads;
            const int64_t last = std::min<int64_t>(view.kv_heads, first + end - pair);
            pair += last - first;
            const int64_t place = slot_of(args.slots, token), next = pair < end ? slot_of(args.slots, token + 1) : -1;
            if (next >= 0) ask_to_write(view, side, slot_at(next));
            if (place >= 0) body(token, slot_at(place), first, last);
        }
    }
};

// Caches of float32 and of FNUZ, which is what one GPU stores, need not be quick on a CPU: code for each pair of dtypes adds up.
template <class Element>
constexpr bool kInRegisters = kEncodesNumbers && !is_fnuz<Element> && Element::bytes <= 2;

// Returns how many elements saturated. A row's values go from one memory to the other through registers.
template <class Element, class From>
int64_t write_in_registers(const SideRows& part) {
    RowWriter<Element> writer(*part.args.view, part.side);
    part.for_each_token(KV8_LAMBDA(int64_t token, Slot slot, int64_t first, int64_t last) {
        writer.put(slot, first, last,
                   [from = row_at(part.rows, token, 0), stride = part.rows.head_stride,
                    angles = part.rope == nullptr ? nullptr : angles_of(*part.rope, token),
                    rotary_size = part.args.rope.rotary_size](int64_t head) {
                       return RowSource<From>{from + head * stride, angles, rotary_size};
                   });
    });
    return writer.saturated();
}

// The same through float32 values in the first-level cache: for every pair of dtypes and every way of rotation.
template <class Element>
int64_t write_by_rows(const SideRows& part) {
    RowWriter<Element> writer(*part.args.view, part.side);
    part.for_each_token([&](int64_t token, Slot slot, int64_t first, int64_t last) {
        for (int64_t head = first; head < last; head++) {
            Row row;
            load_row(row, part.rows, token, head, part.args.view->head_size);
            if (part.rope != nullptr)
                rotate(row.x, angles_of(*part.rope, token), part.rope->rotary_size, part.rope->style);
            writer.put(slot, head, head + 1, source_of_heads(row));
        }
    });
    return writer.saturated();
}

int64_t write_side(const SideRows& part) {
    int64_t saturated = 0;
    with_dtype(part.side.dtype, [&](auto element) {
        using Element = decltype(element);
        if constexpr (kInRegisters<Element>) {
            if (part.rope == nullptr || rotates_in_registers(*part.rope)) {
                with_row_dtype(part.rows.dtype,
                               [&](auto from) { saturated = write_in_registers<Element, decltype(from)>(part); });
                return;
            }
        }
        saturated = write_by_rows<Element>(part);
    });
    return saturated;
}

void ask_to_write_first(const kv8_write_args& args, int64_t begin) {
    const kv8_cache_view& view = *args.view;
    const int64_t first = slot_of(args.slots, begin / view.kv_heads);
    if (first < 0 || first >= int64_t(view.num_blocks) * view.block_size) return;
    for (const kv8_side* side : {&view.k, &view.v})
        ask_to_write(view, *side, {first / view.block_size, first % view.block_size});
}

void write(const kv8_write_args& args, int64_t begin, int64_t end) {
    const kv8_cache_view& view = *args.view;
    if (begin > 0) ask_to_write_first(args, begin);  // of the first part the caller has asked for it
    const kv8_rope_table* const rope = args.rope.rotary_size > 0 ? &args.rope : nullptr;
    const int64_t saturated_k = write_side({args, view.k, args.k, rope, begin, end});
    const int64_t saturated_v = write_side({args, view.v, args.v, nullptr, begin, end});
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
                writer.put({target, s}, h, h + 1, source_of_heads(row));
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

const CacheRowKernels cache_row_kernels = {ask_to_write_first, write, gather, move_blocks};

}  // namespace kv8::cpu::KV8_ISA
