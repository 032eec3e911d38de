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

// A token's row of the table: rotary_size / 2 cosines, then as many sines. Where the table has none of its position, the first
// one, which every table has.
struct Angles {
    const uint8_t* row;
    bool legal;
};

KV8_DEVICE Angles angles_of(const kv8_rope_table& rope, int32_t position) {
    const uint64_t row_bytes = 4 * uint64_t(rope.rotary_size);
    const bool legal = position >= 0 && (uint64_t(position) + 1) * row_bytes <= rope.table.bytes;
    return {address_of(rope.table) + (legal ? uint64_t(position) * row_bytes : 0), legal};
}

KV8_DEVICE void report_position(const kv8_rope_table& rope, int32_t position, int64_t token, Fault* fault) {
    report(fault, kBadPosition, token, position, int64_t(rope.table.bytes / (4 * uint64_t(opaque(rope.rotary_size)))));
}

// Null, and reported, where the table has none.
KV8_DEVICE const uint8_t* angles_at(const kv8_rope_table& rope, int32_t position, int64_t token, Fault* fault) {
    const Angles angles = angles_of(rope, position);
    if (angles.legal) return angles.row;
    report_position(rope, position, token, fault);
    return nullptr;
}

// Where a chunk of one half finds what it is rotated with: the other half's chunk, and its pairs' angles.
struct Half {
    bool is_x;
    int other, angle;
    KV8_DEVICE Half(int first, int pairs)
        : is_x(first < pairs), other(is_x ? first + pairs : first - pairs), angle(is_x ? first : other) {}
};

KV8_DEVICE void rotate_chunk(Chunk& c, const Chunk& other, const Chunk& cosine, const Chunk& sine, bool is_x) {
#pragma unroll
    for (int i = 0; i < kChunk; i++) {
        const float across = other.x[i] * sine.x[i];
        c.x[i] = c.x[i] * cosine.x[i] + (is_x ? -across : across);
    }
}

// Rotates the elements [first, first + kChunk) of a row that lies in memory as well as in `c`. The other halves of
// pairs are read from there again: one load from the first-level cache costs less than kChunk shuffles.
template <class Element>
KV8_DEVICE void rotate_half(Chunk& c, const uint8_t* row, int first, const uint8_t* angles, int rotary) {
    const int pairs = rotary / 2;
    if (pairs % kChunk == 0) {  // chunks are of one half each
        const Half half(first, pairs);
        rotate_chunk(c, load_some<Element>(row + half.other * Element::bytes, kChunk),
                     load_some<Float32>(angles + 4 * half.angle, kChunk),
                     load_some<Float32>(angles + 4 * (pairs + half.angle), kChunk), half.is_x);
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
