// Attention as the backend's table has it: a step's plan, and a layer's launches.
#pragma once

#include "gpu/host/device.h"

namespace kv8::gpu {

// Sets args.workspace_bytes and, if a workspace is given, sends the plan there in the stream's order.
void plan_attention(Device& device, Stream stream, kv8_attention_plan_args& args);

// One launch for each shape of tile that the batch has. While the stream is captured both are launched, with grids that hold for
// any batch: a replay may find another plan in the workspace.
void attention(Device& device, Stream stream, const kv8_attention_args& args);

}  // namespace kv8::gpu
