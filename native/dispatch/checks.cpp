#include "dispatch/checks.h"

#include <algorithm>

#include "dispatch/error.h"
#include "dispatch/extents.h"

namespace kv8 {
namespace {

bool overlap(uint64_t a, Extent a_bytes, uint64_t b, Extent b_bytes) {
    return static_cast<Extent>(a) < static_cast<Extent>(b) + b_bytes &&
           static_cast<Extent>(b) < static_cast<Extent>(a) + a_bytes;
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
               "src and dst overlap; a cast works in place only where both begin at one address and elements have one "
               "size.");
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
            refuse(KV8_INVALID_ARGUMENT,
                   "granularity is %d; allowed are tensor (0), head (1), channel (2) and row (3).", a.granularity);
    }
    check_rows("x", a.x, a.tokens, a.heads, a.width, Access::kRead);
    check_span("out", a.out, 4 * results, 4);
    return results > 0;  // without tokens a maximum is 0, which is still to be written
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
    check_absent_or_span("lse", a.lse, lse_bytes, 4);
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
