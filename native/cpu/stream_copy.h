// Copies that go past the caches: for results that are larger than what a cache would keep of them. A plain store first reads
// the line that it overwrites; one that streams does not, which saves a third of the traffic.
#pragma once

#include <cstdint>

namespace kv8::cpu {

// From this many bytes written by one call on, storing past the caches is worth while: more than most cores' second level, and a
// good part of what their share of the third holds.
constexpr int64_t kStreamedBytes = 8 << 20;

// Any addresses and sizes; the areas do not overlap. Other threads see the bytes after finish_stream() in the copying thread
// and whatever orders the two threads then.
void stream_copy(void* to, const void* from, int64_t bytes);
void finish_stream();

}  // namespace kv8::cpu
