// Checks of what lies in the arguments' memory, which on a CPU can be looked at before anything is written: slots, ids,
// positions, block pairs, scales, sampling parameters. A bad value throws a Refusal that names it and its place.
#pragma once

#include <cstdint>
#include <vector>

#include "kv8/kv8.h"

namespace kv8::cpu {

void check_channel_scales(const char* name, const kv8_cache_view&);  // of the view that the message calls `name`
void check_slots(const kv8_span& slots, int64_t tokens, const kv8_cache_view&);
void check_positions(const kv8_rope_table&, int64_t tokens);
void check_ids(const kv8_embedding_args&);
void check_sampling(const kv8_sample_args&);

// `marks` is memory to work in, all zero before and after.
void check_pairs(const kv8_move_blocks_args&, std::vector<uint8_t>& marks);

}  // namespace kv8::cpu
