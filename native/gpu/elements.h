// Elements of rows as float32 in registers: a thread moves kChunk consecutive ones of any of the seven dtypes at once,
// by the widest accesses that their address allows.
#pragma once

#include "dispatch/dtypes.h"
#include "gpu/kernel_params.h"
#include "gpu/numerics.h"

namespace kv8::gpu {

// Registers: only unrolled loops index it.
struct Chunk {
    float x[kChunk];
};

struct Float32 {
    static constexpr bool fp8 = false;
    static constexpr int bytes = 4;
    KV8_DEVICE static float load_one(const uint8_t* from) { return load<float>(from); }
    KV8_DEVICE static void store_one(uint8_t* to, float x) { store(to, canonical_bits(x)); }
    KV8_DEVICE static Chunk load_chunk(const uint8_t* from) {
        const Words4 a = load<Words4>(from), b = load<Words4>(from + 16);
        return {{float_of(a.x), float_of(a.y), float_of(a.z), float_of(a.w), float_of(b.x), float_of(b.y),
                 float_of(b.z), float_of(b.w)}};
    }
    KV8_DEVICE static void store_chunk(uint8_t* to, const Chunk& c) {
        store(to,
              Words4{canonical_bits(c.x[0]), canonical_bits(c.x[1]), canonical_bits(c.x[2]), canonical_bits(c.x[3])});
        store(to + 16,
              Words4{canonical_bits(c.x[4]), canonical_bits(c.x[5]), canonical_bits(c.x[6]), canonical_bits(c.x[7])});
    }
};

// The two 16-bit formats, by their conversions.
struct F16Conversion {
    KV8_DEVICE static float widen(uint32_t x) { return widen_f16(uint16_t(x)); }
    KV8_DEVICE static uint16_t narrow(float x) { return narrow_f16(x); }
    KV8_DEVICE static uint32_t narrow(float low, float high) { return narrow_f16(low, high); }
};
struct BF16Conversion {
    KV8_DEVICE static float widen(uint32_t x) { return widen_bf16(uint16_t(x)); }
    KV8_DEVICE static uint16_t narrow(float x) { return narrow_bf16(x); }
    KV8_DEVICE static uint32_t narrow(float low, float high) { return narrow_bf16(low, high); }
};

template <class Conversion>
struct Float16Bits {
    static constexpr bool fp8 = false;
    static constexpr int bytes = 2;
    KV8_DEVICE static float load_one(const uint8_t* from) { return Conversion::widen(load<uint16_t>(from)); }
    KV8_DEVICE static void store_one(uint8_t* to, float x) { store(to, Conversion::narrow(x)); }
    KV8_DEVICE static float low(uint32_t pair) { return Conversion::widen(pair & 0xFFFFu); }
    KV8_DEVICE static float high(uint32_t pair) { return Conversion::widen(pair >> 16); }
    KV8_DEVICE static Chunk widen(Words4 w) {
        return {{low(w.x), high(w.x), low(w.y), high(w.y), low(w.z), high(w.z), low(w.w), high(w.w)}};
    }
    KV8_DEVICE static Chunk load_chunk(const uint8_t* from) { return widen(load<Words4>(from)); }
    KV8_DEVICE static void store_chunk(uint8_t* to, const Chunk& c) {
        store(to, Words4{Conversion::narrow(c.x[0], c.x[1]), Conversion::narrow(c.x[2], c.x[3]),
                         Conversion::narrow(c.x[4], c.x[5]), Conversion::narrow(c.x[6], c.x[7])});
    }
};
using Float16 = Float16Bits<F16Conversion>;
using BFloat16 = Float16Bits<BF16Conversion>;

template <class Format>
struct Float8 {
    static constexpr bool fp8 = true;
    static constexpr int bytes = 1;
    static constexpr float max_value = Format::max_value;
    KV8_DEVICE static float load_one(const uint8_t* from) {
        float x, unused;
        decode<Format>(load<uint8_t>(from), x, unused, unused, unused);
        return x;
    }
    KV8_DEVICE static void store_one(uint8_t* to, float x) { store(to, uint8_t(encode<Format>(x, 0, 0, 0))); }
    KV8_DEVICE static Chunk load_chunk(const uint8_t* from) {
        const Words2 w = load<Words2>(from);
        Chunk c;
        decode<Format>(w.x, c.x[0], c.x[1], c.x[2], c.x[3]);
        decode<Format>(w.y, c.x[4], c.x[5], c.x[6], c.x[7]);
        return c;
    }
    KV8_DEVICE static void store_chunk(uint8_t* to, const Chunk& c) {
        store(to,
              Words2{encode<Format>(c.x[0], c.x[1], c.x[2], c.x[3]), encode<Format>(c.x[4], c.x[5], c.x[6], c.x[7])});
    }
};

KV8_DEVICE Chunk chunk_of(float x) { return {{x, x, x, x, x, x, x, x}}; }

// Quotients by one scale, as far as a code can tell: rounded correctly (Markstein, "Computation of elementary functions on the
// IBM RISC System/6000 processor", 1990: the inverse is, so one step from a product with it is) where a code depends on the
// last bit, with the sign of x always; half the instructions of a division. Where x or a rest of it could be too small for a
// float, numbers and scale are multiplied by a power of two first: those that overflow then have quotients that saturate.
class Quotients {
  public:
    KV8_DEVICE Quotients() : small_(false), scale_(1.0f), inverse_(1.0f) {}
    KV8_DEVICE explicit Quotients(float scale)
        : small_(scale < 0x1p-60f), scale_(small_ ? scale * kLift : scale), inverse_(divide(1.0f, scale_)) {}

    template <int kChunks>
    KV8_DEVICE void replace(Chunk (&c)[kChunks]) const {
        if (small_) {
#pragma unroll
            for (int j = 0; j < kChunks; j++)
#pragma unroll
                for (int i = 0; i < kChunk; i++) c[j].x[i] *= kLift;
        }
#pragma unroll
        for (int j = 0; j < kChunks; j++)
#pragma unroll
            for (int i = 0; i < kChunk; i++) c[j].x[i] = quotient(c[j].x[i]);
    }

    KV8_DEVICE void replace(Chunk& c) const {
        Chunk one[1] = {c};
        replace(one);
        c = one[0];
    }

  private:
    static constexpr float kLift = 0x1p64f;

    KV8_DEVICE float quotient(float x) const {
        float q = x * inverse_;
        // Beyond lie numbers that saturate, infinities and NaN. Below 2^-20, where rest and quotient may lose bits, all
        // become 0.
        if (magnitude_of(q) < 0x1p17f) q = fused(fused(-q, scale_, x), inverse_, q);
        return __builtin_copysignf(q, x);
    }

    bool small_;
    float scale_, inverse_;
};

// Whether a chunk at this address may be moved as a whole.
KV8_DEVICE bool is_aligned(const uint8_t* at, int element_bytes) {
    return (reinterpret_cast<uint64_t>(at) & (element_bytes == 1 ? 7 : 15)) == 0;
}

// The first `count` elements, at any address of theirs; those beyond are zero and not looked at.
template <class Element>
KV8_DEVICE Chunk load_some(const uint8_t* from, int64_t count) {
    if (count >= kChunk && is_aligned(from, Element::bytes)) return Element::load_chunk(from);
    Chunk c;
#pragma unroll
    for (int i = 0; i < kChunk; i++) c.x[i] = i < count ? Element::load_one(from + i * Element::bytes) : 0.0f;
    return c;
}

template <class Element>
KV8_DEVICE void store_some(uint8_t* to, const Chunk& c, int64_t count) {
    if (count >= kChunk && is_aligned(to, Element::bytes)) return Element::store_chunk(to, c);
#pragma unroll
    for (int i = 0; i < kChunk; i++)
        if (i < count) Element::store_one(to + i * Element::bytes, c.x[i]);
}

// For a dtype of kv8_rows that is known when the kernel runs, body(element) is called with an object of its struct above;
// all threads branch alike.
template <class Body>
KV8_DEVICE auto with_plain(kv8_dtype dtype, const Body& body) {
    if (dtype == KV8_F32) return body(Float32());
    if (dtype == KV8_F16) return body(Float16());
    return body(BFloat16());
}

KV8_DEVICE Chunk load_plain(kv8_dtype dtype, const uint8_t* from, int64_t count) {
    return with_plain(dtype, [&](auto element) { return load_some<decltype(element)>(from, count); });
}
KV8_DEVICE void store_plain(kv8_dtype dtype, uint8_t* to, const Chunk& c, int64_t count) {
    with_plain(dtype, [&](auto element) { store_some<decltype(element)>(to, c, count); });
}

// And for any of the seven dtypes.
template <class Body>
KV8_DEVICE auto with_element(kv8_dtype dtype, const Body& body) {
    if (dtype == KV8_E4M3FN) return body(Float8<fp8::E4M3FN>());
    if (dtype == KV8_E5M2) return body(Float8<fp8::E5M2>());
    if (dtype == KV8_E4M3FNUZ) return body(Float8<fp8::E4M3FNUZ>());
    if (dtype == KV8_E5M2FNUZ) return body(Float8<fp8::E5M2FNUZ>());
    return with_plain(dtype, body);
}

KV8_DEVICE Chunk load_any(kv8_dtype dtype, const uint8_t* from, int64_t count) {
    return with_element(dtype, [&](auto element) { return load_some<decltype(element)>(from, count); });
}
KV8_DEVICE void store_any(kv8_dtype dtype, uint8_t* to, const Chunk& c, int64_t count) {
    with_element(dtype, [&](auto element) { store_some<decltype(element)>(to, c, count); });
}

// A whole chunk of a cache's row, whose rows are aligned.
KV8_DEVICE Chunk load_cached(kv8_dtype dtype, const uint8_t* from) {
    return with_element(dtype, [&](auto element) { return decltype(element)::load_chunk(from); });
}
KV8_DEVICE void store_cached(kv8_dtype dtype, uint8_t* to, const Chunk& c) {
    with_element(dtype, [&](auto element) { decltype(element)::store_chunk(to, c); });
}

// ---- rows

KV8_DEVICE uint8_t* address_of(const kv8_span& span) { return reinterpret_cast<uint8_t*>(span.ptr); }

KV8_DEVICE uint8_t* row_at(const kv8_rows& rows, int64_t token, int64_t head) {
    return address_of(rows.data) + token * rows.token_stride + head * rows.head_stride;
}

struct Division {
    int64_t quotient;
    int64_t remainder;
};

// Of numbers that are not negative. Most fit 32 bits, whose division takes a fifth of the instructions.
KV8_DEVICE Division divided(int64_t dividend, int64_t divisor) {
    if (uint64_t(dividend | divisor) >> 32 == 0) {
        const uint32_t quotient = uint32_t(dividend) / uint32_t(divisor);
        return {quotient, uint32_t(dividend) - quotient * uint32_t(divisor)};
    }
    return {dividend / divisor, dividend % divisor};
}

// Divisions by one number: products with its inverse, which fall short by one at most.
class Divider {
  public:
    KV8_DEVICE explicit Divider(int divisor) : divisor_(uint32_t(divisor)), inverse_(0xFFFFFFFFu / divisor_) {}

    KV8_DEVICE Division operator()(uint32_t dividend) const {
        const uint32_t below = uint32_t(uint64_t(dividend) * inverse_ >> 32), rest = dividend - below * divisor_;
        const bool short_of = rest >= divisor_;
        return {below + (short_of ? 1u : 0u), rest - (short_of ? divisor_ : 0u)};
    }

  private:
    uint32_t divisor_, inverse_;
};

// A thread's part in rows that are shared by row_threads(width) threads each: of every round, its row and its chunk.
struct RowShare {
    int threads;        // that share a row
    int rows_in_block;  // a round's
    int row;            // of the round
    int chunk;          // of the row, and every `threads` further
    KV8_DEVICE RowShare(int64_t width, int block_threads) {
        const int64_t chunks = chunks_of(width);
        int shift = 0;
#pragma unroll
        for (int least = 1; least < kMostRowThreads; least *= 2) shift += chunks > least ? 1 : 0;
        threads = 1 << shift;
        rows_in_block = block_threads >> shift;
        row = thread() >> shift;
        chunk = thread() & (threads - 1);
    }
};

// Over the threads that share a row; every thread of the warp takes part.
KV8_DEVICE float maximum_of_row(float x, int threads) {
    for (int mask = threads / 2; mask > 0; mask /= 2) x = maximum(x, shuffle_xor(x, mask));
    return x;
}
KV8_DEVICE float sum_of_row(float x, int threads) {
    for (int mask = threads / 2; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
    return x;
}

}  // namespace kv8::gpu
