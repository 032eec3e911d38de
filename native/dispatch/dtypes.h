// What a kv8_dtype is. Always inlined: a kernel file built for one instruction set must not lend its copy to another.
#pragma once

#include "kv8/kv8.h"

namespace kv8 {

inline __attribute__((always_inline)) constexpr bool is_fp8(kv8_dtype dtype) {
    return dtype >= KV8_E4M3FN && dtype <= KV8_E5M2FNUZ;
}

// Of a dtype that has been checked.
inline __attribute__((always_inline)) constexpr int element_bytes(kv8_dtype dtype) {
    return dtype == KV8_F32 ? 4 : is_fp8(dtype) ? 1 : 2;
}

}  // namespace kv8
