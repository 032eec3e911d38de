// The kernels' words in CUDA. What has no C++ name is one PTX instruction; vendor headers are not included: their FP8
// conversions are emulated below sm_89, and nothing else of them is needed.
#pragma once

#define KV8_DEVICE __device__ __forceinline__
#define KV8_KERNEL(name, threads, resident, Params) \
    extern "C" __global__ void __launch_bounds__(threads, resident) name(const __grid_constant__ Params params)

namespace kv8::gpu {

constexpr int kLanes = 32;
constexpr MatrixUnit kMatrixUnit = MatrixUnit::kMma;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
constexpr bool kConvertsOcp = true;
#else
constexpr bool kConvertsOcp = false;
#endif
constexpr bool kConvertsFnuz = false;
// CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ == 800
constexpr int kSharedKiB = 164;
#elif __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
constexpr int kSharedKiB = 228;
#else
constexpr int kSharedKiB = 100;
#endif

// ---- threads

KV8_DEVICE int thread() { return int(threadIdx.x); }
KV8_DEVICE int lane() { return int(threadIdx.x & 31); }
// Read from one lane, which tells the compiler that all have the same.
KV8_DEVICE int warp() { return __shfl_sync(0xFFFFFFFFu, int(threadIdx.x >> 5), 0); }
KV8_DEVICE int block() { return int(blockIdx.x); }
KV8_DEVICE int blocks() { return int(gridDim.x); }

KV8_DEVICE void sync_block() { __syncthreads(); }
KV8_DEVICE void sync_warp() { __syncwarp(); }

template <class T>
KV8_DEVICE T shuffle_xor(T x, int mask) {
    return __shfl_xor_sync(0xFFFFFFFFu, x, mask);
}
KV8_DEVICE bool any_lane(bool x) { return __any_sync(0xFFFFFFFFu, x) != 0; }

// ---- memory

namespace detail {

// The type that the compiler moves in one instruction, of T's size.
template <int kBytes>
struct Carrier;
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
template <>
struct Carrier<8> {
    using Type = uint2;
};
template <>
struct Carrier<16> {
    using Type = uint4;
};

template <class T>
KV8_DEVICE T read(const void* at) {
    const auto raw = *static_cast<const typename Carrier<sizeof(T)>::Type*>(at);
    T value;
    __builtin_memcpy(&value, &raw, sizeof(T));
    return value;
}

template <class T>
KV8_DEVICE void write(void* at, T value) {
    typename Carrier<sizeof(T)>::Type raw;
    __builtin_memcpy(&raw, &value, sizeof(T));
    *static_cast<typename Carrier<sizeof(T)>::Type*>(at) = raw;
}

extern __shared__ __align__(128) uint8_t arena[];

KV8_DEVICE uint32_t shared_address(Shared place) { return uint32_t(__cvta_generic_to_shared(arena)) + place.at; }

}  // namespace detail

template <class T>
KV8_DEVICE T load(const void* from) {
    return detail::read<T>(from);
}
template <class T>
KV8_DEVICE void store(void* to, T value) {
    detail::write<T>(to, value);
}
template <class T>
KV8_DEVICE T load(Shared from) {
    return detail::read<T>(detail::arena + from.at);
}
template <class T>
KV8_DEVICE void store(Shared to, T value) {
    detail::write<T>(detail::arena + to.at, value);
}

KV8_DEVICE void copy_async(Shared to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(detail::shared_address(to)), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
}
KV8_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kGroups>
KV8_DEVICE void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

KV8_DEVICE bool claim(uint32_t* word, uint32_t value) { return atomicCAS(word, 0u, value) == 0; }
KV8_DEVICE uint32_t fetch_add(uint32_t* word, uint32_t value) { return atomicAdd(word, value); }
KV8_DEVICE void fence_device() { __threadfence(); }
KV8_DEVICE void atomic_maximum(uint32_t* word, uint32_t value) { atomicMax(word, value); }
KV8_DEVICE void atomic_add(uint64_t* word, uint64_t value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(word), value);
}

// ---- arithmetic

KV8_DEVICE float divide(float a, float b) { return __fdiv_rn(a, b); }
KV8_DEVICE float square_root(float x) { return __fsqrt_rn(x); }
KV8_DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
KV8_DEVICE float maximum(float a, float b) { return fmaxf(a, b); }
#define KV8_REDUCES_IN_HARDWARE
// Integers order floats that are not negative as floats do.
KV8_DEVICE float largest_of_warp(float x) {
    return __uint_as_float(__reduce_max_sync(0xFFFFFFFFu, __float_as_uint(x)));
}
KV8_DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
KV8_DEVICE float log2_fast(float x) {
    float y;
    asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

KV8_DEVICE uint32_t uniform(uint32_t x) { return x; }
KV8_DEVICE void keep_order() {}
KV8_DEVICE int opaque(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

// ---- conversions

KV8_DEVICE uint16_t narrow_f16(float x) {
    uint16_t y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return x == x ? y : 0x7E00;
}
KV8_DEVICE float widen_f16(uint16_t x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
KV8_DEVICE uint16_t narrow_bf16(float x) {
    uint16_t y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return x == x ? y : 0x7FC0;
}
KV8_DEVICE float widen_bf16(uint16_t x) { return __uint_as_float(uint32_t(x) << 16); }

KV8_DEVICE uint32_t pack_f16(float low, float high) {
    uint32_t y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
KV8_DEVICE uint32_t pack_bf16(float low, float high) {
    uint32_t y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
// The instructions' NaN is 0x7FFF, which no number is above: as signed integers, all others are below kv8's.
KV8_DEVICE uint32_t narrow_f16(float low, float high) { return __vmins2(pack_f16(low, high), 0x7E007E00u); }
KV8_DEVICE uint32_t narrow_bf16(float low, float high) { return __vmins2(pack_bf16(low, high), 0x7FC07FC0u); }
#else
KV8_DEVICE uint32_t narrow_f16(float low, float high) { return narrow_f16(low) | uint32_t(narrow_f16(high)) << 16; }
KV8_DEVICE uint32_t narrow_bf16(float low, float high) { return narrow_bf16(low) | uint32_t(narrow_bf16(high)) << 16; }
#endif

KV8_DEVICE uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector) {
    return __byte_perm(low, high, selector);
}

// PTX ISA, "cvt": e4m3x2 and e5m2x2, from sm_89. Narrowing saturates infinities too and gives 0x7F for NaN.
KV8_DEVICE uint32_t widen_e4m3fn(uint32_t codes) {
    uint32_t y;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(y) : "h"(uint16_t(codes)));
    return y;
}
KV8_DEVICE uint32_t widen_e5m2(uint32_t codes) {
    uint32_t y;
    asm("cvt.rn.f16x2.e5m2x2 %0, %1;" : "=r"(y) : "h"(uint16_t(codes)));
    return y;
}
// The upper two codes are taken where they are, which a shift of the word would not do.
KV8_DEVICE void widen_e4m3fn(uint32_t codes, uint32_t& first, uint32_t& second) {
    asm("{.reg .b16 low, high; mov.b32 {low, high}, %2; cvt.rn.f16x2.e4m3x2 %0, low; cvt.rn.f16x2.e4m3x2 %1, high;}"
        : "=r"(first), "=r"(second)
        : "r"(codes));
}
KV8_DEVICE uint32_t narrow_e4m3fn(float low, float high) {
    uint16_t y;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(y) : "f"(high), "f"(low));
    return y;
}
KV8_DEVICE uint32_t narrow_e5m2(float low, float high) {
    uint16_t y;
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(y) : "f"(high), "f"(low));
    return y;
}

// ---- matrices: PTX ISA, "ldmatrix" and "mma.m16n8k16"

KV8_DEVICE void load_matrix_x4(uint32_t (&r)[4], Shared row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(detail::shared_address(row)));
}
KV8_DEVICE void load_matrix_x2(uint32_t (&r)[2], Shared row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(detail::shared_address(row)));
}
KV8_DEVICE void load_matrix_x4_transposed(uint32_t (&r)[4], Shared row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(detail::shared_address(row)));
}
KV8_DEVICE void load_matrix_x2_transposed(uint32_t (&r)[2], Shared row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(detail::shared_address(row)));
}

KV8_DEVICE void mma_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
KV8_DEVICE void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace kv8::gpu
