#include "cpu/isa.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <cstdlib>
#include <cstring>
#include <string>

#include "cpu/attention_probe.h"
#include "dispatch/error.h"

namespace kv8::cpu {
namespace {

bool always() { return true; }

#if defined(__x86_64__)
// Also false when the operating system does not save the registers.
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
           __builtin_cpu_supports("bmi2");
}

bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
}

// A build with sanitizers has the sets of this machine alone.
[[maybe_unused]] bool has_avx512_bf16() {
    return has_avx512() && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bf16");
}
#elif defined(__aarch64__)
bool has_neon_bf16() { return (getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0; }
#endif

// Processors that have products of pairs start as many of them in a cycle as products of float32, or a quarter: flags do not tell.
template <const AttentionKernels& pairs, const AttentionKernels& floats>
bool pairs_pay() {
    static const bool pay = is_clearly_faster(pairs, floats);
    return pay;
}

#if KV8_HAVE_AVX512 && KV8_HAVE_AVX2
// Some processors run slower while they use registers of 512 bits, or take two turns for each.
bool wide_registers_pay() {
    static const bool pay = !is_clearly_faster(avx2::attention_kernels, avx512::attention_kernels);
    return pay;
}
#endif

struct Variant {
    Kernels kernels;
    bool (*supported)();
    bool (*pays)();  // whether it is better here than those after it
};

#define KV8_VARIANT(isa, supported, pays)                                                                              \
    {                                                                                                                  \
        {#isa, &isa::cast_kernels, &isa::cache_row_kernels, &isa::attention_kernels, &isa::engine_kernels}, supported, \
            pays                                                                                                       \
    }
#define KV8_PAIRS_VARIANT(pairs, isa, supported)                                                                \
    {                                                                                                           \
        {#pairs, &isa::cast_kernels, &isa::cache_row_kernels, &pairs::attention_kernels, &isa::engine_kernels}, \
            supported, pairs_pay<pairs::attention_kernels, isa::attention_kernels>                              \
    }

// The best first.
const Variant kVariants[] = {
#if KV8_HAVE_AVX512_BF16
    KV8_PAIRS_VARIANT(avx512_bf16, avx512, has_avx512_bf16),
#endif
#if KV8_HAVE_AVX512
    KV8_VARIANT(avx512, has_avx512, wide_registers_pay),
#endif
#if KV8_HAVE_AVX2
    KV8_VARIANT(avx2, has_avx2, always),
#endif
#if KV8_HAVE_NEON_BF16
    KV8_PAIRS_VARIANT(neon_bf16, neon, has_neon_bf16),
#endif
#if KV8_HAVE_NEON
    KV8_VARIANT(neon, always, always),
#endif
    KV8_VARIANT(scalar, always, always),
};
#undef KV8_PAIRS_VARIANT
#undef KV8_VARIANT

std::string usable_names() {
    std::string names;
    for (const Variant& variant : kVariants) {
        if (!variant.supported()) continue;
        if (!names.empty()) names += ", ";
        names += variant.kernels.isa;
    }
    return names;
}

}  // namespace

const Kernels& choose_kernels(const char* requested) {
    const char* source = "options.isa";
    if (requested == nullptr) {
        requested = std::getenv("KV8_ISA");
        source = "KV8_ISA in the environment";
    }
    const bool any = requested == nullptr || *requested == 0;
    for (const Variant& variant : kVariants) {
        if (!any && std::strcmp(requested, variant.kernels.isa) != 0) continue;
        if (variant.supported() && (!any || variant.pays())) return variant.kernels;
        if (!any)
            refuse(KV8_UNSUPPORTED, "%s is %s, whose instructions this processor lacks; usable here: %s.", source,
                   requested, usable_names().c_str());
    }
    refuse(KV8_INVALID_ARGUMENT, "%s is \"%s\", which this library has no kernels for; usable here: %s.", source,
           requested, usable_names().c_str());
}

}  // namespace kv8::cpu
