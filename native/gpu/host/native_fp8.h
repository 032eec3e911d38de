// Which FP8 formats an architecture's instructions convert, as bits of 1 << kv8_dtype.
#pragma once

#include <cstdint>
#include <string>

namespace kv8::gpu {

uint32_t native_fp8(const std::string& arch);  // sm_90, gfx942

}  // namespace kv8::gpu
