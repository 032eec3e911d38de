// Static scales of K or V: a number for each head and channel, some of which share one.
#pragma once

#include "gpu/numerics.h"
#include "gpu/report.h"
#include "kv8/kv8.h"

namespace kv8::gpu {

// Of a side that has them.
KV8_DEVICE float chan_at(const kv8_side& side, int64_t head, int64_t d) {
    const int64_t index = head * side.chan_head_stride + d * side.chan_dim_stride;
    return load<float>(reinterpret_cast<const uint8_t*>(side.chan.ptr) + 4 * index);
}

KV8_DEVICE float channel_scale(const kv8_side& side, int64_t head, int64_t d) {
    return side.chan.ptr == 0 ? 1.0f : chan_at(side, head, d);
}

// Reports an illegal one, by the first head and channel that share it.
KV8_DEVICE void check_scale(const kv8_side& side, float scale, int64_t head, int64_t d, Fault* fault) {
    if (fp8::is_scale(scale)) return;
    report(fault, kBadScale, side.chan_dim_stride == 0 ? 0 : d, int64_t(bits_of(scale)), 0,
           side.chan_head_stride == 0 ? 0u : uint32_t(head));
}

// An illegal one is reported, and used.
KV8_DEVICE float checked_channel_scale(const kv8_side& side, int64_t head, int64_t d, Fault* fault) {
    const float scale = channel_scale(side, head, d);
    check_scale(side, scale, head, d, fault);
    return scale;
}

}  // namespace kv8::gpu
