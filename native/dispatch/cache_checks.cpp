// The checks of what concerns a paged cache: its view, the rows written and read, and attention over it.
#include <algorithm>

#include "dispatch/checks.h"
#include "dispatch/error.h"
#include "dispatch/extents.h"

namespace kv8 {
namespace {

constexpr int32_t kMostHeads = 65536;  // a plan's work grows with the heads, unlike that of other checks
// A plan's memory grows with these: a million queries of 64 heads that share a KV head.
constexpr int64_t kMostQueryRows = int64_t{1} << 26;
// Kernels count on from a key to the end of its tile or split, which is 8192 keys at most, in 32 bits.
constexpr int32_t kMostKeys = INT32_MAX - 8191;

// A view's names in messages.
struct ViewNames {
    const char *view, *k, *v, *memory;
};
constexpr ViewNames kView{"view", "view.k", "view.v", "view.memory"}, kSource{"src", "src.k", "src.v", "src.memory"},
    kDestination{"dst", "dst.k", "dst.v", "dst.memory"};

// What K or V keeps in each block: items of `item` bytes, at an offset and by the strides of loops.
struct Items {
    const char* offset_name;
    int64_t offset;
    Loop loops[kMostLoops];
    Extent item;

    Extent extent() const {
        Extent sum = item;
        for (const Loop& loop : loops)
            if (loop.count > 1) sum += times(loop.count - 1, loop.stride);
        return sum;
    }
};

Items rows_of(const kv8_cache_view& view, const kv8_side& side) {
    return {"offset",
            side.offset,
            {{"block_stride", view.num_blocks, view.block_stride},
             {"head_stride", view.kv_heads, side.head_stride},
             {"slot_stride", view.block_size, side.slot_stride}},
            times(view.head_size, element_bytes(side.dtype))};
}

bool has_row_scales(const kv8_side& side) { return side.row_scale_offset != -1; }

Items row_scales_of(const kv8_cache_view& view, const kv8_side& side) {
    return {"row_scale_offset",
            side.row_scale_offset,
            {{"block_stride", view.num_blocks, view.block_stride},
             {"row_scale_head_stride", view.kv_heads, side.row_scale_head_stride},
             {}},
            times(view.block_size, 4)};
}

Extent channel_scale_bytes(const kv8_cache_view& view, const kv8_side& side) {
    return 4 * (times(view.kv_heads - 1, side.chan_head_stride) + times(view.head_size - 1, side.chan_dim_stride) + 1);
}

// They lie aligned and apart in the view's memory.
void check_items(const char* name, const Items& items, int alignment, const char* memory_name, const kv8_span& memory) {
    check_at_least({name, items.offset_name}, items.offset, 0);
    if ((memory.ptr + static_cast<uint64_t>(items.offset)) % static_cast<uint64_t>(alignment) != 0)
        refuse(KV8_INVALID_ARGUMENT, "%s.%s is %lld; added to %s.ptr 0x%llx it must be a multiple of %d.", name,
               items.offset_name, static_cast<long long>(items.offset), memory_name,
               static_cast<unsigned long long>(memory.ptr), alignment);
    for (const Loop& loop : items.loops) {
        if (loop.count <= 1) continue;
        check_at_least({name, loop.name}, loop.stride, static_cast<int64_t>(items.item));
        if (loop.stride % alignment != 0)
            refuse(KV8_INVALID_ARGUMENT, "%s.%s is %lld; it must be a multiple of %d.", name, loop.name,
                   static_cast<long long>(loop.stride), alignment);
    }
    check_disjoint(name, items.loops, kMostLoops, items.item);
    check_span(memory_name, memory, items.offset + items.extent(), 1);
}

// K or V of a view.
void check_side(const char* name, const kv8_side& side, const ViewNames& names, const kv8_cache_view& view) {
    check_dtype({name, "dtype"}, side.dtype);
    const bool has_channel_scales = !is_absent(side.chan);
    if ((has_row_scales(side) || has_channel_scales) && !is_fp8(side.dtype))
        refuse(KV8_INVALID_ARGUMENT,
               "%s.dtype is %d, which takes no scales; row and channel scales need an FP8 dtype (3 to 6).", name,
               side.dtype);
    check_items(name, rows_of(view, side), 16, names.memory, view.memory);
    if (has_row_scales(side)) check_items(name, row_scales_of(view, side), 4, names.memory, view.memory);
    if (has_channel_scales) {
        check_at_least({name, "chan_head_stride"}, side.chan_head_stride, 0);
        check_at_least({name, "chan_dim_stride"}, side.chan_dim_stride, 0);
        check_span({name, "chan"}, side.chan, channel_scale_bytes(view, side), 4);
    }
}

void check_view(const ViewNames& names, const kv8_cache_view* view) {
    if (view == nullptr) refuse(KV8_INVALID_ARGUMENT, "%s is null.", names.view);
    check_struct_size(names.view, view->struct_size, sizeof(*view));
    check_at_least({names.view, "num_blocks"}, view->num_blocks, 1);
    check_at_least({names.view, "block_size"}, view->block_size, 1);
    check_at_least({names.view, "kv_heads"}, view->kv_heads, 1);
    check_head_size({names.view, "head_size"}, view->head_size);
    check_side(names.k, view->k, names, *view);
    check_side(names.v, view->v, names, *view);
}

// A call that writes to a cache touches its rows and row scales.
void check_apart_from_cache(const ViewNames& names, const kv8_cache_view& view,
                            std::initializer_list<Touched> checked) {
    const Touched whole(names.memory, view.memory.ptr, view.memory.bytes);
    if (std::none_of(checked.begin(), checked.end(), [&](const Touched& read) { return share_bytes(whole, read); }))
        return;
    const auto check_part = [&](const Items& items) {
        check_apart({names.memory, view.memory.ptr + static_cast<uint64_t>(items.offset), items.extent()}, checked);
    };
    for (const kv8_side* side : {&view.k, &view.v}) {
        check_part(rows_of(view, *side));
        if (has_row_scales(*side)) check_part(row_scales_of(view, *side));
    }
}

Touched touched_channels(const char* name, const kv8_cache_view& view, const kv8_side& side) {
    return {{name, "chan"}, side.chan.ptr, is_absent(side.chan) ? 0 : channel_scale_bytes(view, side)};
}

// The values of arrays that are in host memory on every backend.
void check_batch(const kv8_attention_plan_args& a) {
    const int32_t start = int32_at(a.query_start_loc, 0);
    if (start != 0)
        refuse(KV8_INVALID_ARGUMENT, "query_start_loc begins with %d; the first sequence's first row is 0.", start);
    for (int32_t s = 0; s < a.num_seqs; s++) {
        const int32_t begin = int32_at(a.query_start_loc, s), end = int32_at(a.query_start_loc, s + 1);
        if (end < begin)
            refuse(KV8_INVALID_ARGUMENT,
                   "query_start_loc must not descend, but sequence %d goes from row %d to row %d.", s, begin, end);
        const int32_t keys = int32_at(a.seq_lens, s);
        if (keys < 0) refuse(KV8_INVALID_ARGUMENT, "seq_lens[%d] is %d; a sequence has at least 0 keys.", s, keys);
        if (keys > kMostKeys)
            refuse(KV8_INVALID_ARGUMENT, "seq_lens[%d] is %d; a sequence has at most %d keys.", s, keys, kMostKeys);
    }
    const int32_t queries = int32_at(a.query_start_loc, a.num_seqs), group = a.q_heads / a.kv_heads;
    if (int64_t{queries} * group > kMostQueryRows)
        refuse(KV8_INVALID_ARGUMENT,
               "query_start_loc ends with %d rows, of each of which %d query heads share a KV head; the product may be "
               "%lld at most. Cut long prompts into chunks.",
               queries, group, static_cast<long long>(kMostQueryRows));
}

}  // namespace

bool check(const kv8_write_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_view(kView, a.view);
    check_rows("k", a.k, a.tokens, a.view->kv_heads, a.view->head_size, Access::kRead);
    check_rows("v", a.v, a.tokens, a.view->kv_heads, a.view->head_size, Access::kRead);
    check_span("slots", a.slots, times(a.tokens, 8), 8);
    check_rope_table("rope", a.rope, a.tokens, a.view->head_size);
    check_absent_or_span("saturated", a.saturated, 16, 8);
    if (a.tokens == 0) return false;
    const std::initializer_list<Touched> checked = {
        touched("slots", a.slots, times(a.tokens, 8)), touched_positions("rope", a.rope, a.tokens),
        touched_channels(kView.k, *a.view, a.view->k), touched_channels(kView.v, *a.view, a.view->v)};
    check_apart_from_cache(kView, *a.view, checked);
    check_apart(touched("saturated", a.saturated, 16), checked);
    return true;
}

bool check(const kv8_gather_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_view(kView, a.view);
    check_rows("k", a.k, a.tokens, a.view->kv_heads, a.view->head_size, Access::kWrite);
    check_rows("v", a.v, a.tokens, a.view->kv_heads, a.view->head_size, Access::kWrite);
    check_span("slots", a.slots, times(a.tokens, 8), 8);
    if (a.tokens == 0) return false;
    const std::initializer_list<Touched> checked = {touched("slots", a.slots, times(a.tokens, 8)),
                                                    touched_channels(kView.k, *a.view, a.view->k),
                                                    touched_channels(kView.v, *a.view, a.view->v)};
    check_apart(touched("k", a.k, a.tokens, a.view->kv_heads, a.view->head_size), checked);
    check_apart(touched("v", a.v, a.tokens, a.view->kv_heads, a.view->head_size), checked);
    return true;
}

bool check(const kv8_move_blocks_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("count", a.count, 0);
    check_view(kSource, a.src);
    check_view(kDestination, a.dst);
    if (a.src->block_size != a.dst->block_size || a.src->kv_heads != a.dst->kv_heads ||
        a.src->head_size != a.dst->head_size)
        refuse(KV8_INVALID_ARGUMENT,
               "src has blocks of %d tokens, %d heads of %d elements, dst of %d tokens, %d heads of %d elements; they "
               "must agree.",
               a.src->block_size, a.src->kv_heads, a.src->head_size, a.dst->block_size, a.dst->kv_heads,
               a.dst->head_size);
    const kv8_span &from = a.src->memory, &to = a.dst->memory;
    if (overlap(from.ptr, from.bytes, to.ptr, to.bytes) &&
        (from.ptr != to.ptr || a.src->block_stride != a.dst->block_stride))
        refuse(KV8_INVALID_ARGUMENT,
               "src and dst overlap but are not one memory with one block_stride; give both the whole cache.");
    check_span("pairs", a.pairs, times(a.count, 8), 4);
    if (a.count == 0) return false;
    const std::initializer_list<Touched> checked = {
        touched("pairs", a.pairs, times(a.count, 8)), touched_channels(kSource.k, *a.src, a.src->k),
        touched_channels(kSource.v, *a.src, a.src->v), touched_channels(kDestination.k, *a.dst, a.dst->k),
        touched_channels(kDestination.v, *a.dst, a.dst->v)};
    check_apart_from_cache(kDestination, *a.dst, checked);
    return true;
}

bool check(const kv8_attention_plan_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    if (a.flags & ~static_cast<uint32_t>(KV8_PLAN_BATCH_INVARIANT))
        refuse(KV8_INVALID_ARGUMENT, "flags is 0x%x; the only flag is KV8_PLAN_BATCH_INVARIANT (1).", a.flags);
    check_at_least("num_seqs", a.num_seqs, 0);
    check_at_least("kv_heads", a.kv_heads, 1);
    check_at_least("q_heads", a.q_heads, 1);
    if (a.q_heads > kMostHeads)
        refuse(KV8_INVALID_ARGUMENT, "q_heads is %d; at most %d are possible.", a.q_heads, kMostHeads);
    if (a.q_heads % a.kv_heads != 0)
        refuse(KV8_INVALID_ARGUMENT, "q_heads is %d; it must be a multiple of kv_heads, which is %d.", a.q_heads,
               a.kv_heads);
    check_head_size("head_size", a.head_size);
    check_at_least("window", a.window, 0);
    check_span("query_start_loc", a.query_start_loc, times(static_cast<int64_t>(a.num_seqs) + 1, 4), 4);
    check_span("seq_lens", a.seq_lens, times(a.num_seqs, 4), 4);
    if (!is_absent(a.workspace)) check_span("workspace", a.workspace, 1, 64);
    check_batch(a);
    return true;
}

void check_workspace(const kv8_attention_plan_args& a, uint64_t needed) {
    if (a.workspace.ptr == 0) return;
    if (a.workspace.bytes < needed)
        refuse(KV8_BUFFER_TOO_SMALL, "workspace has %llu bytes; this plan needs %llu.",
               static_cast<unsigned long long>(a.workspace.bytes), static_cast<unsigned long long>(needed));
    check_apart(touched("workspace", a.workspace, needed),
                {touched("query_start_loc", a.query_start_loc, times(static_cast<int64_t>(a.num_seqs) + 1, 4)),
                 touched("seq_lens", a.seq_lens, times(a.num_seqs, 4))});
}

bool check(const kv8_attention_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("window", a.window, 0);
    check_finite("softmax_scale", a.softmax_scale);
    if (a.softcap != 0) check_cap("softcap", a.softcap);
    check_view(kView, a.view);
    check_at_least("block_table_stride", a.block_table_stride, 0);
    check_plain_dtype("q.dtype", a.q.dtype);
    check_plain_dtype("out.dtype", a.out.dtype);
    check_span("plan", a.plan, 1, 64);
    return true;
}

void check_against_plan(const kv8_attention_args& a, const AttentionShape& plan) {
    if (plan.kv_heads != a.view->kv_heads || plan.head_size != a.view->head_size)
        refuse(KV8_INVALID_ARGUMENT,
               "The plan is for %d KV heads of %d elements, view has %d of %d; make a plan for each shape.",
               plan.kv_heads, plan.head_size, a.view->kv_heads, a.view->head_size);
    const Extent places = times(a.block_table_stride, a.view->block_size);
    if (plan.longest > places)
        refuse(KV8_INVALID_ARGUMENT,
               "block_table_stride is %lld; a sequence of %lld keys needs %lld entries of %d-token blocks.",
               static_cast<long long>(a.block_table_stride), static_cast<long long>(plan.longest),
               static_cast<long long>((plan.longest + a.view->block_size - 1) / a.view->block_size),
               a.view->block_size);
    const Extent block_table = 4 * times(plan.num_seqs, a.block_table_stride);
    check_span("block_table", a.block_table, block_table, 4);
    check_rows("q", a.q, plan.total_q, plan.q_heads, plan.head_size, Access::kRead);
    check_rows("out", a.out, plan.total_q, plan.q_heads, plan.head_size, Access::kWrite);
    const Extent lse = 4 * times(plan.total_q, plan.q_heads);
    check_absent_or_span("lse", a.lse, lse, 4);
    check_absent_or_span("sinks", a.sinks, times(plan.q_heads, 4), 4);
    check_absent_or_span("alibi_slopes", a.alibi_slopes, times(plan.q_heads, 4), 4);
    // A plan is both: what is shared out between workers passes through it.
    const Touched whole_plan = touched("plan", a.plan, plan.bytes),
                  table = touched("block_table", a.block_table, block_table),
                  k_channels = touched_channels(kView.k, *a.view, a.view->k),
                  v_channels = touched_channels(kView.v, *a.view, a.view->v);
    check_apart(touched("out", a.out, plan.total_q, plan.q_heads, plan.head_size),
                {whole_plan, table, k_channels, v_channels});
    check_apart(touched("lse", a.lse, lse), {whole_plan, table, k_channels, v_channels});
    check_apart(whole_plan, {table, k_channels, v_channels});
}

}  // namespace kv8
