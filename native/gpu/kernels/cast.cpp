// Casts between the seven dtypes, and the maximum magnitudes that scales are made of.
#include "gpu/elements.h"

namespace kv8::gpu {
namespace {

// Magnitudes are compared as integers, which order them as floats do; a NaN counts as 0.
KV8_DEVICE uint32_t magnitude_bits(float x) {
    const uint32_t magnitude = bits_of(x) & 0x7FFFFFFFu;
    return magnitude > fp8::kFloatInfinity ? 0u : magnitude;
}

KV8_DEVICE uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

KV8_DEVICE uint32_t largest_of_row(uint32_t x, int threads) {
    for (int mask = threads / 2; mask > 0; mask /= 2) x = larger(x, shuffle_xor(x, mask));
    return x;
}

// Most candidates are smaller than what is there already, which a load finds out for less than an atomic operation.
KV8_DEVICE void raise(uint8_t* out, int64_t index, uint32_t magnitude) {
    auto* word = reinterpret_cast<uint32_t*>(out) + index;
    if (load<uint32_t>(word) < magnitude) atomic_maximum(word, magnitude);
}

// A thread's part of a row.
KV8_DEVICE uint32_t largest_of_chunks(const kv8_rows& x, const uint8_t* row, const RowShare& share, int width) {
    uint32_t largest = 0;
    for (int64_t chunk = share.chunk; chunk < chunks_of(width); chunk += share.threads) {
        const Chunk c = load_plain(x.dtype, row + chunk * kChunk * element_bytes(x.dtype), width - chunk * kChunk);
#pragma unroll
        for (int i = 0; i < kChunk; i++) largest = larger(largest, magnitude_bits(c.x[i]));
    }
    return largest;
}

KV8_DEVICE void amax_of_rows(const kv8_amax_args& args) {
    const RowShare share(args.width, AmaxParams::kThreads);
    const int64_t rows = int64_t(args.tokens) * args.heads, step = int64_t(blocks()) * share.rows_in_block;
    uint8_t* out = address_of(args.out);
    uint32_t of_tensor = 0;
    for (int64_t first = int64_t(block()) * share.rows_in_block; first < rows; first += step) {
        const int64_t row = first + share.row;
        const Division place = divided(row, args.heads);  // token and head
        uint32_t largest = 0;
        if (row < rows)
            largest = largest_of_chunks(args.x, row_at(args.x, place.quotient, place.remainder), share, args.width);
        if (args.granularity == KV8_AMAX_TENSOR) {
            of_tensor = larger(of_tensor, largest);
            continue;
        }
        largest = largest_of_row(largest, share.threads);
        if (row < rows && share.chunk == 0)
            raise(out, args.granularity == KV8_AMAX_ROW ? row : place.remainder, largest);
    }
    if (args.granularity != KV8_AMAX_TENSOR) return;
    of_tensor = largest_of_row(of_tensor, kLanes);
    if (lane() == 0) raise(out, 0, of_tensor);
}

// A thread keeps eight channels of a head and walks over tokens; where there are more threads than that, they share the
// tokens.
KV8_DEVICE void amax_of_channels(const kv8_amax_args& args) {
    const int64_t threads = int64_t(blocks()) * AmaxParams::kThreads, chunks = chunks_of(args.width),
                  columns = args.heads * chunks, slices = threads > columns ? threads / columns : 1;
    for (int64_t i = int64_t(block()) * AmaxParams::kThreads + thread(); i < columns * slices; i += threads) {
        const Division part = divided(i, columns), column = divided(part.remainder, chunks);
        const int64_t head = column.quotient, channel = column.remainder * kChunk;
        uint32_t largest[kChunk] = {};
        for (int64_t token = part.quotient; token < args.tokens; token += slices) {
            const uint8_t* row = row_at(args.x, token, head);
            const Chunk c = load_plain(args.x.dtype, row + channel * element_bytes(args.x.dtype), args.width - channel);
#pragma unroll
            for (int j = 0; j < kChunk; j++) largest[j] = larger(largest[j], magnitude_bits(c.x[j]));
        }
#pragma unroll
        for (int j = 0; j < kChunk; j++)
            if (channel + j < args.width) raise(address_of(args.out), head * args.width + channel + j, largest[j]);
    }
}

// To FP8 elements are divided by the scale, from FP8 multiplied by it; from one FP8 to the other it is not asked for.
class Scaling {
  public:
    KV8_DEVICE explicit Scaling(const kv8_cast_args& args)
        : scale_(args.scale),
          divides_(is_fp8(args.dst_dtype) && !is_fp8(args.src_dtype)),
          multiplies_(is_fp8(args.src_dtype) && !is_fp8(args.dst_dtype)),
          quotients_(args.scale) {}

    template <int kChunks>
    KV8_DEVICE void apply(Chunk (&c)[kChunks]) const {
        if (divides_) quotients_.replace(c);
        if (!multiplies_) return;
#pragma unroll
        for (int j = 0; j < kChunks; j++)
#pragma unroll
            for (int i = 0; i < kChunk; i++) c[j].x[i] *= scale_;
    }

  private:
    float scale_;
    bool divides_, multiplies_;
    Quotients quotients_;
};

// Whole chunks of arrays whose chunks are aligned: a block takes kAtOnce chunks a thread at a time, whose loads are all under
// way before the first is waited for. None hangs on a condition: past the end the last chunk is loaded once more.
KV8_DEVICE void cast_chunks(const kv8_cast_args& args, int64_t count, const Scaling& scaling) {
    constexpr int kAtOnce = CastParams::kAtOnce, kRow = CastParams::kThreads * kChunk, kTile = kAtOnce * kRow;
    const int own = thread() * kChunk;
    for (int64_t tile = int64_t(block()) * kTile; tile < count; tile += int64_t(blocks()) * kTile) {
        const int end = int(count - tile < kTile ? count - tile : kTile);
        Chunk c[kAtOnce];
        with_element(args.src_dtype, [&](auto element) {
            using Source = decltype(element);
            const uint8_t* src = address_of(args.src) + tile * Source::bytes;
#pragma unroll
            for (int j = 0; j < kAtOnce; j++) {
                const int first = own + j * kRow;
                c[j] = Source::load_chunk(src + (first < end ? first : end - kChunk) * Source::bytes);
            }
        });
        scaling.apply(c);
        with_element(args.dst_dtype, [&](auto element) {
            using Target = decltype(element);
            uint8_t* dst = address_of(args.dst) + tile * Target::bytes;
#pragma unroll
            for (int j = 0; j < kAtOnce; j++) {
                const int first = own + j * kRow;
                if (first < end) Target::store_chunk(dst + first * Target::bytes, c[j]);
            }
        });
    }
}

}  // namespace

KV8_KERNEL(kv8_cast_kernel, CastParams::kThreads, CastParams::kResident, CastParams) {
    const kv8_cast_args& args = params.args;
    const uint8_t* src = address_of(args.src);
    uint8_t* dst = address_of(args.dst);
    const int src_bytes = element_bytes(args.src_dtype), dst_bytes = element_bytes(args.dst_dtype);
    const Scaling scaling(args);
    const bool aligned = is_aligned(src, src_bytes) && is_aligned(dst, dst_bytes);
    const int64_t whole = aligned ? args.count / kChunk * kChunk : 0;
    cast_chunks(args, whole, scaling);
    // What is left, at any address.
    const int64_t step = int64_t(blocks()) * CastParams::kThreads * kChunk;
    for (int64_t i = whole + (int64_t(block()) * CastParams::kThreads + thread()) * kChunk; i < args.count; i += step) {
        Chunk c[1] = {load_any(args.src_dtype, src + i * src_bytes, args.count - i)};
        scaling.apply(c);
        store_any(args.dst_dtype, dst + i * dst_bytes, c[0], args.count - i);
    }
}

KV8_KERNEL(kv8_amax_kernel, AmaxParams::kThreads, AmaxParams::kResident, AmaxParams) {
    if (params.args.granularity == KV8_AMAX_CHANNEL)
        amax_of_channels(params.args);
    else
        amax_of_rows(params.args);
}

}  // namespace kv8::gpu
