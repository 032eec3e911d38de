// The kernels' words on the host: each is done by the emulator, which checks what a GPU would not tell. Functions that can be
// wrong take the line that they are called from as a last, defaulted argument, for the message.
#pragma once

#include "emulator/arch.h"
#include "emulator/conversions.h"
#include "emulator/device_memory.h"
#include "emulator/matrix_units.h"
#include "emulator/runtime.h"
#include "emulator/shared_memory.h"

#define KV8_DEVICE inline __attribute__((always_inline))

#define KV8_TEXT_OF_TOKENS(x) #x
#define KV8_TEXT(x) KV8_TEXT_OF_TOKENS(x)
#define KV8_KERNEL(name, threads, resident, Params)                                                          \
    static void name(const Params& params);                                                                  \
    static const ::kv8::emulator::Kernel name##_kernel(                                                      \
        KV8_TEXT(KV8_MODULE), #name, threads, sizeof(Params),                                                \
        [](const void* given) { name(*static_cast<const Params*>(given)); });                                \
    static_assert((resident) > 0 && (threads) % ::kv8::gpu::kLanes == 0, "whole warps, at least one block"); \
    static void name([[maybe_unused]] const Params& params)

namespace kv8::gpu {

constexpr int kLanes = emulator::kArch.lanes;
constexpr int kSharedKiB = emulator::kArch.shared_kib;
constexpr MatrixUnit kMatrixUnit = emulator::kArch.family == emulator::Family::kNvidia  ? MatrixUnit::kMma
                                   : emulator::kArch.family == emulator::Family::kCdna  ? MatrixUnit::kMfma
                                   : emulator::kArch.family == emulator::Family::kRdna3 ? MatrixUnit::kWmma3
                                                                                        : MatrixUnit::kWmma4;
constexpr bool kConvertsOcp = emulator::kArch.converts_ocp;
constexpr bool kConvertsFnuz = emulator::kArch.converts_fnuz;

namespace detail {

using emulator::here;
using emulator::Site;

template <class To, class From>
KV8_DEVICE To same_bits(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    __builtin_memcpy(&to, &from, sizeof(to));
    return to;
}

KV8_DEVICE void require(bool has, const char* instruction, Site site) {
    if (!has) emulator::fail(*emulator::running, site, "uses %s, which this architecture lacks", instruction);
}

}  // namespace detail

// ---- threads

KV8_DEVICE int thread() { return emulator::running->thread; }
KV8_DEVICE int lane() { return thread() % kLanes; }
KV8_DEVICE int block() { return emulator::grid.block; }
KV8_DEVICE int blocks() { return emulator::grid.blocks; }

KV8_DEVICE void sync_block(detail::Site site = detail::here()) { emulator::sync_block(site); }
KV8_DEVICE void sync_warp(detail::Site site = detail::here()) { emulator::sync_warp(site); }

template <class T>
KV8_DEVICE T shuffle_xor(T x, int mask, detail::Site site = detail::here()) {
    return detail::same_bits<T>(emulator::shuffle(detail::same_bits<uint32_t>(x), lane() ^ mask, site));
}
// A shuffle on NVIDIA, where a call by some lanes alone never returns.
KV8_DEVICE int warp(detail::Site site = detail::here()) {
    return int(emulator::shuffle(uint32_t(thread() / kLanes), 0, site));
}
KV8_DEVICE bool any_lane(bool x, detail::Site site = detail::here()) { return emulator::any_lane(x, site); }

// ---- memory

template <class T>
KV8_DEVICE T load(const void* from, detail::Site site = detail::here()) {
    emulator::device_memory.check(from, sizeof(T), "reads", site);
    T value;
    __builtin_memcpy(&value, from, sizeof(T));
    return value;
}
template <class T>
KV8_DEVICE void store(void* to, T value, detail::Site site = detail::here()) {
    emulator::device_memory.check(to, sizeof(T), "writes", site);
    __builtin_memcpy(to, &value, sizeof(T));
}
template <class T>
KV8_DEVICE T load(Shared from, detail::Site site = detail::here()) {
    return emulator::shared_memory.load<T>(from.at, site);
}
template <class T>
KV8_DEVICE void store(Shared to, T value, detail::Site site = detail::here()) {
    emulator::shared_memory.store(to.at, value, site);
}

KV8_DEVICE void copy_async(Shared to, const void* from, bool valid, detail::Site site = detail::here()) {
    if (valid) emulator::device_memory.check(from, 16, "copies", site);
    emulator::shared_memory.copy_async(to.at, valid ? from : nullptr, site);
}
KV8_DEVICE void commit_copies() { emulator::shared_memory.commit_copies(); }
template <int kGroups>
KV8_DEVICE void wait_copies() {
    emulator::shared_memory.wait_copies(kGroups);
}

// A group's copies are each given once, on every architecture. Where they are kept in registers they begin when the group is
// committed.
#define KV8_COPIES_IN_REGISTERS 1
constexpr bool kCopiesInRegisters = emulator::kArch.family != emulator::Family::kNvidia;

template <int kCount>
struct Copies {
    struct Copy {
        Shared to;
        const void* from;
        bool valid, given;
    };
    Copy copies[kCount] = {};
};

template <int kCount>
KV8_DEVICE void copy_async(Copies<kCount>& group, int i, Shared to, const void* from, bool valid,
                           detail::Site site = detail::here()) {
    if (i < 0 || i >= kCount || group.copies[i].given)
        emulator::fail(*emulator::running, site, "gives copy %d of a group of %d, which is none or has been given", i,
                       kCount);
    group.copies[i] = {to, from, valid, true};
    if (!kCopiesInRegisters)
        copy_async(to, from, valid, site);
    else if (valid)
        emulator::device_memory.check(from, 16, "copies", site);
}
template <int kCount>
KV8_DEVICE void commit_copies(Copies<kCount>& group, detail::Site site = detail::here()) {
    for (int i = 0; i < kCount; i++) {
        auto& copy = group.copies[i];
        if (!copy.given) emulator::fail(*emulator::running, site, "commits a group of copies without its copy %d", i);
        if (kCopiesInRegisters) copy_async(copy.to, copy.from, copy.valid, site);
        copy.given = false;
    }
    commit_copies();
}

KV8_DEVICE bool claim(uint32_t* word, uint32_t value, detail::Site site = detail::here()) {
    emulator::device_memory.check(word, sizeof(*word), "claims", site);
    uint32_t unclaimed = 0;
    return __atomic_compare_exchange_n(word, &unclaimed, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
KV8_DEVICE uint32_t fetch_add(uint32_t* word, uint32_t value, detail::Site site = detail::here()) {
    emulator::device_memory.check(word, sizeof(*word), "updates", site);
    const uint32_t before = *word;
    *word += value;
    return before;
}
KV8_DEVICE uint32_t uniform(uint32_t x) { return x; }
KV8_DEVICE void keep_order() {}
KV8_DEVICE void fence_device() {}  // blocks take turns
KV8_DEVICE void atomic_maximum(uint32_t* word, uint32_t value, detail::Site site = detail::here()) {
    emulator::device_memory.check(word, sizeof(*word), "updates", site);
    if (*word < value) *word = value;
}
KV8_DEVICE void atomic_add(uint64_t* word, uint64_t value, detail::Site site = detail::here()) {
    emulator::device_memory.check(word, sizeof(*word), "updates", site);
    *word += value;
}

// ---- arithmetic

KV8_DEVICE float divide(float a, float b) { return a / b; }
KV8_DEVICE float square_root(float x) { return __builtin_sqrtf(x); }
KV8_DEVICE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
KV8_DEVICE float maximum(float a, float b) { return a > b ? a : b; }
KV8_DEVICE float exp2_fast(float x) { return __builtin_exp2f(x); }
KV8_DEVICE float log2_fast(float x) { return __builtin_log2f(x); }

KV8_DEVICE int opaque(int x) { return x; }

// ---- conversions

KV8_DEVICE uint16_t narrow_f16(float x) { return emulator::narrow_f16(x); }
KV8_DEVICE uint16_t narrow_bf16(float x) { return emulator::narrow_bf16(x); }
KV8_DEVICE float widen_f16(uint16_t x) { return emulator::widen_f16(x); }
KV8_DEVICE float widen_bf16(uint16_t x) { return emulator::widen_bf16(x); }
KV8_DEVICE uint32_t narrow_f16(float low, float high) { return emulator::pair_of(narrow_f16(low), narrow_f16(high)); }
KV8_DEVICE uint32_t narrow_bf16(float low, float high) {
    return emulator::pair_of(narrow_bf16(low), narrow_bf16(high));
}
KV8_DEVICE uint32_t pack_f16(float low, float high) { return narrow_f16(low, high); }
KV8_DEVICE uint32_t pack_bf16(float low, float high) { return narrow_bf16(low, high); }

#if defined(KV8_MATRIX_FLUSHES_SUBNORMALS)
KV8_DEVICE uint32_t multiply_f16(uint32_t a, uint32_t b) {
    const auto product = [&](int shift) {
        return emulator::narrow_f16(emulator::widen_f16(uint16_t(a >> shift)) *
                                    emulator::widen_f16(uint16_t(b >> shift)));
    };
    return emulator::pair_of(product(0), product(16));
}
#endif

KV8_DEVICE uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector, detail::Site site = detail::here()) {
    if ((selector & 0xFFFF8888u) != 0)
        emulator::fail(*emulator::running, site, "permutes by 0x%x, not four nibbles of 0 to 7", selector);
    const uint64_t bytes = uint64_t(high) << 32 | low;
    uint32_t permuted = 0;
    for (int i = 0; i < 4; i++) permuted |= uint32_t(bytes >> (selector >> (4 * i) & 7u) * 8 & 0xFFu) << (8 * i);
    return permuted;
}

namespace detail {

template <class Format>
KV8_DEVICE uint32_t widen_codes(uint32_t codes, bool has) {
    require(has, "an FP8 conversion", Site{});
    return emulator::widen_codes<Format>(codes);
}
template <class Format>
KV8_DEVICE uint32_t narrow_to_codes(float low, float high, bool has) {
    require(has, "an FP8 conversion", Site{});
    return emulator::narrow_to_codes<Format>(low, high);
}

}  // namespace detail

KV8_DEVICE uint32_t widen_e4m3fn(uint32_t codes) { return detail::widen_codes<fp8::E4M3FN>(codes, kConvertsOcp); }
KV8_DEVICE uint32_t narrow_e4m3fn(float low, float high) {
    return detail::narrow_to_codes<fp8::E4M3FN>(low, high, kConvertsOcp);
}
KV8_DEVICE void widen_e4m3fn(uint32_t codes, uint32_t& first, uint32_t& second) {
    first = widen_e4m3fn(codes);
    second = widen_e4m3fn(codes >> 16);
}
KV8_DEVICE uint32_t widen_e5m2(uint32_t codes) { return detail::widen_codes<fp8::E5M2>(codes, kConvertsOcp); }
KV8_DEVICE uint32_t narrow_e5m2(float low, float high) {
    return detail::narrow_to_codes<fp8::E5M2>(low, high, kConvertsOcp);
}
KV8_DEVICE uint32_t widen_e4m3fnuz(uint32_t codes) { return detail::widen_codes<fp8::E4M3FNUZ>(codes, kConvertsFnuz); }
KV8_DEVICE uint32_t narrow_e4m3fnuz(float low, float high) {
    return detail::narrow_to_codes<fp8::E4M3FNUZ>(low, high, kConvertsFnuz);
}
KV8_DEVICE uint32_t widen_e5m2fnuz(uint32_t codes) { return detail::widen_codes<fp8::E5M2FNUZ>(codes, kConvertsFnuz); }
KV8_DEVICE uint32_t narrow_e5m2fnuz(float low, float high) {
    return detail::narrow_to_codes<fp8::E5M2FNUZ>(low, high, kConvertsFnuz);
}

// ---- matrices

namespace detail {

template <int kMatrices>
KV8_DEVICE void load_matrix(uint32_t (&r)[kMatrices], Shared row, const emulator::Meeting& meeting, Site site) {
    require(kMatrixUnit == MatrixUnit::kMma, meeting.name, site);
    emulator::MatrixRows rows{};
    // Addresses of the lanes above are not looked at.
    if (lane() < 8 * kMatrices) {
        const Words4 words = load<Words4>(row, site);
        __builtin_memcpy(rows.row, &words, sizeof(words));
    }
    emulator::meet(meeting, &rows, site);
    for (int i = 0; i < kMatrices; i++) r[i] = rows.loaded[i];
}

KV8_DEVICE void multiply(MatrixUnit unit, const emulator::Meeting& meeting, float* c, const uint32_t* a,
                         const uint32_t* b, Site site) {
    require(kMatrixUnit == unit, meeting.name, site);
    emulator::MatrixProduct product{c, a, b};
    emulator::meet(meeting, &product, site);
}

}  // namespace detail

KV8_DEVICE void load_matrix_x4(uint32_t (&r)[4], Shared row, detail::Site site = detail::here()) {
    detail::load_matrix(r, row, emulator::kLoadMatrix, site);
}
KV8_DEVICE void load_matrix_x2(uint32_t (&r)[2], Shared row, detail::Site site = detail::here()) {
    detail::load_matrix(r, row, emulator::kLoadMatrix, site);
}
KV8_DEVICE void load_matrix_x4_transposed(uint32_t (&r)[4], Shared row, detail::Site site = detail::here()) {
    detail::load_matrix(r, row, emulator::kLoadMatrixTransposed, site);
}
KV8_DEVICE void load_matrix_x2_transposed(uint32_t (&r)[2], Shared row, detail::Site site = detail::here()) {
    detail::load_matrix(r, row, emulator::kLoadMatrixTransposed, site);
}

KV8_DEVICE void mma_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                        detail::Site site = detail::here()) {
    const uint32_t b[2] = {b0, b1};
    detail::multiply(MatrixUnit::kMma, emulator::kMmaF16, c, a, b, site);
}
KV8_DEVICE void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                         detail::Site site = detail::here()) {
    const uint32_t b[2] = {b0, b1};
    detail::multiply(MatrixUnit::kMma, emulator::kMmaBf16, c, a, b, site);
}

KV8_DEVICE void mfma_f16(float (&c)[4], Words2 a, Words2 b, detail::Site site = detail::here()) {
    const uint32_t words[4] = {a.x, a.y, b.x, b.y};
    detail::multiply(MatrixUnit::kMfma, emulator::kMfmaF16, c, words, words + 2, site);
}
KV8_DEVICE void mfma_bf16(float (&c)[4], Words2 a, Words2 b, detail::Site site = detail::here()) {
    const uint32_t words[4] = {a.x, a.y, b.x, b.y};
    detail::multiply(MatrixUnit::kMfma, emulator::kMfmaBf16, c, words, words + 2, site);
}

KV8_DEVICE void wmma_f16(float (&c)[8], const uint32_t (&a)[8], const uint32_t (&b)[8],
                         detail::Site site = detail::here()) {
    detail::multiply(MatrixUnit::kWmma3, emulator::kWmma3F16, c, a, b, site);
}
KV8_DEVICE void wmma_bf16(float (&c)[8], const uint32_t (&a)[8], const uint32_t (&b)[8],
                          detail::Site site = detail::here()) {
    detail::multiply(MatrixUnit::kWmma3, emulator::kWmma3Bf16, c, a, b, site);
}
KV8_DEVICE void wmma_f16(float (&c)[8], const uint32_t (&a)[4], const uint32_t (&b)[4],
                         detail::Site site = detail::here()) {
    detail::multiply(MatrixUnit::kWmma4, emulator::kWmma4F16, c, a, b, site);
}
KV8_DEVICE void wmma_bf16(float (&c)[8], const uint32_t (&a)[4], const uint32_t (&b)[4],
                          detail::Site site = detail::here()) {
    detail::multiply(MatrixUnit::kWmma4, emulator::kWmma4Bf16, c, a, b, site);
}

}  // namespace kv8::gpu
