// A thread's asynchronous copies into shared memory. Nothing is written before the wait that a copy is due at: until then its
// target holds NaNs, and touching it is an error.
#pragma once

#include <cstdint>
#include <vector>

namespace kv8::emulator {

struct AsyncCopy {
    uint32_t to;       // in shared memory, 16 bytes
    const void* from;  // null: zeros
    int64_t group;
};

struct AsyncCopies {
    std::vector<AsyncCopy> pending;  // groups in ascending order
    size_t first = 0;                // of those that are under way
    int64_t open_group = 0;

    bool uncommitted() const { return first < pending.size() && pending.back().group == open_group; }
    void clear() {
        pending.clear();
        first = 0;
        open_group = 0;
    }
};

}  // namespace kv8::emulator
