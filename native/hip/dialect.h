// The kernels' words for AMD GPUs, by clang's builtins alone: no HIP header and no device library takes part, so that any clang
// with the target builds them. Instructions are named as in the ISA documents ("CDNA3", "RDNA4" Instruction Set Architecture).
#pragma once

#define KV8_DEVICE __attribute__((device, always_inline)) inline
// A multiprocessor has four SIMDs, among which the waves of its resident blocks are spread. The argument is read where it lies:
// the compiler would load all of a parameter at the kernel's start, more than there are scalar registers.
#define KV8_KERNEL(name, threads, resident, Params)                                                   \
    KV8_DEVICE void name##_body(const Params& params);                                                \
    extern "C" __attribute__((global, amdgpu_flat_work_group_size(threads, threads),                  \
                              amdgpu_waves_per_eu(kv8::gpu::waves_per_simd(threads, resident)))) void \
    name(const Params) {                                                                              \
        name##_body(*(const Params*)__builtin_amdgcn_kernarg_segment_ptr());                          \
    }                                                                                                 \
    KV8_DEVICE void name##_body([[maybe_unused]] const Params& params)

#define KV8_MATRIX_AMD 1
#if defined(__gfx90a__)  // MFMA takes subnormal factors for zero
#define KV8_MATRIX_FLUSHES_SUBNORMALS 1
#endif

namespace kv8::gpu {

#if defined(__GFX9__)
constexpr int kLanes = 64;
constexpr MatrixUnit kMatrixUnit = MatrixUnit::kMfma;
#elif defined(__GFX11__)
constexpr int kLanes = 32;
constexpr MatrixUnit kMatrixUnit = MatrixUnit::kWmma3;
#elif defined(__GFX12__)
constexpr int kLanes = 32;
constexpr MatrixUnit kMatrixUnit = MatrixUnit::kWmma4;
#else
#error "kernels are written for gfx90a, gfx942, gfx950, gfx11 and gfx12"
#endif

#if defined(__gfx950__)
constexpr int kSharedKiB = 160;
#else
constexpr int kSharedKiB = 64;
#endif

// The instructions have the same names on all; what they convert is FNUZ on CDNA3 and OCP elsewhere.
#if defined(__gfx950__) || defined(__GFX12__)
constexpr bool kConvertsOcp = true;
#else
constexpr bool kConvertsOcp = false;
#endif
#if defined(__gfx942__)
#define KV8_CONVERTS_FNUZ 1
constexpr bool kConvertsFnuz = true;
#else
constexpr bool kConvertsFnuz = false;
#endif

constexpr int waves_per_simd(int threads, int resident) { return (resident * threads / kLanes + 3) / 4; }

// ---- threads

KV8_DEVICE int thread() { return int(__builtin_amdgcn_workitem_id_x()); }
KV8_DEVICE int lane() { return thread() % kLanes; }
// In a scalar register, which tells the compiler that all lanes have the same.
KV8_DEVICE void keep_order() { __builtin_amdgcn_sched_barrier(0); }
KV8_DEVICE uint32_t uniform(uint32_t x) { return uint32_t(__builtin_amdgcn_readfirstlane(int(x))); }
KV8_DEVICE int warp() { return __builtin_amdgcn_readfirstlane(thread() / kLanes); }
KV8_DEVICE int block() { return int(__builtin_amdgcn_workgroup_id_x()); }
KV8_DEVICE int blocks() {  // the first hidden argument of code object version 5
    return *(const __attribute__((address_space(4))) int*)__builtin_amdgcn_implicitarg_ptr();
}

// The fences speak of shared memory ("local") alone: loads from global memory stay under way across barriers.
KV8_DEVICE void sync_block() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup", "local");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup", "local");
}
KV8_DEVICE void sync_warp() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront", "local");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront", "local");
}

namespace detail {

KV8_DEVICE int from_lane(int x, int from) { return __builtin_amdgcn_ds_bpermute(from * 4, x); }

// Lanes of a row of sixteen by DPP, and halves of 32 lanes, without the way through shared memory's crossbar.
KV8_DEVICE int from_lane_xor(int x, int mask) {
    if (__builtin_constant_p(mask)) switch (mask) {
            case 1:
                return __builtin_amdgcn_mov_dpp(x, 0xB1, 0xF, 0xF, true);  // quad_perm: 1 0 3 2
            case 2:
                return __builtin_amdgcn_mov_dpp(x, 0x4E, 0xF, 0xF, true);  // quad_perm: 2 3 0 1
            case 8:
                return __builtin_amdgcn_mov_dpp(x, 0x128, 0xF, 0xF, true);  // row_ror: 8
#if defined(__GFX9__)
            case 4:
                return __builtin_amdgcn_ds_swizzle(x, 4 << 10 | 0x1F);
            case 16:
                return __builtin_amdgcn_ds_swizzle(x, 16 << 10 | 0x1F);
#else
            case 4:
                return __builtin_amdgcn_mov_dpp(x, 0x164, 0xF, 0xF, true);  // row_xmask: 4
            case 16:
                return __builtin_amdgcn_permlanex16(x, x, 0x76543210, 0xFEDCBA98, false, true);
#endif
        }
    return from_lane(x, lane() ^ mask);
}

}  // namespace detail

template <class T>
KV8_DEVICE T shuffle_xor(T x, int mask) {
    return __builtin_bit_cast(T, detail::from_lane_xor(__builtin_bit_cast(int, x), mask));
}
KV8_DEVICE bool any_lane(bool x) {
    if constexpr (kLanes == 64)
        return __builtin_amdgcn_ballot_w64(x) != 0;
    else
        return __builtin_amdgcn_ballot_w32(x) != 0;
}

// ---- memory

namespace detail {

// The type that the compiler moves in one instruction, of T's size.
template <int kBytes>
struct Carrier {
    typedef uint32_t Type __attribute__((ext_vector_type(kBytes / 4)));
};
template <>
struct Carrier<1> {
    using Type = uint8_t;
};
template <>
struct Carrier<2> {
    using Type = uint16_t;
};
template <>
struct Carrier<4> {
    using Type = uint32_t;
};

// Named address spaces, since a flat access waits for both memories.
template <class T>
using Global = __attribute__((address_space(1))) typename Carrier<sizeof(T)>::Type;
template <class T>
using Local = __attribute__((address_space(3))) typename Carrier<sizeof(T)>::Type;

template <class T>
KV8_DEVICE Global<T>* global(const void* at) {
    return (Global<T>*)(reinterpret_cast<uintptr_t>(at));
}

extern __attribute__((shared, aligned(128))) uint8_t arena[];

template <class T>
KV8_DEVICE Local<T>* local(Shared place) {
    return (Local<T>*)((__attribute__((address_space(3))) uint8_t*)arena + place.at);
}

}  // namespace detail

template <class T>
KV8_DEVICE T load(const void* from) {
    const typename detail::Carrier<sizeof(T)>::Type raw = *detail::global<T>(from);
    return __builtin_bit_cast(T, raw);
}
template <class T>
KV8_DEVICE void store(void* to, T value) {
    *detail::global<T>(to) = __builtin_bit_cast(typename detail::Carrier<sizeof(T)>::Type, value);
}
template <class T>
KV8_DEVICE T load(Shared from) {
    const typename detail::Carrier<sizeof(T)>::Type raw = *detail::local<T>(from);
    return __builtin_bit_cast(T, raw);
}
template <class T>
KV8_DEVICE void store(Shared to, T value) {
    *detail::local<T>(to) = __builtin_bit_cast(typename detail::Carrier<sizeof(T)>::Type, value);
}

// Copies go through registers. Of the targets only gfx950 loads 16 bytes a lane into shared memory, and there, as with the 4
// bytes of CDNA2 and 3, a wave's lanes write one after the other from one address on: rows that are padded against bank
// conflicts and found through a block table do not lie so.
#define KV8_COPIES_IN_REGISTERS 1
constexpr bool kCopiesInRegisters = true;

template <int kCount>
struct Copies {
    static_assert(kCount <= 32, "valid has a bit for each");
    Words4 words[kCount];
    Shared to[kCount];
    uint32_t valid = 0;  // a bit for each
};

// An invalid copy reads the kernel's arguments and clears what it read: a branch round a load would keep the next one from
// overlapping. The compiler would put that branch in, hence the mask behind its back.
template <int kCount>
KV8_DEVICE void copy_async(Copies<kCount>& copies, int i, Shared to, const void* from, bool valid) {
    const void* arguments = (const void*)__builtin_amdgcn_kernarg_segment_ptr();
    copies.words[i] = load<Words4>(valid ? from : arguments);
    copies.to[i] = to;
    copies.valid |= valid ? 1u << i : 0u;
    asm("" : "+v"(copies.valid));
}
template <int kCount>
KV8_DEVICE void commit_copies(Copies<kCount>& copies) {
#pragma unroll
    for (int i = 0; i < kCount; i++) {
        const Words4 words = copies.words[i];
        const uint32_t mask = uint32_t(int32_t(copies.valid << (31 - i)) >> 31);
        store(copies.to[i], Words4{words.x & mask, words.y & mask, words.z & mask, words.w & mask});
    }
    copies.valid = 0;
}

KV8_DEVICE void copy_async(Shared to, const void* from, bool valid) {
    Copies<1> copies;
    copy_async(copies, 0, to, from, valid);
    commit_copies(copies);
}
KV8_DEVICE void commit_copies() {}
template <int kGroups>
KV8_DEVICE void wait_copies() {}

// System scope: the word may lie in host memory.
KV8_DEVICE bool claim(uint32_t* word, uint32_t value) {
    uint32_t expected = 0;
    return __hip_atomic_compare_exchange_strong(detail::global<uint32_t>(word), &expected, value, __ATOMIC_RELAXED,
                                                __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_SYSTEM);
}
KV8_DEVICE uint32_t fetch_add(uint32_t* word, uint32_t value) {
    return __hip_atomic_fetch_add(detail::global<uint32_t>(word), value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
KV8_DEVICE void fence_device() { __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "agent"); }
KV8_DEVICE void atomic_maximum(uint32_t* word, uint32_t value) {
    __hip_atomic_fetch_max(detail::global<uint32_t>(word), value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
KV8_DEVICE void atomic_add(uint64_t* word, uint64_t value) {
    auto* global = (__attribute__((address_space(1))) uint64_t*)(reinterpret_cast<uintptr_t>(word));
    __hip_atomic_fetch_add(global, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}

// ---- arithmetic

// Clang expands both to correctly rounded sequences; for HIP that is its default.
KV8_DEVICE float divide(float a, float b) { return a / b; }
KV8_DEVICE float square_root(float x) { return __builtin_sqrtf(x); }
KV8_DEVICE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
KV8_DEVICE float maximum(float a, float b) { return __builtin_fmaxf(a, b); }
// v_exp_f32 and v_log_f32: 1 ulp; a subnormal result, or argument of the logarithm, counts as zero.
KV8_DEVICE float exp2_fast(float x) { return __builtin_amdgcn_exp2f(x); }
KV8_DEVICE float log2_fast(float x) { return __builtin_amdgcn_logf(x); }

KV8_DEVICE int opaque(int x) {
    asm volatile("" : "+v"(x));
    return x;
}

// ---- conversions

KV8_DEVICE uint16_t narrow_f16(float x) {
    const uint16_t y = __builtin_bit_cast(uint16_t, _Float16(x));
    return x == x ? y : uint16_t(0x7E00);
}
KV8_DEVICE float widen_f16(uint16_t x) { return float(__builtin_bit_cast(_Float16, x)); }
KV8_DEVICE uint16_t narrow_bf16(float x) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, x);
    return x == x ? uint16_t((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16) : uint16_t(0x7FC0);
}
KV8_DEVICE float widen_bf16(uint16_t x) { return __builtin_bit_cast(float, uint32_t(x) << 16); }
KV8_DEVICE uint32_t narrow_f16(float low, float high) { return narrow_f16(low) | uint32_t(narrow_f16(high)) << 16; }
KV8_DEVICE uint32_t narrow_bf16(float low, float high) { return narrow_bf16(low) | uint32_t(narrow_bf16(high)) << 16; }

// v_perm_b32 has a byte of the selector for each byte, and 0x0C for a zero. Nibbles are below 8.
KV8_DEVICE uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector) {
    const uint32_t bytes =
        (selector & 7u) | (selector & 0x70u) << 4 | (selector & 0x700u) << 8 | (selector & 0x7000u) << 12;
    return __builtin_amdgcn_perm(high, low, bytes);
}

KV8_DEVICE uint32_t pack_f16(float low, float high) {
    return uint32_t(__builtin_bit_cast(uint16_t, _Float16(low))) |
           uint32_t(__builtin_bit_cast(uint16_t, _Float16(high))) << 16;
}
KV8_DEVICE uint32_t pack_bf16(float low, float high) {
#if defined(__gfx950__)
    typedef __bf16 Pair __attribute__((ext_vector_type(2)));
    return __builtin_bit_cast(uint32_t, Pair{__bf16(low), __bf16(high)});
#else
    const uint32_t a = __builtin_bit_cast(uint32_t, low), b = __builtin_bit_cast(uint32_t, high);
    return __builtin_amdgcn_perm(b + 0x7FFFu + (b >> 16 & 1u), a + 0x7FFFu + (a >> 16 & 1u), 0x07060302);
#endif
}

namespace detail {

typedef float Floats2 __attribute__((ext_vector_type(2)));

// Every FP8 number is one of float16, so that packing has nothing to round.
KV8_DEVICE uint32_t pack_exact(Floats2 x) { return __builtin_bit_cast(uint32_t, __builtin_amdgcn_cvt_pkrtz(x.x, x.y)); }

// The instructions' own treatment of NaN and infinity differs; they are given numbers within the format's range only.
KV8_DEVICE float within(float x, float most) { return x == x ? __builtin_amdgcn_fmed3f(x, -most, most) : 0.0f; }
KV8_DEVICE uint32_t nan_codes(float low, float high, uint32_t code) {
    return (low == low ? 0u : code) | (high == high ? 0u : code << 8);
}

}  // namespace detail

// Declared on every target, so that a template may ask kConverts* before it calls one.
KV8_DEVICE uint32_t widen_e4m3fn(uint32_t codes);
KV8_DEVICE uint32_t widen_e5m2(uint32_t codes);
KV8_DEVICE uint32_t widen_e4m3fnuz(uint32_t codes);
KV8_DEVICE uint32_t widen_e5m2fnuz(uint32_t codes);
KV8_DEVICE uint32_t narrow_e4m3fn(float low, float high);
KV8_DEVICE uint32_t narrow_e5m2(float low, float high);
KV8_DEVICE uint32_t narrow_e4m3fnuz(float low, float high);
KV8_DEVICE uint32_t narrow_e5m2fnuz(float low, float high);

#if defined(__gfx950__)
KV8_DEVICE uint32_t widen_e4m3fn(uint32_t codes) {
    return __builtin_bit_cast(uint32_t, __builtin_amdgcn_cvt_scalef32_pk_f16_fp8(codes, 1.0f, false));
}
#elif defined(__GFX12__)
KV8_DEVICE uint32_t widen_e4m3fn(uint32_t codes) {
    return detail::pack_exact(__builtin_amdgcn_cvt_pk_f32_fp8(int(codes), false));
}
#endif

#if defined(__gfx950__) || defined(__GFX12__)
// A code is the upper byte of its float16.
KV8_DEVICE uint32_t widen_e5m2(uint32_t codes) { return __builtin_amdgcn_perm(0, codes, 0x010C000C); }
KV8_DEVICE uint32_t narrow_e4m3fn(float low, float high) {
    const int codes =
        __builtin_amdgcn_cvt_pk_fp8_f32(detail::within(low, 448.0f), detail::within(high, 448.0f), 0, false);
    return uint32_t(codes) | detail::nan_codes(low, high, 0x7F);
}
KV8_DEVICE uint32_t narrow_e5m2(float low, float high) {
    const int codes =
        __builtin_amdgcn_cvt_pk_bf8_f32(detail::within(low, 57344.0f), detail::within(high, 57344.0f), 0, false);
    return uint32_t(codes) | detail::nan_codes(low, high, 0x7F);
}
#endif

#if defined(__gfx942__)
KV8_DEVICE uint32_t widen_e4m3fnuz(uint32_t codes) {
    return detail::pack_exact(__builtin_amdgcn_cvt_pk_f32_fp8(int(codes), false));
}
KV8_DEVICE uint32_t widen_e5m2fnuz(uint32_t codes) {
    return detail::pack_exact(__builtin_amdgcn_cvt_pk_f32_bf8(int(codes), false));
}
KV8_DEVICE uint32_t narrow_e4m3fnuz(float low, float high) {
    const int codes =
        __builtin_amdgcn_cvt_pk_fp8_f32(detail::within(low, 240.0f), detail::within(high, 240.0f), 0, false);
    return uint32_t(codes) | detail::nan_codes(low, high, 0x80);
}
KV8_DEVICE uint32_t narrow_e5m2fnuz(float low, float high) {
    const int codes =
        __builtin_amdgcn_cvt_pk_bf8_f32(detail::within(low, 57344.0f), detail::within(high, 57344.0f), 0, false);
    return uint32_t(codes) | detail::nan_codes(low, high, 0x80);
}
#endif

// ---- matrices of 16 x 16 x 16, c += a . b. Of a, lane l holds row l % 16, of b column l % 16: some of the sixteen products'
// factors each, on RDNA3 all of them, in both halves of the wave. Of c, lane l holds column l % 16.

namespace detail {

typedef float Floats4 __attribute__((ext_vector_type(4)));
typedef float Floats8 __attribute__((ext_vector_type(8)));
typedef _Float16 Halves2 __attribute__((ext_vector_type(2)));
typedef _Float16 Halves4 __attribute__((ext_vector_type(4)));
typedef _Float16 Halves8 __attribute__((ext_vector_type(8)));
typedef _Float16 Halves16 __attribute__((ext_vector_type(16)));
typedef short Shorts4 __attribute__((ext_vector_type(4)));
typedef short Shorts8 __attribute__((ext_vector_type(8)));
typedef short Shorts16 __attribute__((ext_vector_type(16)));

// An array of registers as the vector that a builtin takes; __builtin_bit_cast does not take arrays.
template <class Vector, class T, int kCount>
KV8_DEVICE Vector vector_of(const T (&x)[kCount]) {
    Vector v;
    static_assert(sizeof(v) == sizeof(x), "as many bytes");
    __builtin_memcpy(&v, &x, sizeof(v));
    return v;
}
template <class Vector, class T, int kCount>
KV8_DEVICE void assign(T (&x)[kCount], const Vector& v) {
    __builtin_memcpy(&x, &v, sizeof(x));
}

}  // namespace detail

#if defined(KV8_MATRIX_FLUSHES_SUBNORMALS)
KV8_DEVICE uint32_t multiply_f16(uint32_t a, uint32_t b) {
    return __builtin_bit_cast(uint32_t,
                              __builtin_bit_cast(detail::Halves2, a) * __builtin_bit_cast(detail::Halves2, b));
}
#endif

#if defined(__GFX9__)  // c: rows 4 * (l / 16) + 0..3
KV8_DEVICE void mfma_f16(float (&c)[4], Words2 a, Words2 b) {
    detail::assign(c, __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(detail::Halves4, a),
                                                            __builtin_bit_cast(detail::Halves4, b),
                                                            detail::vector_of<detail::Floats4>(c), 0, 0, 0));
}
KV8_DEVICE void mfma_bf16(float (&c)[4], Words2 a, Words2 b) {
    detail::assign(c, __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(__builtin_bit_cast(detail::Shorts4, a),
                                                                __builtin_bit_cast(detail::Shorts4, b),
                                                                detail::vector_of<detail::Floats4>(c), 0, 0, 0));
}
#elif defined(__GFX11__)  // c: rows 2 * 0..7 + l / 16
KV8_DEVICE void wmma_f16(float (&c)[8], const uint32_t (&a)[8], const uint32_t (&b)[8]) {
    detail::assign(c, __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(detail::vector_of<detail::Halves16>(a),
                                                                 detail::vector_of<detail::Halves16>(b),
                                                                 detail::vector_of<detail::Floats8>(c)));
}
KV8_DEVICE void wmma_bf16(float (&c)[8], const uint32_t (&a)[8], const uint32_t (&b)[8]) {
    detail::assign(c, __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(detail::vector_of<detail::Shorts16>(a),
                                                                  detail::vector_of<detail::Shorts16>(b),
                                                                  detail::vector_of<detail::Floats8>(c)));
}
#else                     // c: rows 8 * (l / 16) + 0..7
KV8_DEVICE void wmma_f16(float (&c)[8], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
    detail::assign(c, __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(detail::vector_of<detail::Halves8>(a),
                                                                       detail::vector_of<detail::Halves8>(b),
                                                                       detail::vector_of<detail::Floats8>(c)));
}
KV8_DEVICE void wmma_bf16(float (&c)[8], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
    detail::assign(c, __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(detail::vector_of<detail::Shorts8>(a),
                                                                        detail::vector_of<detail::Shorts8>(b),
                                                                        detail::vector_of<detail::Floats8>(c)));
}
#endif

}  // namespace kv8::gpu
