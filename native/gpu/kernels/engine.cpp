// What an engine needs on the device beside a GEMM. In every kernel a thread writes only elements that no other thread
// reads, so results may be stored over operands.
#include "gpu/rope.h"

namespace kv8::gpu {
namespace {

// Every thread of the block takes part, and has the sum.
KV8_DEVICE float sum_of_block(float x, int threads) {
    x = sum_of_row(x, kLanes);
    const Shared own = {uint32_t(4 * warp())};
    if (lane() == 0) store(own, x);
    sync_block();
    float sum = 0.0f;
    for (int i = 0; i < threads / kLanes; i++) sum += load<float>(Shared{uint32_t(4 * i)});
    sync_block();  // the next row's sums go where these were
    return sum;
}

KV8_DEVICE Chunk load_at(const kv8_rows& rows, int64_t token, int64_t head, int64_t first, int64_t count) {
    return load_plain(rows.dtype, row_at(rows, token, head) + first * element_bytes(rows.dtype), count);
}

KV8_DEVICE void store_at(const kv8_rows& rows, int64_t token, int64_t head, int64_t first, const Chunk& c,
                         int64_t count) {
    store_plain(rows.dtype, row_at(rows, token, head) + first * element_bytes(rows.dtype), c, count);
}

// A thread's part of the sum of squares of a row, to which the residual is added on the way.
KV8_DEVICE float squares_of(const kv8_rms_norm_args& args, int64_t token, int64_t head, int64_t chunk, int threads) {
    float squares = 0.0f;
    for (; chunk < chunks_of(args.width); chunk += threads) {
        const int64_t first = chunk * kChunk, count = args.width - first;
        Chunk c = load_at(args.x, token, head, first, count);
        if (args.residual.data.ptr != 0) {
            const Chunk residual = load_at(args.residual, token, head, first, count);
#pragma unroll
            for (int i = 0; i < kChunk; i++) c.x[i] += residual.x[i];
            store_at(args.residual, token, head, first, c, count);
            // What was stored is what is normalized, as if the two steps were calls of their own.
            c = load_at(args.residual, token, head, first, count);
        }
#pragma unroll
        for (int i = 0; i < kChunk; i++) squares = fused(c.x[i], c.x[i], squares);
    }
    return squares;
}

KV8_DEVICE void scale_row(const kv8_rms_norm_args& args, int64_t token, int64_t head, int64_t chunk, int threads,
                          float squares) {
    const kv8_rows& normalized = args.residual.data.ptr != 0 ? args.residual : args.x;
    const float scale = divide(1.0f, square_root(divide(squares, float(args.width)) + args.eps));
    for (; chunk < chunks_of(args.width); chunk += threads) {
        const int64_t first = chunk * kChunk, count = args.width - first;
        Chunk c = load_at(normalized, token, head, first, count);
        const Chunk weight =
            load_plain(args.weight_dtype, address_of(args.weight) + first * element_bytes(args.weight_dtype), count);
#pragma unroll
        for (int i = 0; i < kChunk; i++) c.x[i] = c.x[i] * scale * weight.x[i];
        store_at(args.out, token, head, first, c, count);
    }
}

// sigmoid(x) from e^-|x|, which cannot overflow.
KV8_DEVICE float sigmoid(float x) {
    const float e = exp_of_negative(-magnitude_of(x));
    return divide(x < 0.0f ? e : 1.0f, 1.0f + e);
}

KV8_DEVICE float activated(float x, bool gelu) {
    // GELU's (1 + tanh(u)) / 2 is sigmoid(2u), which keeps the small values of a negative x; 2 sqrt(2/pi) is in 2u.
    const float twice = (x * 1.59576912160573071176f) * fused(x * x, 0.044715f, 1.0f);
    return x * sigmoid(gelu ? twice : x);
}

// Eight pairs of a row in place. Halves lie apart, interleaved pairs in two chunks that follow each other.
template <class Element>
KV8_DEVICE void rotate_pairs(uint8_t* row, const uint8_t* angles, int first, int rotary, int style) {
    const int pairs = rotary / 2, count = pairs - first;
    const Chunk cosine = load_some<Float32>(angles + 4 * first, count),
                sine = load_some<Float32>(angles + 4 * (pairs + first), count);
    const bool half = style == KV8_ROPE_HALF;
    uint8_t* low = row + (half ? first : 2 * first) * Element::bytes;
    uint8_t* high = row + (half ? pairs + first : 2 * first + kChunk) * Element::bytes;
    const int low_count = half ? count : 2 * count, high_count = half ? count : 2 * count - kChunk;
    Chunk a = load_some<Element>(low, low_count), b = load_some<Element>(high, high_count);
    if (half) {
#pragma unroll
        for (int i = 0; i < kChunk; i++) {
            const Pair p = rotated({a.x[i], b.x[i]}, cosine.x[i], sine.x[i]);
            a.x[i] = p.x;
            b.x[i] = p.y;
        }
    } else {
#pragma unroll
        for (int i = 0; i < kChunk; i += 2) {
            const Pair p = rotated({a.x[i], a.x[i + 1]}, cosine.x[i / 2], sine.x[i / 2]);
            const Pair q = rotated({b.x[i], b.x[i + 1]}, cosine.x[(kChunk + i) / 2], sine.x[(kChunk + i) / 2]);
            a.x[i] = p.x;
            a.x[i + 1] = p.y;
            b.x[i] = q.x;
            b.x[i + 1] = q.y;
        }
    }
    store_some<Element>(low, a, low_count);
    store_some<Element>(high, b, high_count);
}

}  // namespace

KV8_KERNEL(kv8_rms_norm_kernel, RmsNormParams::kThreads, RmsNormParams::kResident, RmsNormParams) {
    const kv8_rms_norm_args& args = params.args;
    const int64_t rows = int64_t(args.tokens) * args.heads;
    if (args.width > RmsNormParams::kWidestOfGroup) {
        for (int64_t row = block(); row < rows; row += blocks()) {
            const Division place = divided(row, args.heads);
            const float part = squares_of(args, place.quotient, place.remainder, thread(), RmsNormParams::kThreads);
            const float squares = sum_of_block(part, RmsNormParams::kThreads);
            scale_row(args, place.quotient, place.remainder, thread(), RmsNormParams::kThreads, squares);
        }
        return;
    }
    const RowShare share(args.width, RmsNormParams::kThreads);
    const int64_t step = int64_t(blocks()) * share.rows_in_block;
    for (int64_t first = int64_t(block()) * share.rows_in_block; first < rows; first += step) {
        const int64_t row = first + share.row;
        const Division place = divided(row, args.heads);
        float squares = 0.0f;
        if (row < rows) squares = squares_of(args, place.quotient, place.remainder, share.chunk, share.threads);
        squares = sum_of_row(squares, share.threads);
        if (row < rows) scale_row(args, place.quotient, place.remainder, share.chunk, share.threads, squares);
    }
}

KV8_KERNEL(kv8_rope_kernel, RopeParams::kThreads, RopeParams::kResident, RopeParams) {
    const kv8_rope_args& args = params.args;
    const kv8_rope_table& rope = args.rope;
    const int64_t chunks = chunks_of(rope.rotary_size / 2), items = int64_t(args.tokens) * args.heads * chunks,
                  step = int64_t(blocks()) * RopeParams::kThreads;
    for (int64_t i = int64_t(block()) * RopeParams::kThreads + thread(); i < items; i += step) {
        const Division part = divided(i, chunks), place = divided(part.quotient, args.heads);
        const uint8_t* angles = angles_at(rope, load_position(rope, place.quotient), place.quotient, params.fault);
        if (angles == nullptr) continue;
        uint8_t* row = row_at(args.x, place.quotient, place.remainder);
        const int first = int(part.remainder) * kChunk;
        if (args.x.dtype == KV8_F32)
            rotate_pairs<Float32>(row, angles, first, rope.rotary_size, rope.style);
        else if (args.x.dtype == KV8_F16)
            rotate_pairs<Float16>(row, angles, first, rope.rotary_size, rope.style);
        else
            rotate_pairs<BFloat16>(row, angles, first, rope.rotary_size, rope.style);
    }
}

KV8_KERNEL(kv8_gate_mul_kernel, GateMulParams::kThreads, GateMulParams::kResident, GateMulParams) {
    const kv8_gate_mul_args& args = params.args;
    const bool gelu = args.activation == KV8_GELU_TANH;
    const int64_t chunks = chunks_of(args.width), items = args.tokens * chunks,
                  step = int64_t(blocks()) * GateMulParams::kThreads;
    for (int64_t i = int64_t(block()) * GateMulParams::kThreads + thread(); i < items; i += step) {
        const Division place = divided(i, chunks);
        const int64_t token = place.quotient, first = place.remainder * kChunk, count = args.width - first;
        Chunk c = load_at(args.gate, token, 0, first, count);
        const Chunk up = load_at(args.up, token, 0, first, count);
#pragma unroll
        for (int j = 0; j < kChunk; j++) c.x[j] = activated(c.x[j], gelu) * up.x[j];
        store_at(args.out, token, 0, first, c, count);
    }
}

KV8_KERNEL(kv8_softcap_kernel, SoftcapParams::kThreads, SoftcapParams::kResident, SoftcapParams) {
    const kv8_softcap_args& args = params.args;
    const int64_t chunks = chunks_of(args.width), items = args.tokens * chunks,
                  step = int64_t(blocks()) * SoftcapParams::kThreads;
    for (int64_t i = int64_t(block()) * SoftcapParams::kThreads + thread(); i < items; i += step) {
        const Division place = divided(i, chunks);
        const int64_t token = place.quotient, first = place.remainder * kChunk, count = args.width - first;
        Chunk c = load_at(args.x, token, 0, first, count);
#pragma unroll
        for (int j = 0; j < kChunk; j++) {
            const float x = divide(c.x[j], args.cap);
            c.x[j] = tanh_by(x, exp_of_negative(-2.0f * magnitude_of(x))) * args.cap;
        }
        store_at(args.x, token, 0, first, c, count);
    }
}

KV8_KERNEL(kv8_embedding_kernel, EmbeddingParams::kThreads, EmbeddingParams::kResident, EmbeddingParams) {
    const kv8_embedding_args& args = params.args;
    const int64_t chunks = chunks_of(args.width), items = args.tokens * chunks,
                  step = int64_t(blocks()) * EmbeddingParams::kThreads;
    for (int64_t i = int64_t(block()) * EmbeddingParams::kThreads + thread(); i < items; i += step) {
        const Division place = divided(i, chunks);
        const int64_t token = place.quotient, first = place.remainder * kChunk, count = args.width - first;
        const int32_t id = load<int32_t>(address_of(args.ids) + 4 * token);
        if (id < 0 || id >= args.vocabulary) {
            report(params.fault, kBadTokenId, token, id, args.vocabulary);
            continue;
        }
        const int64_t element = int64_t(id) * args.width + first;
        Chunk c =
            load_plain(args.table_dtype, address_of(args.table) + element * element_bytes(args.table_dtype), count);
#pragma unroll
        for (int j = 0; j < kChunk; j++) c.x[j] *= args.scale;
        store_at(args.out, token, 0, first, c, count);
    }
}

}  // namespace kv8::gpu
