// How a kernel tells of an illegal value in device memory.
#pragma once

#include "gpu/dialect.h"
#include "gpu/faults.h"

namespace kv8::gpu {

// Keeps the first fault since the host last looked. What follows the claim is read only after the stream is synchronized.
KV8_DEVICE void report(Fault* fault, FaultKind kind, int64_t index, int64_t value, int64_t limit = 0,
                       uint32_t other = 0) {
    if (!claim(&fault->kind, kind)) return;
    store(&fault->other, other);
    store(&fault->index, index);
    store(&fault->value, value);
    store(&fault->limit, limit);
}

}  // namespace kv8::gpu
