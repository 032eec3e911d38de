// What attention's kernels were compiled for, by the architecture of the device that they run on.
#pragma once

#include <cstdlib>
#include <string>

#include "gpu/attention_config.h"

namespace kv8::gpu {

// The dialects' kSharedKiB, kLanes and kCopiesInRegisters. A device that is newer than all that kernels are built for is
// given those of the newest.
inline AttentionDevice attention_device(const std::string& arch) {
    if (arch.rfind("gfx9", 0) == 0) return {arch == "gfx950" ? 160 : 64, 64, true};
    if (arch.rfind("sm_", 0) != 0) return {64, 32, true};
    const int version = std::atoi(arch.c_str() + 3);
    if (version < 86 || version == 87) return {164, 32, false};
    return {version >= 90 && version < 120 ? 228 : 100, 32, false};
}

// Whether matrix instructions take subnormal factors for zero (MIOpen's documentation, "MI200 MFMA behavior"). As the kernels
// know by KV8_MATRIX_FLUSHES_SUBNORMALS.
inline bool flushes_subnormals(const std::string& arch) { return arch == "gfx90a"; }

}  // namespace kv8::gpu
