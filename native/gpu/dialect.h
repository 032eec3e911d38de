// The words that GPU kernels are written in. One kernel source is compiled three times: by nvcc (cuda/dialect.h), by clang for
// AMD GPUs (hip/dialect.h), and by the host compiler for the emulator (emulator/dialect.h). Each defines, in kv8::gpu:
//
//   KV8_DEVICE                          attributes of a device function
//   KV8_KERNEL(name, threads, resident, Params)
//                                       begins a kernel that is launched with `threads` threads a block, of which `resident`
//                                       blocks fit on a multiprocessor, and one argument `params`; its body follows. Its name
//                                       is found in the module as it stands here.
//
//   constexpr int kLanes                lanes of a warp (AMD: wave): 32 or 64
//   constexpr int kSharedKiB            shared memory of a multiprocessor
//   constexpr MatrixUnit kMatrixUnit    which instruction multiplies 16-bit matrices
//   constexpr bool kConvertsOcp         hardware converts E4M3FN and E5M2 (widen_*, narrow_* below exist)
//   constexpr bool kConvertsFnuz        hardware converts E4M3FNUZ and E5M2FNUZ
//
//   int thread(), lane(), warp()        within the block; warp() is the same for all lanes, also to the compiler,
//                                       and all lanes of the warp must call it
//   int block(), blocks()               grids have one dimension
//   void sync_block(), sync_warp()      barriers; what was written to shared memory before is seen after
//   T shuffle_xor(T, int mask)          T: float, int32_t, uint32_t; every lane of the warp takes part
//   bool any_lane(bool)
//   float largest_of_warp(float)        of numbers >= 0
//
//   T load<T>(const void*)              global memory, naturally aligned; T: 1, 2, 4, 8 bytes, Words2, Words4
//   void store<T>(void*, T)
//   T load<T>(Shared)                   shared memory, by byte offset from the block's arena
//   void store<T>(Shared, T)
//   void copy_async(Shared, const void*, bool valid)
//                                       16 bytes from global to shared memory; zeros, and nothing is read, unless valid
//   void commit_copies()                closes a group of this thread's copies
//   void wait_copies<N>()               until at most the N youngest groups of this thread are under way; a barrier makes
//                                       them visible to other threads
//   constexpr bool kCopiesInRegisters   the hardware has no such copies, and the above wait for the data. A kernel that works on
//                                       other data meanwhile keeps a group of copies in an object:
//   struct Copies<kCount>
//   void copy_async(Copies<kCount>&, int i, Shared, const void*, bool valid)         its i-th copy; i: constant when unrolled
//   void commit_copies(Copies<kCount>&)                     closes the group, all of it; to be called after that work, since
//                                       it may be what writes to shared memory
//   bool claim(uint32_t* word, uint32_t value)
//                                       stores value where the word was 0, atomically; whether it did
//   uint32_t fetch_add(uint32_t* word, uint32_t value)      what the word was
//   void fence_device()                 what this thread stored before is seen by every block that sees what it stores after;
//                                       behind one, loads find what other blocks had stored
//   void atomic_maximum(uint32_t* word, uint32_t value)
//   void atomic_add(uint64_t* word, uint64_t value)
//
//   float divide(float, float), square_root(float)          correctly rounded, as on the CPU
//   float fused(float a, float b, float c)                  a * b + c, one rounding
//   float exp2_fast(float), log2_fast(float)                2 ulp; exp2_fast(-inf) is 0, and what is below 2^-126 may be
//   float maximum(float, float)                             of two numbers that are not NaN; of a NaN and a number, either
//   (Other products and sums are rounded one by one: contraction is off in every build.)
//   uint32_t uniform(uint32_t)          the same number, which all lanes of the warp have: AMD keeps it once
//   void keep_order()                   what stands before is not mixed with what follows, for whose registers there is no room (AMD)
//   int opaque(int)                     the same number, of which the compiler knows nothing: what follows from it is computed
//                                       where it is used, not ahead of a loop and kept in registers
//
//   uint16_t narrow_f16(float), narrow_bf16(float)          nearest even; a NaN becomes 0x7E00, 0x7FC0
//   uint32_t narrow_f16(float low, float high), narrow_bf16 two of the above in a word
//   float widen_f16(uint16_t), widen_bf16(uint16_t)         exact
//   uint32_t pack_f16(float low, float high), pack_bf16     the same where no number is NaN, or any NaN will do
//   uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector)
//                                       PTX prmt: nibble i of selector picks byte i from the eight bytes {high, low}
//   if kConvertsOcp:    uint32_t widen_e4m3fn(uint32_t), widen_e5m2(uint32_t)        low two codes to two f16
//                       void widen_e4m3fn(uint32_t, uint32_t& first, uint32_t& second)   four codes; NVIDIA's matrices
//                       uint32_t narrow_e4m3fn(float low, float high), narrow_e5m2   two codes; saturating, NaN canonical
//   if kConvertsFnuz:   the same for e4m3fnuz and e5m2fnuz
//
//   matrix instructions of the unit, see gpu/matrix.h
#pragma once

#include <stdint.h>

namespace kv8::gpu {

enum class MatrixUnit {
    kMma,    // NVIDIA mma.sync m16n8k16, ldmatrix
    kMfma,   // AMD CDNA v_mfma_f32_16x16x16, waves of 64
    kWmma3,  // AMD RDNA3 v_wmma_f32_16x16x16, waves of 32, operands in both halves of a wave
    kWmma4,  // AMD RDNA4 v_wmma_f32_16x16x16, waves of 32
};

struct alignas(8) Words2 {
    uint32_t x, y;
};
struct alignas(16) Words4 {
    uint32_t x, y, z, w;
};

// A place in the block's shared memory, in bytes from the start of its arena.
struct Shared {
    uint32_t at;
};

}  // namespace kv8::gpu

#if defined(__CUDACC__)
#include "cuda/dialect.h"
#elif defined(__HIP__)
#include "hip/dialect.h"
#else
#include "emulator/dialect.h"
#endif

namespace kv8::gpu {

KV8_DEVICE constexpr Shared operator+(Shared shared, int bytes) { return {shared.at + uint32_t(bytes)}; }

#if !defined(KV8_REDUCES_IN_HARDWARE)
KV8_DEVICE float largest_of_warp(float x) {
#pragma unroll
    for (int mask = kLanes / 2; mask > 0; mask /= 2) x = maximum(x, shuffle_xor(x, mask));
    return x;
}
#endif

#if !defined(KV8_COPIES_IN_REGISTERS)
constexpr bool kCopiesInRegisters = false;

template <int kCount>
struct Copies {};

template <int kCount>
KV8_DEVICE void copy_async(Copies<kCount>&, int, Shared to, const void* from, bool valid) {
    copy_async(to, from, valid);
}
template <int kCount>
KV8_DEVICE void commit_copies(Copies<kCount>&) {
    commit_copies();
}
#endif

}  // namespace kv8::gpu
