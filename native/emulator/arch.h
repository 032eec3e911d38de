// The architecture that this build emulates: KV8_EMULATE_ARCH names one of those below, as a bare token.
#pragma once

// Whose instructions gpu/matrix.h shall use is asked by the preprocessor.
#define KV8_IS_AMD_gfx90a 1
#define KV8_IS_AMD_gfx942 1
#define KV8_IS_AMD_gfx950 1
#define KV8_IS_AMD_gfx1100 1
#define KV8_IS_AMD_gfx1201 1
#define KV8_PASTE_TOKENS(a, b) a##b
#define KV8_PASTE(a, b) KV8_PASTE_TOKENS(a, b)
#if KV8_PASTE(KV8_IS_AMD_, KV8_EMULATE_ARCH)
#define KV8_MATRIX_AMD 1
#endif
#define KV8_FLUSHES_gfx90a 1
#if KV8_PASTE(KV8_FLUSHES_, KV8_EMULATE_ARCH)
#define KV8_MATRIX_FLUSHES_SUBNORMALS 1
#endif
#define KV8_FNUZ_gfx942 1
#if KV8_PASTE(KV8_FNUZ_, KV8_EMULATE_ARCH)
#define KV8_CONVERTS_FNUZ 1
#endif

namespace kv8::emulator {

enum class Family { kNvidia, kCdna, kRdna3, kRdna4 };

struct Arch {
    const char* name;
    Family family;
    int lanes;
    bool converts_ocp, converts_fnuz;
    int shared_kib;                   // of a multiprocessor
    int block_shared_kib;             // of it, what one block may have
    bool flushes_subnormals = false;  // matrix instructions take 16-bit factors below 2^-14 (bfloat16: 2^-126) for zero
};

namespace archs {

constexpr Arch sm_80{"sm_80", Family::kNvidia, 32, false, false, 164, 163};
constexpr Arch sm_90{"sm_90", Family::kNvidia, 32, true, false, 228, 227};
constexpr Arch gfx942{"gfx942", Family::kCdna, 64, false, true, 64, 64};
constexpr Arch gfx1100{"gfx1100", Family::kRdna3, 32, false, false, 64, 64};
constexpr Arch gfx1201{"gfx1201", Family::kRdna4, 32, true, false, 64, 64};

// Built when asked for.
constexpr Arch sm_86{"sm_86", Family::kNvidia, 32, false, false, 100, 99};
constexpr Arch sm_89{"sm_89", Family::kNvidia, 32, true, false, 100, 99};
constexpr Arch sm_100{"sm_100", Family::kNvidia, 32, true, false, 228, 227};
constexpr Arch sm_120{"sm_120", Family::kNvidia, 32, true, false, 100, 99};
constexpr Arch gfx90a{"gfx90a", Family::kCdna, 64, false, false, 64, 64, true};
constexpr Arch gfx950{"gfx950", Family::kCdna, 64, true, false, 160, 160};

}  // namespace archs

constexpr Arch kArch = archs::KV8_EMULATE_ARCH;

constexpr int kMostThreads = 1024;  // of a block

}  // namespace kv8::emulator
