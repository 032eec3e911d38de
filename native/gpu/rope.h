// Rotary embedding in float32. Each product and sum is rounded by itself (no dialect contracts them), so that the bits
// are the CPU's.
#pragma once

#include "gpu/elements.h"
#include "gpu/report.h"

namespace kv8::gpu {

struct Pair {
    float x, y;
};

KV8_DEVICE Pair rotated(Pair p, float cosine, float sine) {
    return {p.x * cosine - p.y * sine, p.y * cosine + p.x * sine};
}

KV8_DEVICE int32_t load_position(const kv8_rope_table& rope, int64_t token) {
    return load<int32_t>(address_of(rope.positions) + 4 * token);
}

// The token's row of the table: rotary_size / 2 cosines, then as many sines. Null, and reported, where the table has
// none.
KV8_DEVICE const uint8_t* angles_at(const kv8_rope_table& rope, int32_t position, int64_t token, Fault* fault) {
    const uint64_t row_bytes = 4 * uint64_t(rope.rotary_size);
    if (position < 0 || (uint64_t(position) + 1) * row_bytes > rope.table.bytes) {
        report(fault, kBadPosition, token, position, int64_t(rope.table.bytes / row_bytes));
        return nullptr;
    }
    return address_of(rope.table) + uint64_t(position) * row_bytes;
}

// Rotates the elements [first, first + kChunk) of a row that lies in memory as well as in `c`. The other halves of
// pairs are read from there again: one load from the first-level cache costs less than kChunk shuffles.
template <class Element>
KV8_DEVICE void rotate_half(Chunk& c, const uint8_t* row, int first, const uint8_t* angles, int rotary) {
    const int pairs = rotary / 2;
    if (pairs % kChunk == 0) {  // chunks are of one half each
        const bool is_x = first < pairs;
        const int angle = is_x ? first : first - pairs;
        const Chunk other = load_some<Element>(row + (is_x ? first + pairs : angle) * Element::bytes, kChunk);
        const Chunk cosine = load_some<Float32>(angles + 4 * angle, kChunk),
                    sine = load_some<Float32>(angles + 4 * (pairs + angle), kChunk);
#pragma unroll
        for (int i = 0; i < kChunk; i++)
            c.x[i] = is_x ? rotated({c.x[i], other.x[i]}, cosine.x[i], sine.x[i]).x
                          : rotated({other.x[i], c.x[i]}, cosine.x[i], sine.x[i]).y;
        return;
    }
#pragma unroll
    for (int i = 0; i < kChunk; i++) {
        if (first + i >= rotary) continue;
        const bool is_x = first + i < pairs;
        const int angle = is_x ? first + i : first + i - pairs;
        const float other = Element::load_one(row + (is_x ? angle + pairs : angle) * Element::bytes);
        const float cosine = load<float>(angles + 4 * angle), sine = load<float>(angles + 4 * (pairs + angle));
        c.x[i] = is_x ? rotated({c.x[i], other}, cosine, sine).x : rotated({other, c.x[i]}, cosine, sine).y;
    }
}

KV8_DEVICE void rotate_interleaved(Chunk& c, int first, const uint8_t* angles, int rotary) {
    const int pairs = rotary / 2;
#pragma unroll
    for (int i = 0; i < kChunk; i += 2) {
        const int angle = (first + i) / 2;
        if (angle >= pairs) continue;
        const Pair p =
            rotated({c.x[i], c.x[i + 1]}, load<float>(angles + 4 * angle), load<float>(angles + 4 * (pairs + angle)));
        c.x[i] = p.x;
        c.x[i + 1] = p.y;
    }
}

}  // namespace kv8::gpu
