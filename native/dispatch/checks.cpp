#include "dispatch/checks.h"

#include <algorithm>

#include "dispatch/error.h"
#include "dispatch/extents.h"

namespace kv8 {
namespace {

constexpr int32_t kMostHeads = 65536;  // a plan's work grows with the heads, unlike that of other checks

Extent times(int64_t a, int64_t b) { return static_cast<Extent>(a) * b; }

bool overlap(uint64_t a, Extent a_bytes, uint64_t b, Extent b_bytes) {
    return static_cast<Extent>(a) < static_cast<Extent>(b) + b_bytes && static_cast<Extent>(b) < static_cast<Extent>(a) + a_bytes;
}

void check_absent_or(const Name& name, const kv8_span& span, Extent needed, int alignment) {
    if (!is_absent(span)) check_span(name, span, needed, alignment);
}

void check_rope_table(const char* name, const kv8_rope_table& rope, int64_t tokens, int32_t width) {
    const auto named = [name](const char* part) { return Name(name, part); };
    const int32_t most = std::min(width, KV8_MAX_ROTARY_SIZE);
    if (rope.rotary_size < 0 || rope.rotary_size > most || rope.rotary_size % 2 != 0)
        refuse(KV8_INVALID_ARGUMENT, "%s is %d; for rows of %d elements it must be even and from 0 to %d.",
               Spelled(named("rotary_size")).text, rope.rotary_size, width, most);
    if (rope.style != KV8_ROPE_HALF && rope.style != KV8_ROPE_INTERLEAVED)
        refuse(KV8_INVALID_ARGUMENT, "%s is %d; allowed are KV8_ROPE_HALF (0) and KV8_ROPE_INTERLEAVED (1).", Spelled(named("style")).text,
               rope.style);
    if (rope.rotary_size == 0 || tokens == 0) return;
    check_span(named("table"), rope.table, times(rope.rotary_size, 4), 4);  // one position at least
    check_span(named("positions"), rope.positions, times(tokens, 4), 4);
}

// K or V of a view; `name` is "view.k" or "view.v".
void check_side(const char* name, const kv8_side& side, const kv8_cache_view& view) {
    const auto named = [name](const char* part) { return Name(name, part); };
    check_dtype(named("dtype"), side.dtype);
    check_at_least(named("offset"), side.offset, 0);
    const Extent row = times(view.head_size, element_bytes(side.dtype));
    const Loop loops[] = {{"block_stride", view.num_blocks, view.block_stride},
                          {"head_stride", view.kv_heads, side.head_stride},
                          {"slot_stride", view.block_size, side.slot_stride}};
    Extent extent = side.offset + row;
    for (const Loop& loop : loops) {
        if (loop.count <= 1) continue;
        check_at_least(named(loop.name), loop.stride, static_cast<int64_t>(row));
        if (loop.stride % 16 != 0)
            refuse(KV8_INVALID_ARGUMENT, "%s is %lld; rows are 16-byte aligned, so it must be a multiple of 16.",
                   Spelled(named(loop.name)).text, static_cast<long long>(loop.stride));
        extent += (loop.count - 1) * loop.stride;
    }
    if ((view.memory.ptr + static_cast<uint64_t>(side.offset)) % 16 != 0)
        refuse(KV8_INVALID_ARGUMENT, "%s is %lld; added to view.memory.ptr 0x%llx it must be a multiple of 16.",
               Spelled(named("offset")).text, static_cast<long long>(side.offset), static_cast<unsigned long long>(view.memory.ptr));
    check_disjoint(name, loops, 3, row);
    check_span("view.memory", view.memory, extent, 1);

    const bool has_rows = side.row_scale_offset != -1, has_chan = !is_absent(side.chan);
    if ((has_rows || has_chan) && !is_fp8(side.dtype))
        refuse(KV8_INVALID_ARGUMENT, "%s is %d, which takes no scales; row and channel scales need an FP8 dtype (3 to 6).",
               Spelled(named("dtype")).text, side.dtype);
    if (has_rows) {
        check_at_least(named("row_scale_offset"), side.row_scale_offset, 0);
        const Extent scales = times(view.block_size, 4);
        const Loop row_loops[] = {{"block_stride", view.num_blocks, view.block_stride},
                                  {"row_scale_head_stride", view.kv_heads, side.row_scale_head_stride}};
        Extent end = side.row_scale_offset + scales;
        for (const Loop& loop : row_loops) {
            if (loop.count <= 1) continue;
            check_at_least(named(loop.name), loop.stride, static_cast<int64_t>(scales));
            if (loop.stride % 4 != 0)
                refuse(KV8_INVALID_ARGUMENT, "%s is %lld; row scales are float32, so it must be a multiple of 4.",
                       Spelled(named(loop.name)).text, static_cast<long long>(loop.stride));
            end += (loop.count - 1) * loop.stride;
        }
        if ((view.memory.ptr + static_cast<uint64_t>(side.row_scale_offset)) % 4 != 0)
            refuse(KV8_INVALID_ARGUMENT, "%s is %lld; added to view.memory.ptr it must be a multiple of 4.",
                   Spelled(named("row_scale_offset")).text, static_cast<long long>(side.row_scale_offset));
        check_disjoint(name, row_loops, 2, scales);
        check_span("view.memory", view.memory, end, 1);
    }
    if (has_chan) {
        check_at_least(named("chan_head_stride"), side.chan_head_stride, 0);
        check_at_least(named("chan_dim_stride"), side.chan_dim_stride, 0);
        check_span(named("chan"), side.chan,
                   4 * (times(view.kv_heads - 1, side.chan_head_stride) + times(view.head_size - 1, side.chan_dim_stride) + 1),
                   4);
    }
}

void check_view(const char* name, const kv8_cache_view* view) {
    if (view == nullptr) refuse(KV8_INVALID_ARGUMENT, "%s is null.", name);
    check_struct_size(name, view->struct_size, sizeof(*view));
    check_at_least("view.num_blocks", view->num_blocks, 1);
    check_at_least("view.block_size", view->block_size, 1);
    check_at_least("view.kv_heads", view->kv_heads, 1);
    check_head_size("view.head_size", view->head_size);
    check_side("view.k", view->k, *view);
    check_side("view.v", view->v, *view);
}

}  // namespace

void check_struct_size(const char* name, uint32_t given, size_t expected) {
    if (given != expected)
        refuse(KV8_INVALID_ARGUMENT, "%s.struct_size is %u; in ABI version %d it is %zu.", name, given, KV8_ABI_VERSION,
               expected);
}

void check_alloc(uint64_t bytes, int32_t kind) {
    if (bytes == 0) refuse(KV8_INVALID_ARGUMENT, "bytes is 0; it must be at least 1.");
    if (kind != KV8_MEMORY_DEVICE && kind != KV8_MEMORY_HOST)
        refuse(KV8_INVALID_ARGUMENT, "kind is %d; allowed are KV8_MEMORY_DEVICE (0) and KV8_MEMORY_HOST (1).", kind);
}

bool check_copy(const kv8_span& dst, const kv8_span& src) {
    const Extent bytes = src.bytes;
    check_span("src", src, bytes, 1);
    check_span("dst", dst, bytes, 1);
    if (overlap(dst.ptr, bytes, src.ptr, bytes))
        refuse(KV8_INVALID_ARGUMENT, "dst 0x%llx and src 0x%llx overlap over %llu bytes; copies need disjoint spans.",
               static_cast<unsigned long long>(dst.ptr), static_cast<unsigned long long>(src.ptr),
               static_cast<unsigned long long>(src.bytes));
    return src.bytes > 0;
}

bool check_fill(const kv8_span& dst) {
    check_span("dst", dst, dst.bytes, 1);
    return dst.bytes > 0;
}

bool check(const kv8_cast_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_dtype("src_dtype", a.src_dtype);
    check_dtype("dst_dtype", a.dst_dtype);
    check_scale("scale", a.scale);
    check_at_least("count", a.count, 0);
    if (is_fp8(a.src_dtype) == is_fp8(a.dst_dtype) && a.scale != 1.0f)
        refuse(KV8_INVALID_ARGUMENT, "scale is %g; it must be 1 unless exactly one of the dtypes (%d to %d) is FP8.",
               static_cast<double>(a.scale), a.src_dtype, a.dst_dtype);
    const int src_size = element_bytes(a.src_dtype), dst_size = element_bytes(a.dst_dtype);
    check_span("src", a.src, times(a.count, src_size), src_size);
    check_span("dst", a.dst, times(a.count, dst_size), dst_size);
    const bool in_place = a.src.ptr == a.dst.ptr && src_size == dst_size;
    if (a.count > 0 && !in_place && overlap(a.src.ptr, times(a.count, src_size), a.dst.ptr, times(a.count, dst_size)))
        refuse(KV8_INVALID_ARGUMENT,
               "src and dst overlap; a cast works in place only where both begin at one address and elements have one size.");
    return a.count > 0;
}

bool check(const kv8_amax_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("heads", a.heads, 1);
    check_at_least("width", a.width, 1);
    Extent results = 1;
    switch (a.granularity) {
        case KV8_AMAX_TENSOR:
            break;
        case KV8_AMAX_HEAD:
            results = a.heads;
            break;
        case KV8_AMAX_CHANNEL:
            results = times(a.heads, a.width);
            break;
        case KV8_AMAX_ROW:
            results = times(a.tokens, a.heads);
            break;
        default:
            refuse(KV8_INVALID_ARGUMENT, "granularity is %d; allowed are tensor (0), head (1), channel (2) and row (3).",
                   a.granularity);
    }
    check_rows("x", a.x, a.tokens, a.heads, a.width, Access::kRead);
    check_span("out", a.out, 4 * results, 4);
    return results > 0;  // without tokens a maximum is 0, which is still to be written
}

bool check(const kv8_write_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_view("view", a.view);
    check_rows("k", a.k, a.tokens, a.view->kv_heads, a.view->head_size, Access::kRead);
    check_rows("v", a.v, a.tokens, a.view->kv_heads, a.view->head_size, Access::kRead);
    check_span("slots", a.slots, times(a.tokens, 8), 8);
    check_rope_table("rope", a.rope, a.tokens, a.view->head_size);
    return a.tokens > 0;
}

bool check(const kv8_gather_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_view("view", a.view);
    check_rows("k", a.k, a.tokens, a.view->kv_heads, a.view->head_size, Access::kWrite);
    check_rows("v", a.v, a.tokens, a.view->kv_heads, a.view->head_size, Access::kWrite);
    check_span("slots", a.slots, times(a.tokens, 8), 8);
    return a.tokens > 0;
}

bool check(const kv8_move_blocks_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("count", a.count, 0);
    check_view("src", a.src);
    check_view("dst", a.dst);
    if (a.src->block_size != a.dst->block_size || a.src->kv_heads != a.dst->kv_heads || a.src->head_size != a.dst->head_size)
        refuse(KV8_INVALID_ARGUMENT,
               "src has blocks of %d tokens, %d heads of %d elements, dst of %d tokens, %d heads of %d elements; they must agree.",
               a.src->block_size, a.src->kv_heads, a.src->head_size, a.dst->block_size, a.dst->kv_heads, a.dst->head_size);
    check_span("pairs", a.pairs, times(a.count, 8), 4);
    return a.count > 0;
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
        refuse(KV8_INVALID_ARGUMENT, "q_heads is %d; it must be a multiple of kv_heads, which is %d.", a.q_heads, a.kv_heads);
    check_head_size("head_size", a.head_size);
    check_at_least("window", a.window, 0);
    check_span("query_start_loc", a.query_start_loc, times(static_cast<int64_t>(a.num_seqs) + 1, 4), 4);
    check_span("seq_lens", a.seq_lens, times(a.num_seqs, 4), 4);
    if (!is_absent(a.workspace)) check_span("workspace", a.workspace, 1, 64);
    return true;
}

bool check(const kv8_attention_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("window", a.window, 0);
    check_finite("softmax_scale", a.softmax_scale);
    check_finite("softcap", a.softcap);
    if (a.softcap < 0)
        refuse(KV8_INVALID_ARGUMENT, "softcap is %g; it must be positive, or 0 for none.", static_cast<double>(a.softcap));
    check_view("view", a.view);
    check_at_least("block_table_stride", a.block_table_stride, 0);
    check_plain_dtype("q.dtype", a.q.dtype);
    check_plain_dtype("out.dtype", a.out.dtype);
    check_span("plan", a.plan, 1, 64);
    return true;
}

void check_against_plan(const kv8_attention_args& a, const AttentionShape& plan) {
    if (plan.kv_heads != a.view->kv_heads || plan.head_size != a.view->head_size)
        refuse(KV8_INVALID_ARGUMENT, "The plan is for %d KV heads of %d elements, view has %d of %d; make a plan for each shape.",
               plan.kv_heads, plan.head_size, a.view->kv_heads, a.view->head_size);
    const Extent places = times(a.block_table_stride, a.view->block_size);
    if (plan.longest > places)
        refuse(KV8_INVALID_ARGUMENT, "block_table_stride is %lld; a sequence of %lld keys needs %lld entries of %d-token blocks.",
               static_cast<long long>(a.block_table_stride), static_cast<long long>(plan.longest),
               static_cast<long long>((plan.longest + a.view->block_size - 1) / a.view->block_size), a.view->block_size);
    check_span("block_table", a.block_table, 4 * times(plan.num_seqs, a.block_table_stride), 4);
    check_rows("q", a.q, plan.total_q, plan.q_heads, plan.head_size, Access::kRead);
    check_rows("out", a.out, plan.total_q, plan.q_heads, plan.head_size, Access::kWrite);
    check_absent_or("lse", a.lse, 4 * times(plan.total_q, plan.q_heads), 4);
    check_absent_or("sinks", a.sinks, times(plan.q_heads, 4), 4);
    check_absent_or("alibi_slopes", a.alibi_slopes, times(plan.q_heads, 4), 4);
}

bool check(const kv8_merge_states_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("heads", a.heads, 1);
    check_at_least("width", a.width, 1);
    check_rows("a", a.a, a.tokens, a.heads, a.width, Access::kRead);
    check_rows("b", a.b, a.tokens, a.heads, a.width, Access::kRead);
    check_rows("out", a.out, a.tokens, a.heads, a.width, Access::kWrite);
    const Extent lse_bytes = 4 * times(a.tokens, a.heads);
    check_span("lse_a", a.lse_a, lse_bytes, 4);
    check_span("lse_b", a.lse_b, lse_bytes, 4);
    check_absent_or("lse", a.lse, lse_bytes, 4);
    return a.tokens > 0;
}

bool check(const kv8_rms_norm_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("heads", a.heads, 1);
    check_at_least("width", a.width, 1);
    check_finite("eps", a.eps);
    if (a.eps < 0) refuse(KV8_INVALID_ARGUMENT, "eps is %g; it must be 0 or more.", static_cast<double>(a.eps));
    check_plain_dtype("weight_dtype", a.weight_dtype);
    check_rows("x", a.x, a.tokens, a.heads, a.width, Access::kRead);
    if (!is_absent(a.residual.data)) check_rows("residual", a.residual, a.tokens, a.heads, a.width, Access::kWrite);
    check_rows("out", a.out, a.tokens, a.heads, a.width, Access::kWrite);
    const int size = element_bytes(a.weight_dtype);
    if (a.tokens > 0) check_span("weight", a.weight, times(a.width, size), size);
    return a.tokens > 0;
}

bool check(const kv8_rope_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("heads", a.heads, 1);
    check_at_least("width", a.width, 1);
    check_rows("x", a.x, a.tokens, a.heads, a.width, Access::kWrite);
    check_rope_table("rope", a.rope, a.tokens, a.width);
    return a.tokens > 0 && a.rope.rotary_size > 0;
}

bool check(const kv8_silu_mul_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("width", a.width, 1);
    check_rows("gate", a.gate, a.tokens, 1, a.width, Access::kRead);
    check_rows("up", a.up, a.tokens, 1, a.width, Access::kRead);
    check_rows("out", a.out, a.tokens, 1, a.width, Access::kWrite);
    return a.tokens > 0;
}

bool check(const kv8_embedding_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("width", a.width, 1);
    check_at_least("vocabulary", a.vocabulary, 1);
    check_plain_dtype("table_dtype", a.table_dtype);
    const int size = element_bytes(a.table_dtype);
    if (a.tokens > 0) check_span("table", a.table, times(a.vocabulary, a.width) * size, size);
    check_span("ids", a.ids, times(a.tokens, 4), 4);
    check_rows("out", a.out, a.tokens, 1, a.width, Access::kWrite);
    return a.tokens > 0;
}

bool check(const kv8_sample_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("vocabulary", a.vocabulary, 1);
    check_rows("logits", a.logits, a.tokens, 1, a.vocabulary, Access::kRead);
    check_span("sampling", a.sampling, times(a.tokens, sizeof(kv8_sampling)), 4);
    check_span("ids", a.ids, times(a.tokens, 4), 4);
    return a.tokens > 0;
}

}  // namespace kv8
