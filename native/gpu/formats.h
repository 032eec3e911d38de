// The element types of a cache that attention multiplies as 16-bit floats.
#pragma once

#include "gpu/dialect.h"
#include "kv8/kv8.h"

namespace kv8::gpu {

struct F16 {
    static constexpr kv8_dtype dtype = KV8_F16;
    static constexpr int bytes = 2;
};
struct BF16 {
    static constexpr kv8_dtype dtype = KV8_BF16;
    static constexpr int bytes = 2;
};
struct E4M3FN {
    static constexpr kv8_dtype dtype = KV8_E4M3FN;
    static constexpr int bytes = 1;
};
struct E5M2 {
    static constexpr kv8_dtype dtype = KV8_E5M2;
    static constexpr int bytes = 1;
};
struct E4M3FNUZ {
    static constexpr kv8_dtype dtype = KV8_E4M3FNUZ;
    static constexpr int bytes = 1;
};
struct E5M2FNUZ {
    static constexpr kv8_dtype dtype = KV8_E5M2FNUZ;
    static constexpr int bytes = 1;
};

}  // namespace kv8::gpu
