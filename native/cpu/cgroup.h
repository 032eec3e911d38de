// What the control groups of a process leave it of the machine: a container's limits, of version 2 and of version 1.
#pragma once

#include <climits>
#include <cstdint>
#include <string>

namespace kv8::cpu {

// Of the process's own groups and of those around them, the tightest.
struct GroupLimits {
    uint64_t memory = UINT64_MAX;  // bytes in all
    uint64_t memory_left =
        UINT64_MAX;       // bytes that are not in use, or in use for files' pages, which the system takes back
    int cores = INT_MAX;  // of processor time, rounded up
};

// `root` is where /proc and /sys are.
GroupLimits group_limits(const std::string& root);

}  // namespace kv8::cpu
