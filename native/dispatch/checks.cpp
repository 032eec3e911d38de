#include "dispatch/checks.h"

#include <algorithm>

#include "dispatch/error.h"
#include "dispatch/extents.h"

namespace kv8 {
namespace {

// Columns of one buffer may interleave: their ranges overlap, but no byte is in both.
bool share_bytes(const kv8_rows& a, int32_t a_width, const kv8_rows& b, int32_t b_width, int64_t tokens) {
    if (!overlap(a.data.ptr, extent_of(a, tokens, 1, a_width), b.data.ptr, extent_of(b, tokens, 1, b_width)))
        return false;
    if (tokens == 1 || a.token_stride != b.token_stride) return true;
    const Extent stride = a.token_stride, a_bytes = times(a_width, element_bytes(a.dtype)),
                 b_bytes = times(b_width, element_bytes(b.dtype));
    const Extent distance = static_cast<Extent>(b.data.ptr) - static_cast<Extent>(a.data.ptr);
    const Extent behind = (distance % stride + stride) % stride;  // of b's row, behind the start of one of a's
    return behind < a_bytes || behind + b_bytes > stride;
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

bool check(const kv8_matmul_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("outputs", a.outputs, 1);
    check_at_least("inputs", a.inputs, 1);
    check_rows("x", a.x, a.tokens, 1, a.inputs, Access::kRead);
    check_rows("y", a.y, a.tokens, 1, a.outputs, Access::kWrite);
    if (a.y.dtype != a.x.dtype && a.y.dtype != KV8_F32)
        refuse(KV8_INVALID_ARGUMENT, "y.dtype is %d; it must be x's, %d, or KV8_F32 (0).", a.y.dtype, a.x.dtype);
    check_plain_dtype("weights_dtype", a.weights_dtype);
    if (a.weights_dtype != a.x.dtype && a.x.dtype != KV8_F32)
        refuse(KV8_INVALID_ARGUMENT, "weights_dtype is %d; it must be x's, %d.", a.weights_dtype, a.x.dtype);
    check_at_least("sum_length", a.sum_length, 0);
    if (a.tokens == 0) return false;
    const int weight_size = element_bytes(a.weights_dtype), y_size = element_bytes(a.y.dtype);
    const Extent weights = times(a.outputs, a.inputs) * weight_size, bias = times(a.outputs, y_size);
    check_span("weights", a.weights, weights, weight_size);
    check_absent_or_span("bias", a.bias, bias, y_size);
    const Extent y = extent_of(a.y, a.tokens, 1, a.outputs);
    const char* read = share_bytes(a.x, a.inputs, a.y, a.outputs, a.tokens)               ? "x"
                       : overlap(a.y.data.ptr, y, a.weights.ptr, weights)                 ? "weights"
                       : !is_absent(a.bias) && overlap(a.y.data.ptr, y, a.bias.ptr, bias) ? "bias"
                                                                                          : nullptr;
    if (read != nullptr)
        refuse(KV8_INVALID_ARGUMENT, "y and %s share bytes; a product cannot be stored over what it is made of.", read);
    return true;
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
    if (a.tokens == 0 || a.rope.rotary_size == 0) return false;
    check_apart(touched("x", a.x, a.tokens, a.heads, a.width), {touched_positions("rope", a.rope, a.tokens)});
    return true;
}

bool check(const kv8_gate_mul_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("width", a.width, 1);
    if (a.activation != KV8_SILU && a.activation != KV8_GELU_TANH)
        refuse(KV8_INVALID_ARGUMENT, "activation is %d; allowed are KV8_SILU (0) and KV8_GELU_TANH (1).", a.activation);
    check_rows("gate", a.gate, a.tokens, 1, a.width, Access::kRead);
    check_rows("up", a.up, a.tokens, 1, a.width, Access::kRead);
    check_rows("out", a.out, a.tokens, 1, a.width, Access::kWrite);
    return a.tokens > 0;
}

bool check(const kv8_softcap_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("width", a.width, 1);
    check_cap("cap", a.cap);
    check_rows("x", a.x, a.tokens, 1, a.width, Access::kWrite);
    return a.tokens > 0;
}

bool check(const kv8_embedding_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("width", a.width, 1);
    check_at_least("vocabulary", a.vocabulary, 1);
    check_plain_dtype("table_dtype", a.table_dtype);
    check_scale("scale", a.scale);
    const int size = element_bytes(a.table_dtype);
    if (a.tokens > 0) check_span("table", a.table, times(a.vocabulary, a.width) * size, size);
    check_span("ids", a.ids, times(a.tokens, 4), 4);
    check_rows("out", a.out, a.tokens, 1, a.width, Access::kWrite);
    check_apart(touched("out", a.out, a.tokens, 1, a.width), {touched("ids", a.ids, times(a.tokens, 4))});
    return a.tokens > 0;
}

bool check(const kv8_sample_args& a) {
    check_struct_size("args", a.struct_size, sizeof(a));
    check_at_least("tokens", a.tokens, 0);
    check_at_least("vocabulary", a.vocabulary, 1);
    check_rows("logits", a.logits, a.tokens, 1, a.vocabulary, Access::kRead);
    const Extent sampling = times(a.tokens, sizeof(kv8_sampling)), ids = times(a.tokens, 4);
    check_span("sampling", a.sampling, sampling, 4);
    check_span("ids", a.ids, ids, 4);
    check_apart(touched("ids", a.ids, ids),
                {touched("sampling", a.sampling, sampling), touched("logits", a.logits, a.tokens, 1, a.vocabulary)});
    return a.tokens > 0;
}

}  // namespace kv8
