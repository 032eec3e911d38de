#include "cpu/stream_copy.h"

#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace kv8::cpu {

#if defined(__SSE2__)

namespace {
constexpr int64_t kLine = 64;
}

void stream_copy(void* to, const void* from, int64_t bytes) {
    char* target = static_cast<char*>(to);
    const char* source = static_cast<const char*>(from);
    // Lines are written whole, or the processor has to read them after all.
    const int64_t head = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(target) & (kLine - 1));
    if (bytes < head + kLine) {
        std::memcpy(target, source, static_cast<size_t>(bytes));
        return;
    }
    std::memcpy(target, source, static_cast<size_t>(head));
    target += head, source += head, bytes -= head;
    for (; bytes >= kLine; target += kLine, source += kLine, bytes -= kLine) {
        const __m128i* const in = reinterpret_cast<const __m128i*>(source);
        __m128i* const out = reinterpret_cast<__m128i*>(target);
        const __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
        const __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
        _mm_stream_si128(out, a);
        _mm_stream_si128(out + 1, b);
        _mm_stream_si128(out + 2, c);
        _mm_stream_si128(out + 3, d);
    }
    std::memcpy(target, source, static_cast<size_t>(bytes));
}

void finish_stream() { _mm_sfence(); }

#else

void stream_copy(void* to, const void* from, int64_t bytes) { std::memcpy(to, from, static_cast<size_t>(bytes)); }

void finish_stream() {}

#endif

}  // namespace kv8::cpu
