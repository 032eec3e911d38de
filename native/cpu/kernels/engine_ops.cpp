// What an engine needs beside a GEMM of many rows. Rows go through float32 buffers of kChunk elements that stay in the first-level cache,
// so that each operation is written once and not for every combination of dtypes.
#include <cmath>

#include "cpu/kernels.h"
#include "cpu/rope.h"
#include "cpu/row_io.h"
#include "cpu/sampling.h"
#include "cpu/softmax.h"
#include "cpu/weight_products.h"

namespace kv8::cpu::KV8_ISA {
namespace {

constexpr int kChunk = 512;

// Buffers hold whole vectors; the lanes after the last element are zero.
struct alignas(64) Chunk {
    float values[kChunk];
};

void read(kv8_dtype dtype, const uint8_t* row, int64_t first, int count, Chunk& to) {
    with_row_dtype(dtype, [&](auto element) {
        using Element = decltype(element);
        const uint8_t* from = row + first * Element::bytes;
        int i = 0;
        for (; i + kLanes <= count; i += kLanes) store(to.values + i, Element::load(from + i * Element::bytes));
        if (i < count) store(to.values + i, load_part<Element>(from + i * Element::bytes, count - i));
    });
}

void write(kv8_dtype dtype, uint8_t* row, int64_t first, int count, const Chunk& from) {
    with_row_dtype(dtype, [&](auto element) {
        using Element = decltype(element);
        uint8_t* to = row + first * Element::bytes;
        int i = 0;
        for (; i + kLanes <= count; i += kLanes) Element::store(to + i * Element::bytes, load<f32>(from.values + i));
        if (i < count) store_part<Element>(to + i * Element::bytes, load<f32>(from.values + i), count - i);
    });
}

template <class Body>
KV8_INLINE void for_chunks(int64_t width, const Body& body) {
    for (int64_t first = 0; first < width; first += kChunk)
        body(first, int(width - first < kChunk ? width - first : kChunk));
}

template <class Body>
KV8_INLINE void for_vectors(int count, const Body& body) {
    for (int i = 0; i < count; i += kLanes) body(i);
}

void rms_norm(const kv8_rms_norm_args& args, int64_t begin, int64_t end) {
    const bool has_residual = args.residual.data.ptr != 0;
    for (int64_t row = begin; row < end; row++) {
        const int64_t token = row / args.heads, head = row % args.heads;
        const uint8_t* x = row_at(args.x, token, head);
        kv8_dtype x_dtype = args.x.dtype;
        Chunk values, other;
        f32 squares = splat(0.0f);
        for_chunks(args.width, [&](int64_t first, int count) {
            read(x_dtype, x, first, count, values);
            if (has_residual) {
                uint8_t* residual = row_at(args.residual, token, head);
                read(args.residual.dtype, residual, first, count, other);
                for_vectors(count, [&](int i) {
                    store(values.values + i, load<f32>(values.values + i) + load<f32>(other.values + i));
                });
                write(args.residual.dtype, residual, first, count, values);
                // What was stored is what is normalized, as if the two steps were calls of their own.
                read(args.residual.dtype, residual, first, count, values);
            }
            for_vectors(count, [&](int i) {
                const f32 v = load<f32>(values.values + i);
                squares = fma(v, v, squares);
            });
        });
        if (has_residual) {
            x = row_at(args.residual, token, head);
            x_dtype = args.residual.dtype;
        }
        const f32 scale = splat(1.0f / std::sqrt(reduce_add(squares) / float(args.width) + args.eps));
        for_chunks(args.width, [&](int64_t first, int count) {
            read(x_dtype, x, first, count, values);
            read(args.weight_dtype, reinterpret_cast<const uint8_t*>(args.weight.ptr), first, count, other);
            for_vectors(count, [&](int i) {
                store(values.values + i, load<f32>(values.values + i) * scale * load<f32>(other.values + i));
            });
            write(args.out.dtype, row_at(args.out, token, head), first, count, values);
        });
    }
}

static_assert(kChunk >= KV8_MAX_ROTARY_SIZE, "the rotated part of a row fits one buffer");

void rope(const kv8_rope_args& args, int64_t begin, int64_t end) {
    const int rotary = args.rope.rotary_size;
    const int32_t* positions = reinterpret_cast<const int32_t*>(args.rope.positions.ptr);
    for (int64_t row = begin; row < end; row++) {
        const int64_t token = row / args.heads, head = row % args.heads;
        uint8_t* x = row_at(args.x, token, head);
        const uint8_t* angles =
            reinterpret_cast<const uint8_t*>(args.rope.table.ptr) + int64_t(positions[token]) * rotary * 4;
        Chunk values;
        read(args.x.dtype, x, 0, rotary, values);
        rotate(values.values, angles, rotary, args.rope.style);
        write(args.x.dtype, x, 0, rotary, values);
    }
}

// sigmoid(x) from e^-|x|, which cannot overflow.
KV8_INLINE rf sigmoid(rf x) {
    const rf e = exp_of_negative(bits<rf>(bits<ri>(x) | (ri{} + INT32_MIN)));
    return (x < rf{} ? e : all(1.0f)) / (1.0f + e);
}

KV8_INLINE rf silu(rf x) { return x * sigmoid(x); }

// (1 + tanh(u)) / 2 is sigmoid(2u), which keeps the small values of a negative x.
KV8_INLINE rf gelu_tanh(rf x) {
    const rf twice = (x * 1.59576912160573071176f) * fused(x * x, all(0.044715f), all(1.0f));  // 2 sqrt(2/pi)
    return x * sigmoid(twice);
}

void gate_mul(const kv8_gate_mul_args& args, int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; token++) {
        const uint8_t *gate_row = row_at(args.gate, token, 0), *up_row = row_at(args.up, token, 0);
        uint8_t* out_row = row_at(args.out, token, 0);
        for_chunks(args.width, [&](int64_t first, int count) {
            Chunk gate, up;
            read(args.gate.dtype, gate_row, first, count, gate);
            read(args.up.dtype, up_row, first, count, up);
            const auto multiply = [&](auto activation) {
                for (int i = 0; i < count; i += kWidth)
                    store(gate.values + i, activation(load<rf>(gate.values + i)) * load<rf>(up.values + i));
            };
            if (args.activation == KV8_SILU)
                multiply(KV8_LAMBDA(rf x) { return silu(x); });
            else
                multiply(KV8_LAMBDA(rf x) { return gelu_tanh(x); });
            write(args.out.dtype, out_row, first, count, gate);
        });
    }
}

void softcap(const kv8_softcap_args& args, int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; token++) {
        uint8_t* row = row_at(args.x, token, 0);
        for_chunks(args.width, [&](int64_t first, int count) {
            Chunk x;
            read(args.x.dtype, row, first, count, x);
            for (int i = 0; i < count; i += kWidth)
                store(x.values + i, tanh_of(load<rf>(x.values + i) / args.cap) * args.cap);
            write(args.x.dtype, row, first, count, x);
        });
    }
}

void embedding(const kv8_embedding_args& args, int64_t begin, int64_t end) {
    const int32_t* ids = reinterpret_cast<const int32_t*>(args.ids.ptr);
    const int64_t row_bytes = int64_t(args.width) * element_bytes(args.table_dtype);
    for (int64_t token = begin; token < end; token++) {
        const uint8_t* from = reinterpret_cast<const uint8_t*>(args.table.ptr) + ids[token] * row_bytes;
        for_chunks(args.width, [&](int64_t first, int count) {
            Chunk values;
            read(args.table_dtype, from, first, count, values);
            for_vectors(count,
                        [&](int i) { store(values.values + i, load<f32>(values.values + i) * splat(args.scale)); });
            write(args.out.dtype, row_at(args.out, token, 0), first, count, values);
        });
    }
}

int64_t first_illegal_logits(const kv8_sample_args& args, int64_t begin, int64_t end) {
    int64_t found = -1;
    with_row_dtype(args.logits.dtype, [&](auto element) {
        for (int64_t token = begin; token < end && found < 0; token++)
            if (!is_legal_row<decltype(element)>(row_at(args.logits, token, 0), args.vocabulary)) found = token;
    });
    return found;
}

uint64_t sample_scratch_bytes(const kv8_sample_args& args) { return uint64_t(args.vocabulary) * sizeof(Candidate); }

void sample(const kv8_sample_args& args, int64_t begin, int64_t end, void* scratch) {
    const auto* sampling = reinterpret_cast<const kv8_sampling*>(args.sampling.ptr);
    auto* ids = reinterpret_cast<int32_t*>(args.ids.ptr);
    with_row_dtype(args.logits.dtype, [&](auto element) {
        for (int64_t token = begin; token < end; token++)
            ids[token] = draw<decltype(element)>(row_at(args.logits, token, 0), args.vocabulary, sampling[token],
                                                 static_cast<Candidate*>(scratch));
    });
}

}  // namespace

const EngineKernels engine_kernels = {
    lay_side_by_side, kBlockOutputs,        multiply_blocks,      rms_norm, rope, gate_mul, softcap,
    embedding,        first_illegal_logits, sample_scratch_bytes, sample,
};

}  // namespace kv8::cpu::KV8_ISA
