// Attention in float32: one kernel for each head size.
#include "gpu/attention_precise.h"

namespace kv8::gpu {

#define KV8_ATTENTION_PRECISE(head_size)                                                  \
    KV8_KERNEL(kv8_attention_precise_d##head_size, kPreciseThreads, 1, AttentionParams) { \
        PreciseAttention<head_size>(params).run();                                        \
    }

KV8_ATTENTION_PRECISE(64)
KV8_ATTENTION_PRECISE(80)
KV8_ATTENTION_PRECISE(96)
KV8_ATTENTION_PRECISE(112)
KV8_ATTENTION_PRECISE(128)
KV8_ATTENTION_PRECISE(192)
KV8_ATTENTION_PRECISE(256)

}  // namespace kv8::gpu
