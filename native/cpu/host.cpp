#include "cpu/host.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "cpu/cgroup.h"

namespace kv8::cpu {
namespace {

// The text after "key:" in a file of such lines, or an empty one.
std::string value_in(const std::string& file, const std::string& key) {
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
        if (line.compare(0, key.size(), key) != 0) continue;
        const size_t colon = line.find(':'), text = line.find_first_not_of(" \t", colon + 1);
        if (colon != std::string::npos && text != std::string::npos) return line.substr(text);
    }
    return "";
}

uint64_t bytes_in_meminfo(const std::string& root, const char* key) {
    uint64_t kibibytes = 0;
    std::istringstream(value_in(root + "/proc/meminfo", key)) >> kibibytes;
    return kibibytes * 1024;
}

}  // namespace

HostMemory host_memory(const std::string& root) {
    HostMemory memory{bytes_in_meminfo(root, "MemTotal"), bytes_in_meminfo(root, "MemAvailable")};
    if (memory.total == 0) {  // no /proc
        const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
        memory = {page * static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)),
                  page * static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES))};
    }
    const GroupLimits limits = group_limits(root);
    return {std::min(memory.total, limits.memory), std::min({memory.available, limits.memory_left, limits.memory})};
}

int available_cores(const std::string& root) {
    cpu_set_t cores;
    const int count = sched_getaffinity(0, sizeof(cores), &cores) == 0
                          ? CPU_COUNT(&cores)
                          : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));  // more than a cpu_set_t holds
    return std::min(count, group_limits(root).cores);
}

std::string processor_name() {
    std::string name = value_in("/proc/cpuinfo", "model name");
    if (!name.empty()) return name;
    utsname system;
    return uname(&system) == 0 ? system.machine : "unknown";
}

}  // namespace kv8::cpu
