// How a kernel tells of an illegal value in device memory.
#pragma once

#include "gpu/dialect.h"
#include "gpu/faults.h"

namespace kv8::gpu {

// Keeps the first fault since the host last looked. What follows the claim reaches the host with the kernel's end at the latest:
// it is read when all of the device's streams have been waited for.
KV8_DEVICE void report(Fault* fault, FaultKind kind, int64_t index, int64_t value, int64_t limit = 0,
                       uint32_t other = 0) {
    if (!claim(&fault->kind, kind)) return;
    store(&fault->other, other);
    store(&fault->index, index);
    store(&fault->value, value);
    store(&fault->limit, limit);
}

}  // namespace kv8::gpu
