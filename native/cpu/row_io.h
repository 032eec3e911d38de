// How the elements of a row are stored: sixteen lanes of float32 in and out of each of the seven dtypes, at any address.
#pragma once

#include "cpu/fp8_simd.h"
#include "dispatch/dtypes.h"

namespace kv8::cpu::KV8_ISA {

constexpr int kMaxHeadSize = 256;  // of a cache view, as the dispatcher has checked

struct Float32 {
    static constexpr bool fp8 = false;
    static constexpr int bytes = 4;
    static KV8_INLINE f32 load(const uint8_t* from) { return KV8_ISA::load<f32>(from); }
    // Instruction sets differ in the NaN that arithmetic gives; what is stored is always the canonical one.
    static KV8_INLINE void store(uint8_t* to, f32 x) {
        KV8_ISA::store(to, select(is_nan(x), splat(fp8::kFloatNan), bits<u32>(x)));
    }
};

struct Float16 {
    static constexpr bool fp8 = false;
    static constexpr int bytes = 2;
    static KV8_INLINE f32 load(const uint8_t* from) { return from_f16(KV8_ISA::load<u16>(from)); }
    static KV8_INLINE void store(uint8_t* to, f32 x) { KV8_ISA::store(to, to_f16(x)); }
};

struct BFloat16 {
    static constexpr bool fp8 = false;
    static constexpr int bytes = 2;
    static KV8_INLINE f32 load(const uint8_t* from) { return from_bf16(KV8_ISA::load<u16>(from)); }
    static KV8_INLINE void store(uint8_t* to, f32 x) { store_words(to, to_bf16(x)); }
};

template <class Of>
struct Float8 {
    using Format = Of;
    static constexpr bool fp8 = true;
    static constexpr int bytes = 1;
    static constexpr float max_value = Format::max_value;
    static constexpr float max_cached = Format::max_cached;
    static constexpr float saturates_above = Format::saturates_above;
    static KV8_INLINE f32 load(const uint8_t* from) { return decode<Format>(from); }
    static KV8_INLINE void store(uint8_t* to, f32 x) { store_bytes(to, encode<Format>(x)); }
};

template <class Element>
constexpr bool is_fnuz = false;
template <class Format>
constexpr bool is_fnuz<Float8<Format>> = Format::fnuz;

// body(Element{}) with the element type of a dtype of kv8_rows; the dispatcher has checked it.
template <class Body>
KV8_INLINE void with_row_dtype(kv8_dtype dtype, const Body& body) {
    switch (dtype) {
        case KV8_F32:
            return body(Float32{});
        case KV8_F16:
            return body(Float16{});
        case KV8_BF16:
            return body(BFloat16{});
    }
    __builtin_unreachable();
}

// The same for every dtype.
template <class Body>
KV8_INLINE void with_dtype(kv8_dtype dtype, const Body& body) {
    switch (dtype) {
        case KV8_E4M3FN:
            return body(Float8<fp8::E4M3FN>{});
        case KV8_E5M2:
            return body(Float8<fp8::E5M2>{});
        case KV8_E4M3FNUZ:
            return body(Float8<fp8::E4M3FNUZ>{});
        case KV8_E5M2FNUZ:
            return body(Float8<fp8::E5M2FNUZ>{});
    }
    with_row_dtype(dtype, body);
}

// The first `count` lanes from memory that holds no more; the others are zero.
template <class Element>
KV8_INLINE f32 load_part(const uint8_t* from, int64_t count) {
    uint8_t lanes[kLanes * Element::bytes] = {};
    std::memcpy(lanes, from, count * Element::bytes);
    return Element::load(lanes);
}

template <class Element>
KV8_INLINE void store_part(uint8_t* to, f32 x, int64_t count) {
    uint8_t lanes[kLanes * Element::bytes];
    Element::store(lanes, x);
    std::memcpy(to, lanes, count * Element::bytes);
}

KV8_INLINE uint8_t* row_at(const kv8_rows& rows, int64_t token, int64_t head) {
    return reinterpret_cast<uint8_t*>(rows.data.ptr) + token * rows.token_stride + head * rows.head_stride;
}

// A row's `width` values, a multiple of sixteen, in the rows' dtype.
KV8_INLINE void store_row(const kv8_rows& rows, int64_t token, int64_t head, const float* values, int width) {
    uint8_t* to = row_at(rows, token, head);
    with_row_dtype(rows.dtype, [&](auto element) {
        for (int d = 0; d < width; d += kLanes) element.store(to + d * element.bytes, load<f32>(values + d));
    });
}

}  // namespace kv8::cpu::KV8_ISA
