// What the operating system tells about this machine, and how much of it this process may use. `root` is where /proc and /sys
// are.
#pragma once

#include <cstdint>
#include <string>

namespace kv8::cpu {

struct HostMemory {
    uint64_t total;
    uint64_t available;
};

// Within the limits of the process's control groups.
HostMemory host_memory(const std::string& root = "");

// That the process may run on, by its affinity, and have the time of, by its control groups: rounded up.
int available_cores(const std::string& root = "");

std::string processor_name();

}  // namespace kv8::cpu
