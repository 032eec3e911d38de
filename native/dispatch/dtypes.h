// What a kv8_dtype is, on host and device. Always inlined: a kernel file built for one instruction set must not lend its copy to
// another.
#pragma once

#include "fp8/fp8.h"
#include "kv8/kv8.h"

namespace kv8 {

KV8_FP8_FUNCTION bool is_fp8(kv8_dtype dtype) { return dtype >= KV8_E4M3FN && dtype <= KV8_E5M2FNUZ; }

// Of a dtype that has been checked.
KV8_FP8_FUNCTION int element_bytes(kv8_dtype dtype) { return dtype == KV8_F32 ? 4 : dtype >= KV8_E4M3FN ? 1 : 2; }

}  // namespace kv8
