#include "dispatch/extents.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "dispatch/error.h"
#include "fp8/fp8.h"

namespace kv8 {
namespace {

unsigned long long printable(Extent value) {
    return value > static_cast<Extent>(UINT64_MAX) ? UINT64_MAX : static_cast<unsigned long long>(value);
}

}  // namespace

Spelled::Spelled(const Name& name) {
    std::snprintf(text, sizeof(text), name.part ? "%s.%s" : "%s", name.whole, name.part);
}

void check_dtype(const Name& name, kv8_dtype dtype) {
    if (dtype < KV8_F32 || dtype > KV8_E5M2FNUZ)
        refuse(KV8_INVALID_ARGUMENT, "%s is %d; a kv8_dtype is KV8_F32 (0) to KV8_E5M2FNUZ (6).", Spelled(name).text,
               dtype);
}

void check_plain_dtype(const Name& name, kv8_dtype dtype) {
    if (dtype != KV8_F32 && dtype != KV8_F16 && dtype != KV8_BF16)
        refuse(KV8_INVALID_ARGUMENT, "%s is %d; allowed are KV8_F32 (0), KV8_F16 (1) and KV8_BF16 (2).",
               Spelled(name).text, dtype);
}

void check_at_least(const Name& name, int64_t given, int64_t least) {
    if (given < least)
        refuse(KV8_INVALID_ARGUMENT, "%s is %lld; it must be at least %lld.", Spelled(name).text,
               static_cast<long long>(given), static_cast<long long>(least));
}

void check_head_size(const Name& name, int32_t head_size) {
    static constexpr int32_t kAllowed[] = {64, 80, 96, 112, 128, 192, 256};
    if (std::find(std::begin(kAllowed), std::end(kAllowed), head_size) == std::end(kAllowed))
        refuse(KV8_INVALID_ARGUMENT, "%s is %d; allowed are 64, 80, 96, 112, 128, 192 and 256.", Spelled(name).text,
               head_size);
}

void check_finite(const Name& name, float value) {
    if (!std::isfinite(value))
        refuse(KV8_INVALID_ARGUMENT, "%s is %g; it must be finite.", Spelled(name).text, static_cast<double>(value));
}

void check_scale(const Name& name, float scale) {
    if (!fp8::is_scale(scale))
        refuse(KV8_INVALID_ARGUMENT, "%s is %g; %s.", Spelled(name).text, static_cast<double>(scale), kScaleRule);
}

void check_cap(const Name& name, float cap) {
    if (!fp8::is_scale(cap))
        refuse(KV8_INVALID_ARGUMENT, "%s is %g; it must be from 2^-126 to 2^126.", Spelled(name).text,
               static_cast<double>(cap));
}

void check_span(const Name& name, const kv8_span& span, Extent needed, int alignment) {
    if (needed == 0) return;
    if (span.ptr == 0)
        refuse(KV8_INVALID_ARGUMENT, "%s.ptr is null; %llu bytes are needed.", Spelled(name).text, printable(needed));
    if (span.ptr % static_cast<uint64_t>(alignment) != 0)
        refuse(KV8_INVALID_ARGUMENT, "%s.ptr is 0x%llx; it must be a multiple of %d.", Spelled(name).text,
               static_cast<unsigned long long>(span.ptr), alignment);
    if (span.bytes > UINT64_MAX - span.ptr)
        refuse(KV8_INVALID_ARGUMENT, "%s has %llu bytes at 0x%llx, which is beyond the address space.",
               Spelled(name).text, static_cast<unsigned long long>(span.bytes),
               static_cast<unsigned long long>(span.ptr));
    if (needed > static_cast<Extent>(span.bytes))
        refuse(KV8_BUFFER_TOO_SMALL, "%s has %llu bytes; its shape needs %llu.", Spelled(name).text,
               static_cast<unsigned long long>(span.bytes), printable(needed));
}

void check_absent_or_span(const Name& name, const kv8_span& span, Extent needed, int alignment) {
    if (!is_absent(span)) check_span(name, span, needed, alignment);
}

Extent extent_of(const kv8_rows& rows, int64_t tokens, int32_t heads, int32_t width) {
    if (tokens == 0) return 0;
    return times(tokens - 1, tokens > 1 ? rows.token_stride : 0) + times(heads - 1, heads > 1 ? rows.head_stride : 0) +
           times(width, element_bytes(rows.dtype));
}

Touched touched(const Name& name, const kv8_rows& rows, int64_t tokens, int32_t heads, int32_t width) {
    return {name, rows.data.ptr, extent_of(rows, tokens, heads, width)};
}

void check_apart(const Touched& written, std::initializer_list<Touched> checked) {
    for (const Touched& read : checked)
        if (share_bytes(written, read))
            refuse(KV8_INVALID_ARGUMENT,
                   "%s and %s share bytes; a call may not write over values by which it is checked.",
                   Spelled(written.name).text, Spelled(read.name).text);
}

void check_disjoint(const char* name, const Loop* loops, int count, Extent item) {
    // From the innermost loop out, each stride must step over all that the inner loops touch.
    const Loop* sorted[kMostLoops];
    int used = 0;
    for (int i = 0; i < count; i++) {
        if (loops[i].count <= 1) continue;
        int at = used++;
        for (; at > 0 && sorted[at - 1]->stride > loops[i].stride; at--) sorted[at] = sorted[at - 1];
        sorted[at] = &loops[i];
    }
    Extent extent = item;
    for (int i = 0; i < used; i++) {
        if (sorted[i]->stride < extent)
            refuse(KV8_INVALID_ARGUMENT, "%s.%s is %lld bytes; rows would overlap, at least %llu are needed.", name,
                   sorted[i]->name, static_cast<long long>(sorted[i]->stride), printable(extent));
        extent += times(sorted[i]->count - 1, sorted[i]->stride);
    }
}

void check_rows(const char* name, const kv8_rows& rows, int64_t tokens, int32_t heads, int32_t width, Access access) {
    check_plain_dtype({name, "dtype"}, rows.dtype);
    if (tokens == 0) return;
    int size = element_bytes(rows.dtype);
    Extent row = static_cast<Extent>(width) * size;
    const Loop loops[] = {{"token_stride", tokens, rows.token_stride}, {"head_stride", heads, rows.head_stride}};
    for (const Loop& loop : loops) {
        if (loop.count <= 1) continue;
        if (loop.stride < row)
            refuse(KV8_INVALID_ARGUMENT, "%s.%s is %lld bytes; a row has %llu.", name, loop.name,
                   static_cast<long long>(loop.stride), printable(row));
        if (loop.stride % size != 0)
            refuse(KV8_INVALID_ARGUMENT, "%s.%s is %lld bytes; it must be a multiple of the element's %d.", name,
                   loop.name, static_cast<long long>(loop.stride), size);
    }
    if (access == Access::kWrite) check_disjoint(name, loops, 2, row);
    check_span({name, "data"}, rows.data, extent_of(rows, tokens, heads, width), size);
}

void check_rope_table(const char* name, const kv8_rope_table& rope, int64_t tokens, int32_t width) {
    const auto named = [name](const char* part) { return Name(name, part); };
    const int32_t most = std::min(width, KV8_MAX_ROTARY_SIZE);
    if (rope.rotary_size < 0 || rope.rotary_size > most || rope.rotary_size % 2 != 0)
        refuse(KV8_INVALID_ARGUMENT, "%s is %d; for rows of %d elements it must be even and from 0 to %d.",
               Spelled(named("rotary_size")).text, rope.rotary_size, width, most);
    if (rope.style != KV8_ROPE_HALF && rope.style != KV8_ROPE_INTERLEAVED)
        refuse(KV8_INVALID_ARGUMENT, "%s is %d; allowed are KV8_ROPE_HALF (0) and KV8_ROPE_INTERLEAVED (1).",
               Spelled(named("style")).text, rope.style);
    if (rope.rotary_size == 0 || tokens == 0) return;
    check_span(named("table"), rope.table, times(rope.rotary_size, 4), 4);  // one position at least
    check_span(named("positions"), rope.positions, times(tokens, 4), 4);
}

Touched touched_positions(const char* name, const kv8_rope_table& rope, int64_t tokens) {
    return touched({name, "positions"}, rope.positions, rope.rotary_size == 0 ? 0 : times(tokens, 4));
}

}  // namespace kv8
