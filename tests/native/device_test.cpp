// Backends and devices: their options, what they tell of themselves, and handles that do not exist.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "host_devices.h"

namespace {

using kv8_test::cpu;
using kv8_test::info_of;
using kv8_test::open;
using kv8_test::options;

// The environment's KV8_ISA, put back at the end.
class IsaInEnvironment {
  public:
    explicit IsaInEnvironment(const char* isa) {
        if (const char* before = getenv("KV8_ISA")) before_ = before;
        setenv("KV8_ISA", isa, 1);
    }
    ~IsaInEnvironment() { before_.empty() ? unsetenv("KV8_ISA") : setenv("KV8_ISA", before_.c_str(), 1); }

  private:
    std::string before_;
};

TEST(Backend, ThatIsUnknownIsRefused) {
    int invented = 0;
    auto* backend = reinterpret_cast<kv8_backend*>(&invented);
    int32_t count = 0;
    EXPECT_REFUSED(kv8_device_count(backend, &count), KV8_INVALID_ARGUMENT, "is not known");
    EXPECT_REFUSED(kv8_device_count(nullptr, &count), KV8_INVALID_ARGUMENT, "is not known");
    EXPECT_REFUSED(kv8_device_count(cpu(), nullptr), KV8_INVALID_ARGUMENT, "count is null");
    EXPECT_STREQ(kv8_backend_name(backend), "");
    EXPECT_STREQ(kv8_backend_name(cpu()), "cpu");
}

TEST(Device, SaysWhatItRunsOn) {
    kv8_device* device = open(cpu(), options(3, "scalar"));
    const kv8_device_info info = info_of(device);
    EXPECT_GT(std::strlen(info.name), 0u);
    EXPECT_STREQ(info.arch, "scalar");
    EXPECT_GT(info.memory_bytes, uint64_t{64} << 20);
    EXPECT_GT(info.memory_free, 0u);
    EXPECT_LE(info.memory_free, info.memory_bytes);
    EXPECT_EQ(info.dtypes, 0x7fu);
    EXPECT_EQ(info.native_fp8, 0u);
    EXPECT_EQ(info.threads, 3);
    EXPECT_EQ(info.host_accessible, 1);
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Device, UsesEveryAvailableCoreUnlessTold) {
    cpu_set_t cores;
    ASSERT_EQ(sched_getaffinity(0, sizeof(cores), &cores), 0);
    kv8_device* device = open(cpu(), options(0));
    EXPECT_GE(info_of(device).threads, 1);
    EXPECT_LE(info_of(device).threads, CPU_COUNT(&cores));  // fewer where a container has a quota
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Device, TakesItsInstructionSetFromTheEnvironmentUnlessTold) {
    IsaInEnvironment environment("scalar");
    kv8_device* device = open(cpu());
    EXPECT_STREQ(info_of(device).arch, "scalar");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
    kv8_device_options o = options(1, "mmx");
    EXPECT_REFUSED(kv8_device_open(cpu(), &o, &device), KV8_INVALID_ARGUMENT,
                   "options.isa is \"mmx\", which this library has no kernels for; usable here: ");
}

TEST(Device, RefusesAnUnknownInstructionSetOfTheEnvironment) {
    IsaInEnvironment environment("sse9");
    kv8_device* device = nullptr;
    kv8_device_options o = options();
    EXPECT_REFUSED(kv8_device_open(cpu(), &o, &device), KV8_INVALID_ARGUMENT, "KV8_ISA in the environment is \"sse9\"");
    EXPECT_NE(std::strstr(kv8_last_error(), "scalar"), nullptr);
}

TEST(Device, RefusesBadOptions) {
    kv8_device* device = nullptr;
    kv8_device_options o = options();
    EXPECT_REFUSED(kv8_device_open(cpu(), nullptr, &device), KV8_INVALID_ARGUMENT, "options is null");
    EXPECT_REFUSED(kv8_device_open(cpu(), &o, nullptr), KV8_INVALID_ARGUMENT, "out is null");
    o.struct_size = 4;
    EXPECT_REFUSED(kv8_device_open(cpu(), &o, &device), KV8_INVALID_ARGUMENT, "options.struct_size is 4");
    o = options();
    o.ordinal = 1;
    EXPECT_REFUSED(kv8_device_open(cpu(), &o, &device), KV8_INVALID_ARGUMENT,
                   "options.ordinal is 1; the cpu backend has 1 device");
    o.ordinal = -1;
    EXPECT_REFUSED(kv8_device_open(cpu(), &o, &device), KV8_INVALID_ARGUMENT, "options.ordinal is -1");
    for (int32_t threads : {-1, 1025}) {
        o = options(threads);
        EXPECT_REFUSED(kv8_device_open(cpu(), &o, &device), KV8_INVALID_ARGUMENT, "options.threads is");
    }
    EXPECT_EQ(device, nullptr);
}

TEST(Device, IsRefusedAfterCloseAndWhenInvented) {
    kv8_device* device = open(cpu());
    ASSERT_EQ(kv8_device_close(device), KV8_OK);
    kv8_device* next = open(cpu());  // takes no closed device's place
    kv8_device_info info{};
    info.struct_size = sizeof(info);
    int invented = 0;
    for (kv8_device* handle :
         {device, reinterpret_cast<kv8_device*>(&invented), reinterpret_cast<kv8_device*>(~uintptr_t{0})}) {
        EXPECT_REFUSED(kv8_device_get_info(handle, &info), KV8_INVALID_ARGUMENT, "is not open");
        EXPECT_REFUSED(kv8_device_close(handle), KV8_INVALID_ARGUMENT, "is not open");
        EXPECT_REFUSED(kv8_fill(handle, nullptr, {0, 0}, 0), KV8_INVALID_ARGUMENT, "is not open");
        EXPECT_REFUSED(kv8_free(handle, 64), KV8_INVALID_ARGUMENT, "is not open");
    }
    EXPECT_REFUSED(kv8_device_close(nullptr), KV8_INVALID_ARGUMENT, "device is null");
    EXPECT_EQ(kv8_device_close(next), KV8_OK);
}

TEST(Device, RefusesInfoOfAnotherVersion) {
    kv8_device* device = open(cpu());
    kv8_device_info info{};
    EXPECT_REFUSED(kv8_device_get_info(device, &info), KV8_INVALID_ARGUMENT, "info.struct_size is 0");
    EXPECT_REFUSED(kv8_device_get_info(device, nullptr), KV8_INVALID_ARGUMENT, "info is null");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Device, WaitsForRunningCallsWhenItIsClosed) {
    for (int round = 0; round < 20; round++) {
        kv8_device* device = open(cpu(), options(2));
        std::vector<char> bytes(1 << 20);
        std::atomic<int> started{0};
        std::vector<std::thread> callers;
        for (int i = 0; i < 2; i++)
            callers.emplace_back([&, i] {
                const kv8_span half{reinterpret_cast<uint64_t>(bytes.data()) + i * bytes.size() / 2, bytes.size() / 2};
                kv8_status status = KV8_OK;
                while (status == KV8_OK) {
                    status = kv8_fill(device, nullptr, half, 1);
                    started++;
                }
                EXPECT_EQ(status, KV8_INVALID_ARGUMENT);
            });
        while (started < 4) std::this_thread::yield();
        EXPECT_EQ(kv8_device_close(device), KV8_OK);
        for (std::thread& caller : callers) caller.join();
    }
}

TEST(Device, ClosedByManyThreadsIsClosedOnce) {
    kv8_device* device = open(cpu());
    std::atomic<int> closed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++) threads.emplace_back([&] { closed += kv8_device_close(device) == KV8_OK; });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(closed, 1);
}

}  // namespace
