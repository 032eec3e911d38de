// The forms in which attention's products read rows of K and V, kWidth elements at a time: float32, float16 or bfloat16.
// Plain dtypes are read where they lie in the cache. FP8 codes are first widened to float16 beside each other, which is a
// shift and a mask for a register of them; the conversion to float32 then is the hardware's, at each load. Where there is no such
// conversion, and where many query rows share a key, rows are widened to float32 instead. A value is the same in each form, and
// in these forms of FP8 codes by the same factor less, so that results do not depend on the form. For products of pairs, FP8
// codes are widened to bfloat16, however many rows there are.
#pragma once

#include "cpu/kv_tile.h"
#include "cpu/pairs.h"
#include "cpu/registers.h"

namespace kv8::cpu::KV8_ISA {

#if defined(__AVX2__) || defined(KV8_NEON)
constexpr bool kConvertsHalf = true;
#else
constexpr bool kConvertsHalf = false;
#endif

struct FloatForm {
    static constexpr int bytes = 4;
    static KV8_INLINE rf load(const uint8_t* from) { return KV8_ISA::load<rf>(from); }
};

struct HalfForm {
    static constexpr int bytes = 2;
    static KV8_INLINE rf load(const uint8_t* from) {
#if defined(__AVX512F__)
        return (rf)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__AVX2__)
        return (rf)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(KV8_NEON)
        return (rf)vcvt_f32_f16(KV8_ISA::load<float16x4_t>(from));
#else
        (void)from;  // is never asked for: kConvertsHalf
        return rf{};
#endif
    }
};

struct BFloatForm {
    static constexpr int bytes = 2;
    static KV8_INLINE rf load(const uint8_t* from) {
#if defined(__AVX512F__)
        return (rf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))),
                                     16);
#elif defined(__AVX2__)
        // The load fills both halves of the register, so that one shuffle within them does it.
        const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
        return (rf)_mm256_shuffle_epi8(
            twice, _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7, -1, -1, 8, 9, -1, -1, 10,
                                    11, -1, -1, 12, 13, -1, -1, 14, 15));
#elif defined(KV8_NEON)
        return (rf)(vmovl_u16(KV8_ISA::load<uint16x4_t>(from)) << 16);
#else
        typedef uint16_t Part __attribute__((vector_size(kWidth * 2)));
        typedef uint32_t Bits __attribute__((vector_size(kWidth * 4)));
        return bits<rf>(__builtin_convertvector(KV8_ISA::load<Part>(from), Bits) << 16);
#endif
    }
};

enum class RowForm { kFloat, kHalf, kBFloat };

// body(Form{}).
template <class Body>
KV8_INLINE void with_form(RowForm form, const Body& body) {
    if constexpr (kConvertsHalf)
        if (form == RowForm::kHalf) return body(HalfForm{});
    if (form == RowForm::kBFloat) return body(BFloatForm{});
    body(FloatForm{});
}

// Writes rows of the cache's dtype to `wide`, one after the other, in the form, and asks for as many others on the way.
typedef void (*WidenRows)(const uint8_t* const* rows, const uint8_t* const* asked, int count, int head_size,
                          uint8_t* wide);

template <class Format>
void widen_to_half(const uint8_t* const* rows, const uint8_t* const* asked, int count, int head_size, uint8_t* wide) {
    if (!halves_of_rows<Format>(rows, asked, count, head_size, wide)) return;
    for (int i = 0; i < count; i++)
        for (int d = 0; d < head_size; d += kLanes)
            store(wide + (i * head_size + d) * 2, to_f16_bits<Format>(load<u8>(rows[i] + d)));
}

template <class Element>
void widen_to_float(const uint8_t* const* rows, const uint8_t* const* asked, int count, int head_size, uint8_t* wide) {
    if constexpr (Element::fp8 && kConvertsHalf) {
        // The halves lie in the upper half of the floats' place, and are read before floats reach them.
        const int elements = count * head_size;
        const uint8_t* const halves = wide + elements * 2;
        widen_to_half<typename Element::Format>(rows, asked, count, head_size, wide + elements * 2);
        for (int i = 0; i < elements; i += kWidth) store(wide + i * 4, HalfForm::load(halves + i * 2));
    } else {
        prefetch_rows(asked, count, head_size * Element::bytes);
        for (int i = 0; i < count; i++)
            for (int d = 0; d < head_size; d += kLanes)
                store(wide + (i * head_size + d) * 4, Element::load(rows[i] + d * Element::bytes));
    }
}

// How rows of a dtype are read. A value is `factor` times what the form holds.
struct RowReading {
    RowForm form;
    WidenRows widen;  // null: rows are read where they lie
    float factor;
};

// A key converted again for every few rows costs more than one kept in float32, from some number of rows on.
constexpr int kMostRowsInHalf = 8;

// Whether bfloat16 holds every value of a dtype.
KV8_INLINE bool fits_bfloat(kv8_dtype dtype) { return dtype == KV8_BF16 || dtype >= KV8_E4M3FN; }

// For products of pairs the dtype must fit bfloat16.
inline RowReading reading_of(kv8_dtype dtype, int query_rows, bool pairs) {
    RowReading reading{};
    with_dtype(dtype, [&](auto element) {
        using Element = decltype(element);
#if KV8_PAIRS
        if (pairs) {
            reading = {RowForm::kBFloat, nullptr, 1.0f};
            if constexpr (Element::fp8) reading.widen = widen_to_bfloat<typename Element::Format>;
            return;
        }
#else
        (void)pairs;
#endif
        reading = {RowForm::kFloat, widen_to_float<Element>, 1.0f};
        if constexpr (Element::fp8 && kConvertsHalf) reading.factor = kF16Factor<typename Element::Format>;
        if (dtype == KV8_F32) reading.widen = nullptr;
        if (query_rows > kMostRowsInHalf) return;
        if (dtype == KV8_BF16) reading = {RowForm::kBFloat, nullptr, 1.0f};
        if constexpr (kConvertsHalf) {
            if (dtype == KV8_F16) reading = {RowForm::kHalf, nullptr, 1.0f};
            if constexpr (Element::fp8) {
                reading.form = RowForm::kHalf;
                reading.widen = widen_to_half<typename Element::Format>;
            }
        }
    });
    return reading;
}

}  // namespace kv8::cpu::KV8_ISA
