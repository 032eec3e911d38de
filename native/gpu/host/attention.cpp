#include "gpu/host/attention.h"

#include <algorithm>
#include <cstdio>

#include "dispatch/error.h"
#include "gpu/attention_params.h"
#include "gpu/host/attention_device.h"
#include "gpu/host/attention_schedule.h"
#include "gpu/host/native_fp8.h"

namespace kv8::gpu {
namespace {

int slots(const DeviceTraits& traits, int kv_heads, int head_size, bool large) {
    // By FP8 caches, for all: a plan does not know the caches' dtype.
    const AttentionConfig config = attention_config(attention_device(traits.arch), head_size, 1, large);
    return std::max(1, traits.multiprocessors * config.resident / kv_heads);
}

// A cache format's name in the matrix kernels' names, or null where only the kernel in float32 serves.
const char* matrix_format(const DeviceTraits& traits, const kv8_attention_args& args) {
    const kv8_dtype q = args.q.dtype, kv = args.view->k.dtype;
    if (q == KV8_F32 || args.view->v.dtype != kv) return nullptr;
    // Elements of these types are factors as they are, and some of them subnormal half floats.
    if (flushes_subnormals(traits.arch) && (kv == KV8_F16 || kv == KV8_E5M2)) return nullptr;
    switch (kv) {
        case KV8_F16:
            return "f16";
        case KV8_BF16:
            return q == KV8_BF16 ? "bf16" : nullptr;  // a half float's mantissa does not fit
        case KV8_E4M3FN:
            return "e4m3fn";
        case KV8_E5M2:
            return "e5m2";
        case KV8_E4M3FNUZ:
            return traits.arch.rfind("gfx", 0) == 0 ? "e4m3fnuz" : nullptr;
        case KV8_E5M2FNUZ:
            return native_fp8(traits.arch) >> kv & 1 ? "e5m2fnuz" : nullptr;
        default:
            return nullptr;
    }
}

struct Kernel {
    char module[32], name[64];
    int threads, shared_bytes;
};

Kernel kernel_of(const DeviceTraits& traits, const kv8_attention_args& args, int tiles) {
    Kernel kernel{};
    const int head_size = args.view->head_size;
    const char* format = matrix_format(traits, args);
    if (format == nullptr) {
        std::snprintf(kernel.module, sizeof(kernel.module), "attention_precise");
        std::snprintf(kernel.name, sizeof(kernel.name), "kv8_attention_precise_d%d", head_size);
        kernel.threads = kPreciseThreads;
        kernel.shared_bytes = precise_shared_bytes(head_size);
        return kernel;
    }
    const bool large = tiles == kLargeTiles;
    std::snprintf(kernel.module, sizeof(kernel.module), "attention_d%d", head_size);
    std::snprintf(kernel.name, sizeof(kernel.name), "kv8_attention_%s_%s", format, large ? "large" : "small");
    kernel.threads = kAttentionWarps * attention_device(traits.arch).lanes;
    const int element_bytes = args.view->k.dtype < KV8_E4M3FN ? 2 : 1;
    kernel.shared_bytes =
        attention_config(attention_device(traits.arch), head_size, element_bytes, large).shared_bytes();
    return kernel;
}

// Entries may be more than any sequence has keys.
int64_t most_keys(const kv8_attention_args& args) {
    int64_t keys = 0;
    return __builtin_mul_overflow(args.block_table_stride, int64_t{args.view->block_size}, &keys) ? INT64_MAX : keys;
}

}  // namespace

void plan_attention(Device& device, Stream stream, kv8_attention_plan_args& args) {
    const DeviceTraits& traits = device.traits();
    const AttentionSchedule schedule = make_schedule(args, {{slots(traits, args.kv_heads, args.head_size, false),
                                                             slots(traits, args.kv_heads, args.head_size, true)},
                                                            large_rows(attention_device(traits.arch), args.head_size)});
    args.workspace_bytes = schedule.workspace_bytes;
    if (args.workspace.ptr == 0) return;
    check_workspace(args, schedule.workspace_bytes);
    device.upload(stream, args.workspace.ptr, schedule.bytes.data(), schedule.bytes.size());
    device.plans().remember(args.workspace.ptr, schedule.known);
}

void attention(Device& device, Stream stream, const kv8_attention_args& args) {
    const KnownPlan plan = device.plans().find(args.plan.ptr, args.plan.bytes);
    check_against_plan(args, plan.shape);

    AttentionParams params{};
    params.view = *args.view;
    params.q = args.q;
    params.out = args.out;
    params.plan = args.plan.ptr;
    params.block_table = args.block_table.ptr;
    params.block_table_stride = args.block_table_stride;
    params.most_keys = most_keys(args);
    params.lse = args.lse.ptr;
    params.sinks = args.sinks.ptr;
    params.alibi_slopes = args.alibi_slopes.ptr;
    params.q_heads = plan.shape.q_heads;
    params.num_seqs = plan.shape.num_seqs;
    params.total_queries = int32_t(plan.shape.total_q);
    params.window = args.window;
    params.softmax_scale = args.softmax_scale;
    params.softcap = args.softcap;
    params.group = plan.shape.q_heads / plan.shape.kv_heads;
    params.group_inverse = uint32_t(((uint64_t{1} << 31) + uint64_t(params.group) - 1) / uint64_t(params.group));
    const PlanPlaces places = plan_places(plan.slots);
    params.items_at = places.items_at;
    params.fault = device.fault();

    const bool captured = device.driver().is_capturing(stream);
    for (int tiles : {kSmallTiles, kLargeTiles}) {
        const int used = captured ? plan.slots[tiles] : plan.used_slots[tiles];
        if (used == 0) continue;
        params.slots_at = places.slots_at[tiles];
        const Kernel kernel = kernel_of(device.traits(), args, tiles);
        device.launch(kernel.module, kernel.name, used * plan.shape.kv_heads, kernel.threads, kernel.shared_bytes,
                      params, stream);
    }
}

}  // namespace kv8::gpu
