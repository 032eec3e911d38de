#include "gpu/host/kernel_calls.h"

#include "gpu/kernel_params.h"

namespace kv8::gpu {
namespace {

template <class Params>
void launch(Device& device, Stream stream, const Params& params) {
    device.launch(Params::kModule, Params::kKernel, grid(params, device.traits().multiprocessors), Params::kThreads,
                  Params::kSharedBytes, params, stream);
}

uint64_t amax_bytes(const kv8_amax_args& args) {
    uint64_t results = 1;
    if (args.granularity != KV8_AMAX_TENSOR) results = static_cast<uint64_t>(args.heads);
    if (args.granularity == KV8_AMAX_CHANNEL) results *= static_cast<uint64_t>(args.width);
    if (args.granularity == KV8_AMAX_ROW) results *= static_cast<uint64_t>(args.tokens);
    return results * sizeof(float);
}

}  // namespace

void cast(Device& device, Stream stream, const kv8_cast_args& args) { launch(device, stream, CastParams{args}); }

void amax(Device& device, Stream stream, const kv8_amax_args& args) {
    if (!args.accumulate) device.driver().fill(args.out.ptr, 0, amax_bytes(args), stream);
    if (args.tokens > 0) launch(device, stream, AmaxParams{args});
}

void write(Device& device, Stream stream, const kv8_write_args& args) {
    launch(device, stream, WriteParams{args, *args.view, device.fault()});
}

void gather(Device& device, Stream stream, const kv8_gather_args& args) {
    launch(device, stream, GatherParams{args, *args.view, device.fault()});
}

void move_blocks(Device& device, Stream stream, const kv8_move_blocks_args& args) {
    launch(device, stream, MoveBlocksParams{args, *args.src, *args.dst, device.fault()});
}

void merge_states(Device& device, Stream stream, const kv8_merge_states_args& args) {
    launch(device, stream, MergeStatesParams{args});
}

void rms_norm(Device& device, Stream stream, const kv8_rms_norm_args& args) {
    launch(device, stream, RmsNormParams{args});
}

void rope(Device& device, Stream stream, const kv8_rope_args& args) {
    launch(device, stream, RopeParams{args, device.fault()});
}

void gate_mul(Device& device, Stream stream, const kv8_gate_mul_args& args) {
    launch(device, stream, GateMulParams{args});
}

void softcap(Device& device, Stream stream, const kv8_softcap_args& args) {
    launch(device, stream, SoftcapParams{args});
}

void embedding(Device& device, Stream stream, const kv8_embedding_args& args) {
    launch(device, stream, EmbeddingParams{args, device.fault()});
}

void sample(Device& device, Stream stream, const kv8_sample_args& args) {
    launch(device, stream, SampleParams{args, device.fault()});
}

}  // namespace kv8::gpu
