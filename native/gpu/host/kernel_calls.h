// Every kernel call but attention's: what a launch is given. The dispatcher has checked the arguments; values in device
// memory are checked by the kernels, which report to the device's fault.
#pragma once

#include "gpu/host/device.h"

namespace kv8::gpu {

void cast(Device&, Stream, const kv8_cast_args&);
void amax(Device&, Stream, const kv8_amax_args&);
void write(Device&, Stream, const kv8_write_args&);
void gather(Device&, Stream, const kv8_gather_args&);
void move_blocks(Device&, Stream, const kv8_move_blocks_args&);
void merge_states(Device&, Stream, const kv8_merge_states_args&);
void rms_norm(Device&, Stream, const kv8_rms_norm_args&);
void rope(Device&, Stream, const kv8_rope_args&);
void gate_mul(Device&, Stream, const kv8_gate_mul_args&);
void softcap(Device&, Stream, const kv8_softcap_args&);
void embedding(Device&, Stream, const kv8_embedding_args&);
void sample(Device&, Stream, const kv8_sample_args&);

}  // namespace kv8::gpu
