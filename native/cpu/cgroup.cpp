#include "cpu/cgroup.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace kv8::cpu {
namespace {

// The names of a version's files. A quota's two numbers are in one file in version 2.
struct MemoryFiles {
    const char *limit, *usage, *inactive_pages, *active_pages;
};
constexpr MemoryFiles kMemory2{"memory.max", "memory.current", "inactive_file", "active_file"},
    kMemory1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"};

// A file's first number; false where there is none, as in "max" or "-1".
bool read_number(std::istream& from, uint64_t& number) {
    int64_t read = 0;
    if (!(from >> read) || read < 0) return false;
    number = static_cast<uint64_t>(read);
    return true;
}

bool number_in(const std::string& file, uint64_t& number) {
    std::ifstream from(file);
    return read_number(from, number);
}

// The value of a line "key value", or 0.
uint64_t value_of(const std::string& file, const std::string& key) {
    std::ifstream from(file);
    std::string word;
    for (uint64_t value = 0; from >> word >> value;)
        if (word == key) return value;
    return 0;
}

void limit_memory(const std::string& group, const MemoryFiles& files, GroupLimits& limits) {
    uint64_t limit = 0, usage = 0;
    if (!number_in(group + files.limit, limit)) return;
    limits.memory = std::min(limits.memory, limit);
    if (!number_in(group + files.usage, usage)) return;
    const std::string statistics = group + "memory.stat";
    const uint64_t pages = value_of(statistics, files.inactive_pages) + value_of(statistics, files.active_pages);
    usage -= std::min(usage, pages);
    limits.memory_left = std::min(limits.memory_left, limit - std::min(limit, usage));
}

void limit_cores(uint64_t quota, uint64_t period, GroupLimits& limits) {
    if (quota == 0 || period == 0) return;
    const uint64_t cores = (quota - 1) / period + 1;
    limits.cores = static_cast<int>(std::min<uint64_t>(static_cast<uint64_t>(limits.cores), cores));
}

void limit_cores_2(const std::string& group, GroupLimits& limits) {
    std::ifstream from(group + "cpu.max");
    uint64_t quota = 0, period = 0;
    if (read_number(from, quota) && read_number(from, period)) limit_cores(quota, period, limits);
}

void limit_cores_1(const std::string& group, GroupLimits& limits) {
    uint64_t quota = 0, period = 0;
    if (number_in(group + "cpu.cfs_quota_us", quota) && number_in(group + "cpu.cfs_period_us", period))
        limit_cores(quota, period, limits);
}

// Calls look(directory + "/") for a group and those around it. In a container its own group is often the mount's root, whatever
// the path says: what does not exist has no limits.
template <class Look>
void up_from(const std::string& mount, std::string path, const Look& look) {
    if (path.find("..") != std::string::npos) path.clear();  // moved out of the groups that can be seen
    for (;;) {
        while (!path.empty() && path.back() == '/') path.pop_back();
        look(mount + path + "/");
        if (path.empty()) return;
        path.erase(path.find_last_of('/'));
    }
}

}  // namespace

GroupLimits group_limits(const std::string& root) {
    GroupLimits limits;
    const std::string mounts = root + "/sys/fs/cgroup";
    std::ifstream groups(root + "/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {  // number:controllers:path
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
        if (controllers.empty()) {
            up_from(mounts, path, [&](const std::string& group) {
                limit_memory(group, kMemory2, limits);
                limit_cores_2(group, limits);
            });
            continue;
        }
        std::istringstream names(controllers);
        for (std::string name; std::getline(names, name, ',');) {
            const std::string mount =
                mounts + "/" + name;  // a name of its own, or a link to that of several controllers
            if (name == "memory")
                up_from(mount, path, [&](const std::string& group) { limit_memory(group, kMemory1, limits); });
            if (name == "cpu") up_from(mount, path, [&](const std::string& group) { limit_cores_1(group, limits); });
        }
    }
    return limits;
}

}  // namespace kv8::cpu
