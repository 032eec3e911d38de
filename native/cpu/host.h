// What the operating system tells about this machine.
#pragma once

#include <cstdint>
#include <string>

namespace kv8::cpu {

struct HostMemory {
    uint64_t total;
    uint64_t available;
};

HostMemory host_memory();
int available_cores();  // that this process may run on
std::string processor_name();

}  // namespace kv8::cpu
