// What a process may use of its machine, as files like those of /proc and /sys tell it.
#include "cpu/host.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <fstream>

namespace {

using kv8::cpu::available_cores;
using kv8::cpu::host_memory;
using kv8::cpu::HostMemory;

constexpr uint64_t kGib = uint64_t{1} << 30;

class Host : public testing::Test {
  protected:
    Host() {
        std::string name = (std::filesystem::temp_directory_path() / "kv8-host-XXXXXX").string();
        root_ = mkdtemp(name.data());
        file("proc/meminfo", "MemTotal:       67108864 kB\nMemFree: 1 kB\nMemAvailable:   33554432 kB\n");
    }
    ~Host() override { std::filesystem::remove_all(root_); }

    void file(const std::string& name, const std::string& text) const {
        const std::filesystem::path path = std::filesystem::path(root_) / name;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path) << text;
    }
    void group(const std::string& name, const std::string& text) const { file("sys/fs/cgroup/" + name, text); }

    void expect(uint64_t total, uint64_t available, int cores) const {
        const HostMemory memory = host_memory(root_);
        EXPECT_EQ(memory.total, total);
        EXPECT_EQ(memory.available, available);
        cpu_set_t mask;
        ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
        EXPECT_EQ(available_cores(root_), std::min(CPU_COUNT(&mask), cores));
    }

  private:
    std::string root_;
};

TEST_F(Host, WithoutGroupsIsTheMachine) { expect(64 * kGib, 32 * kGib, INT_MAX); }

TEST_F(Host, WithoutLimitsIsTheMachine) {
    file("proc/self/cgroup", "0::/user.slice\n");
    group("user.slice/memory.max", "max\n");
    group("user.slice/memory.current", "1000000\n");
    group("user.slice/cpu.max", "max 100000\n");
    expect(64 * kGib, 32 * kGib, INT_MAX);
}

TEST_F(Host, IsAContainersLimits) {
    file("proc/self/cgroup", "0::/\n");
    group("memory.max", std::to_string(8 * kGib) + "\n");
    group("memory.current", std::to_string(5 * kGib) + "\n");
    group("cpu.max", "100000 100000\n");
    expect(8 * kGib, 3 * kGib, 1);
    // What files' pages occupy can be had back.
    group("memory.stat",
          "anon 7\ninactive_file " + std::to_string(kGib) + "\nactive_file " + std::to_string(2 * kGib) + "\nslab 5\n");
    expect(8 * kGib, 6 * kGib, 1);
    group("memory.current", std::to_string(9 * kGib) + "\n");
    group("memory.stat", "");
    expect(8 * kGib, 0, 1);
}

TEST_F(Host, IsTheTightestOfTheGroupsAround) {
    file("proc/self/cgroup", "0::/pods/one/main\n");
    group("pods/one/main/memory.max", std::to_string(40 * kGib) + "\n");
    group("pods/one/main/memory.current", "0\n");
    group("pods/one/memory.max", "max\n");
    group("pods/one/cpu.max", "50000 100000\n");
    group("pods/memory.max", std::to_string(20 * kGib) + "\n");
    group("pods/memory.current", std::to_string(4 * kGib) + "\n");
    group("pods/cpu.max", "6400000 100000\n");
    expect(20 * kGib, 16 * kGib, 1);
}

TEST_F(Host, HasAQuotaRoundedUp) {
    file("proc/self/cgroup", "0::/\n");
    for (const char* quota : {"1000 100000", "100001 100000", "150000 100000", "200000 100000"}) {
        group("cpu.max", quota);
        expect(64 * kGib, 32 * kGib, quota == std::string("1000 100000") ? 1 : 2);
    }
}

TEST_F(Host, IsTheLimitsOfVersionOne) {
    file("proc/self/cgroup", "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n");
    // In the container its group is the mount's root.
    group("memory/memory.limit_in_bytes", std::to_string(6 * kGib) + "\n");
    group("memory/memory.usage_in_bytes", std::to_string(5 * kGib) + "\n");
    group("memory/memory.stat", "inactive_file 1\ntotal_inactive_file " + std::to_string(kGib) + "\n");
    group("cpu/cpu.cfs_quota_us", "100000\n");
    group("cpu/cpu.cfs_period_us", "100000\n");
    expect(6 * kGib, 2 * kGib, 1);
    group("memory/memory.limit_in_bytes", "9223372036854771712\n");
    group("cpu/cpu.cfs_quota_us", "-1\n");
    expect(64 * kGib, 32 * kGib, INT_MAX);
}

TEST_F(Host, SeesNoGroupsBeyondItsRoot) {
    file("proc/self/cgroup", "0::/../../other\n");
    group("memory.max", std::to_string(4 * kGib) + "\n");
    group("memory.current", "0\n");
    expect(4 * kGib, 4 * kGib, INT_MAX);
}

}  // namespace
