#include "gpu/host/native_fp8.h"

#include <cstdlib>

#include "kv8/kv8.h"

namespace kv8::gpu {

uint32_t native_fp8(const std::string& arch) {
    constexpr uint32_t kOcp = 1u << KV8_E4M3FN | 1u << KV8_E5M2, kFnuz = 1u << KV8_E4M3FNUZ | 1u << KV8_E5M2FNUZ;
    if (arch.rfind("sm_", 0) == 0) return std::atoi(arch.c_str() + 3) >= 89 ? kOcp : 0;
    if (arch == "gfx942") return kFnuz;
    if (arch == "gfx950" || arch.rfind("gfx12", 0) == 0) return kOcp;
    return 0;
}

}  // namespace kv8::gpu
