#include "cpu/host.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace kv8::cpu {
namespace {

// The text after "key:" in a file of such lines, or an empty one.
std::string value_in(const char* file, const std::string& key) {
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
        if (line.compare(0, key.size(), key) != 0) continue;
        const size_t colon = line.find(':'), text = line.find_first_not_of(" \t", colon + 1);
        if (colon != std::string::npos && text != std::string::npos) return line.substr(text);
    }
    return "";
}

uint64_t kibibytes_in_meminfo(const char* key) {
    uint64_t kibibytes = 0;
    std::istringstream(value_in("/proc/meminfo", key)) >> kibibytes;
    return kibibytes * 1024;
}

}  // namespace

HostMemory host_memory() {
    HostMemory memory{kibibytes_in_meminfo("MemTotal"), kibibytes_in_meminfo("MemAvailable")};
    if (memory.total == 0) {  // no /proc
        const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
        memory = {page * static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)),
                  page * static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES))};
    }
    return memory;
}

int available_cores() {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return CPU_COUNT(&cores);
    return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));  // more cores than a cpu_set_t holds
}

std::string processor_name() {
    std::string name = value_in("/proc/cpuinfo", "model name");
    if (!name.empty()) return name;
    utsname system;
    return uname(&system) == 0 ? system.machine : "unknown";
}

}  // namespace kv8::cpu
