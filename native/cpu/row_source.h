// Where a row's values come from: memory of one of the dtypes, some of them to be rotated. They are handed out sixteen and sixteen,
// so that what is done with them happens in registers: a row's two halves are rotated together.
#pragma once

#include "cpu/rope.h"
#include "cpu/row_io.h"

namespace kv8::cpu::KV8_ISA {

struct Row {
    alignas(64) float x[kMaxHeadSize];
};

// Whether a RowSource rotates by this table.
inline bool rotates_in_registers(const kv8_rope_table& rope) {
    return rope.style == KV8_ROPE_HALF && rope.rotary_size % (2 * kLanes) == 0;
}

template <class Element>
struct RowSource {
    const uint8_t* from;
    const uint8_t* angles;  // a row of the table; null: nothing is rotated
    int rotary_size;

    KV8_INLINE f32 at(int64_t d) const { return Element::load(from + d * Element::bytes); }

    // body(d, x, e, y) for all `width` values: sixteen from d on and sixteen from e on. Where width is not a multiple of 32, the
    // last sixteen are both x and y.
    template <class Body>
    KV8_INLINE void for_each_two(int width, const Body& body) const {
        int64_t d = 0;
        if (angles != nullptr) {
            const int64_t pairs = rotary_size / 2;
            for (; d < pairs; d += kLanes) {
                const int64_t e = pairs + d;
                const f32 x = at(d), y = at(e), cosine = load<f32>(angles + 4 * d), sine = load<f32>(angles + 4 * e);
                body(d, turned_first(x, y, cosine, sine), e, turned_second(x, y, cosine, sine));
            }
            d = 2 * pairs;
        }
        for (; d < width; d += 2 * kLanes) {
            const int64_t e = d + kLanes < width ? d + kLanes : d;
            body(d, at(d), e, at(e));
        }
    }
};

KV8_INLINE RowSource<Float32> source_of(const Row& row) {
    return {reinterpret_cast<const uint8_t*>(row.x), nullptr, 0};
}

// Stores a row's values, and returns the greatest magnitude: infinity or NaN where there is one.
template <class Element>
float take_row(Row& row, const RowSource<Element> source, int width) {
    i32 most = splat(0);  // magnitudes are ordered as their bits are
    source.for_each_two(
        width, KV8_LAMBDA(int64_t d, const f32& x, int64_t e, const f32& y) {
            most = max(bits<i32>(abs(x)), max(bits<i32>(abs(y)), most));
            store(row.x + d, x);
            store(row.x + e, y);
        });
    return bits<float>(reduce_max(most));
}

}  // namespace kv8::cpu::KV8_ISA
