// The vocabulary of the checks: spans, rows and scales. Extents are computed in 128 bits, where no product of a 64-bit
// stride and a 32-bit count can overflow.
#pragma once

#include <initializer_list>

#include "dispatch/dtypes.h"

namespace kv8 {

using Extent = __int128;

// An argument's name, spelled out only when a check fails: "k", or "view.k" and its part "offset".
struct Name {
    const char* whole;
    const char* part = nullptr;
    Name(const char* name) : whole(name) {}
    Name(const char* owner, const char* field) : whole(owner), part(field) {}
};

struct Spelled {
    char text[96];
    Spelled(const Name& name);
};

inline Extent times(int64_t a, int64_t b) { return static_cast<Extent>(a) * b; }

void check_dtype(const Name& name, kv8_dtype dtype);        // any of kv8_dtype
void check_plain_dtype(const Name& name, kv8_dtype dtype);  // f32, f16 or bf16
void check_at_least(const Name& name, int64_t given, int64_t least);
void check_head_size(const Name& name, int32_t head_size);
void check_finite(const Name& name, float value);

// What fp8::is_scale asks for.
constexpr char kScaleRule[] = "a scale is finite, positive and normal, and so is its reciprocal: 2^-126 to 2^126";
void check_scale(const Name& name, float scale);
void check_cap(const Name& name, float cap);

inline bool is_absent(const kv8_span& span) { return span.ptr == 0 && span.bytes == 0; }
void check_span(const Name& name, const kv8_span& span, Extent needed, int alignment);
void check_absent_or_span(const Name& name, const kv8_span& span, Extent needed, int alignment);

// Whether two ranges have a byte in common.
inline bool overlap(uint64_t a, Extent a_bytes, uint64_t b, Extent b_bytes) {
    return a_bytes > 0 && b_bytes > 0 && static_cast<Extent>(a) < static_cast<Extent>(b) + b_bytes &&
           static_cast<Extent>(b) < static_cast<Extent>(a) + a_bytes;
}

// The bytes of an argument that a call touches, from the first to the last: not what else its span holds, so that arguments
// may be parts of one large buffer.
struct Touched {
    Name name;
    uint64_t begin = 0, end = 0;

    // Of a span that has been checked.
    Touched(const Name& name, uint64_t ptr, Extent bytes) : name(name) {
        if (bytes == 0) return;
        begin = ptr;
        end = ptr + static_cast<uint64_t>(bytes);
    }
};
inline bool share_bytes(const Touched& a, const Touched& b) { return a.begin < b.end && b.begin < a.end; }
inline Touched touched(const Name& name, const kv8_span& span, Extent needed) {
    return {name, span.ptr, is_absent(span) ? 0 : needed};
}
Extent extent_of(const kv8_rows& rows, int64_t tokens, int32_t heads, int32_t width);
Touched touched(const Name& name, const kv8_rows& rows, int64_t tokens, int32_t heads, int32_t width);

// Refuses a call that writes over values by which it is checked: they could then lead it anywhere.
void check_apart(const Touched& written, std::initializer_list<Touched> checked);

// One loop of an index computation: `count` steps of `stride` bytes.
struct Loop {
    const char* name = nullptr;  // of the stride
    int64_t count = 0;
    int64_t stride = 0;
};

constexpr int kMostLoops = 3;

// Refuses loops in which two different indices could share bytes of their `item` bytes.
void check_disjoint(const char* name, const Loop* loops, int count, Extent item);

enum class Access { kRead, kWrite };

// Rows [tokens][heads][width]; written ones must not share bytes.
void check_rows(const char* name, const kv8_rows& rows, int64_t tokens, int32_t heads, int32_t width, Access access);

// Angles and positions for `tokens` rows of `width` elements.
void check_rope_table(const char* name, const kv8_rope_table& rope, int64_t tokens, int32_t width);
Touched touched_positions(const char* name, const kv8_rope_table& rope, int64_t tokens);

}  // namespace kv8
