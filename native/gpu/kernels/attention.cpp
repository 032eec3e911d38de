// Attention for caches of one head size, which the build gives: one kernel for each format and shape of tile.
#include "gpu/attention.h"

#if !defined(KV8_HEAD_SIZE)
#error "KV8_HEAD_SIZE is not given"
#endif

#define KV8_ATTENTION(name, Format, large)                                                                            \
    KV8_KERNEL(name, kAttentionWarps* kLanes,                                                                         \
               (attention_config(kAttentionDevice, KV8_HEAD_SIZE, Format::bytes, large).resident), AttentionParams) { \
        Attention<Format, KV8_HEAD_SIZE, large>(params).run();                                                        \
    }

namespace kv8::gpu {

#if !defined(KV8_MATRIX_FLUSHES_SUBNORMALS)  // where it is, these caches are computed in float32
KV8_ATTENTION(kv8_attention_f16_small, F16, false)
KV8_ATTENTION(kv8_attention_f16_large, F16, true)
KV8_ATTENTION(kv8_attention_e5m2_small, E5M2, false)
KV8_ATTENTION(kv8_attention_e5m2_large, E5M2, true)
#endif
KV8_ATTENTION(kv8_attention_bf16_small, BF16, false)
KV8_ATTENTION(kv8_attention_bf16_large, BF16, true)
KV8_ATTENTION(kv8_attention_e4m3fn_small, E4M3FN, false)
KV8_ATTENTION(kv8_attention_e4m3fn_large, E4M3FN, true)
#if defined(KV8_MATRIX_AMD)  // NVIDIA's GPUs have no use for the format; what caches hold it are computed in float32
KV8_ATTENTION(kv8_attention_e4m3fnuz_small, E4M3FNUZ, false)
KV8_ATTENTION(kv8_attention_e4m3fnuz_large, E4M3FNUZ, true)
#endif
#if defined(KV8_CONVERTS_FNUZ)  // nor has any other GPU for this one: no half float is a code's upper byte
KV8_ATTENTION(kv8_attention_e5m2fnuz_small, E5M2FNUZ, false)
KV8_ATTENTION(kv8_attention_e5m2fnuz_large, E5M2FNUZ, true)
#endif

}  // namespace kv8::gpu
