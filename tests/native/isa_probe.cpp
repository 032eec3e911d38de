// Prints the instruction sets that this processor runs, as a CMake list.
#include <cstdio>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

int main() {
    std::printf("scalar");
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
    if (avx2) std::printf(";avx2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512cd");
    if (avx512) std::printf(";avx512");
    if (avx512 && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bf16"))
        std::printf(";avx512_bf16");
#elif defined(__aarch64__)
    std::printf(";neon");
    if (getauxval(AT_HWCAP2) & HWCAP2_BF16) std::printf(";neon_bf16");
#endif
}
