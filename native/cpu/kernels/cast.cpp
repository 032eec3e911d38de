// Casts between the seven dtypes, and the maximum magnitudes that scales are made of.
#include "cpu/encode_numbers.h"
#include "cpu/kernels.h"
#include "cpu/row_io.h"
#include "cpu/stream_copy.h"

namespace kv8::cpu::KV8_ISA {
namespace {

template <class From, class To>
KV8_INLINE f32 rescale(f32 x, float scale) {
    if constexpr (To::fp8 && !From::fp8) return x / scale;
    if constexpr (From::fp8 && !To::fp8) return x * scale;
    return x;
}

// dst[0, count) from src[0, count), one way for all values.
template <class From, class To>
void cast_any(const uint8_t* src, uint8_t* dst, int64_t count, float scale) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
        To::store(dst + i * To::bytes, rescale<From, To>(From::load(src + i * From::bytes), scale));
    if (i < count) {
        const f32 x = rescale<From, To>(load_part<From>(src + i * From::bytes, count - i), scale);
        store_part<To>(dst + i * To::bytes, x, count - i);
    }
}

// Bytes ahead at which a cast asks for memory: the processor's own prefetching begins anew with every page.
constexpr int64_t kAheadOfLoads = 2048, kAheadOfStores = 1024;

// The same, with numbers quantized as such. `asks` says whether to ask for the lines of dst too.
template <class From, class To>
KV8_INLINE void cast_elements(const uint8_t* src, uint8_t* dst, int64_t count, float scale, bool asks) {
    int64_t i = 0;
    if constexpr (To::fp8 && !From::fp8) {
        constexpr int64_t kRun = 256;
        const Reciprocal reciprocal(scale);
        for (; i + kRun <= count; i += kRun) {
            const uint8_t* const from = src + i * From::bytes;
            for (int64_t at = 0; at < kRun * From::bytes; at += 64) __builtin_prefetch(from + kAheadOfLoads + at);
            if (asks)
                for (int64_t at = 0; at < kRun; at += 64) __builtin_prefetch(dst + i + kAheadOfStores + at, 1);
            const auto values = KV8_LAMBDA(int64_t j) { return From::load(from + j * From::bytes); };
            if (!encode_numbers<typename To::Format>(dst + i, kRun, reciprocal, To::max_value, values))
                cast_any<From, To>(from, dst + i, kRun, scale);
        }
    }
    cast_any<From, To>(src + i * From::bytes, dst + i * To::bytes, count - i, scale);
}

template <class From, class To>
void cast_part(const kv8_cast_args& args, int64_t begin, int64_t end) {
    const auto* src = reinterpret_cast<const uint8_t*>(args.src.ptr);
    auto* dst = reinterpret_cast<uint8_t*>(args.dst.ptr);
    // Between types of one and two bytes arithmetic is the limit, and the way through a piece would only lengthen it.
    constexpr bool kReachesMemory = From::bytes == 4 || To::bytes == 4;
    if (!kReachesMemory || args.count * To::bytes < kStreamedBytes) {
        cast_elements<From, To>(src + begin * From::bytes, dst + begin * To::bytes, end - begin, args.scale, true);
        return;
    }
    constexpr int64_t kPiece = 4096 / To::bytes;
    alignas(64) uint8_t piece[kPiece * To::bytes];
    for (int64_t i = begin; i < end; i += kPiece) {
        const int64_t count = end - i < kPiece ? end - i : kPiece;
        cast_elements<From, To>(src + i * From::bytes, piece, count, args.scale, false);
        stream_copy(dst + i * To::bytes, piece, count * To::bytes);
    }
    finish_stream();
}

void cast(const kv8_cast_args& args, int64_t begin, int64_t end) {
    with_dtype(args.src_dtype, [&](auto from) {
        with_dtype(args.dst_dtype, [&](auto to) { cast_part<decltype(from), decltype(to)>(args, begin, end); });
    });
}

// body(d, lanes, count) for each group of up to sixteen elements of a row.
template <class Element, class Body>
KV8_INLINE void for_lanes(const uint8_t* row, int64_t width, const Body& body) {
    int64_t d = 0;
    for (; d + kLanes <= width; d += kLanes) body(d, Element::load(row + d * Element::bytes), kLanes);
    if (d < width) body(d, load_part<Element>(row + d * Element::bytes, width - d), width - d);
}

// max() gives its second argument for NaN, which skips NaN elements.
template <class Element>
KV8_INLINE float row_amax(const uint8_t* row, int64_t width) {
    f32 most = splat(0.0f);
    for_lanes<Element>(row, width, [&](int64_t, f32 x, int64_t) { most = max(abs(x), most); });
    return reduce_max(most);
}

template <class Element>
void amax_tokens(const kv8_amax_args& args, int64_t begin, int64_t end, float* out) {
    for (int64_t t = begin; t < end; t++) {
        for (int64_t h = 0; h < args.heads; h++) {
            const uint8_t* row = row_at(args.x, t, h);
            if (args.granularity == KV8_AMAX_CHANNEL) {
                auto* channels = reinterpret_cast<uint8_t*>(out + h * args.width);
                for_lanes<Element>(row, args.width, [&](int64_t d, f32 x, int64_t count) {
                    uint8_t* at = channels + d * sizeof(float);
                    store_part<Float32>(at, max(abs(x), load_part<Float32>(at, count)), count);
                });
                continue;
            }
            const float most = row_amax<Element>(row, args.width);
            int64_t result = 0;
            if (args.granularity == KV8_AMAX_ROW) result = t * args.heads + h;
            if (args.granularity == KV8_AMAX_HEAD) result = h;
            if (most > load<float>(out + result)) store(out + result, most);
        }
    }
}

void amax(const kv8_amax_args& args, int64_t begin, int64_t end, float* out) {
    with_row_dtype(args.x.dtype, [&](auto element) { amax_tokens<decltype(element)>(args, begin, end, out); });
}

}  // namespace

const CastKernels cast_kernels = {cast, amax};

}  // namespace kv8::cpu::KV8_ISA
