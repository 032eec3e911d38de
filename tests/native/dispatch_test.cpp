// Backends, devices, streams and memory: handles, plug-ins, and what happens to those that do not exist.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "plugin/gate.h"
#include "refusals.h"

namespace {

std::string plugin(const char* name) { return std::string(KV8_TEST_PLUGINS) + "/lib" + name + ".so"; }

kv8_backend* load(const char* name) {
    kv8_backend* backend = nullptr;
    EXPECT_EQ(kv8_backend_load(plugin(name).c_str(), &backend), KV8_OK) << kv8_last_error();
    return backend;
}

kv8_backend* cpu() {
    kv8_backend* backend = nullptr;
    EXPECT_EQ(kv8_backend_cpu(&backend), KV8_OK);
    return backend;
}

kv8_device_options options(int32_t threads = 1, const char* isa = nullptr) {
    kv8_device_options o{};
    o.struct_size = sizeof(o);
    o.threads = threads;
    o.isa = isa;
    return o;
}

kv8_device* open(kv8_backend* backend, kv8_device_options o = options()) {
    kv8_device* device = nullptr;
    EXPECT_EQ(kv8_device_open(backend, &o, &device), KV8_OK) << kv8_last_error();
    return device;
}

kv8_device_info info_of(kv8_device* device) {
    kv8_device_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(kv8_device_get_info(device, &info), KV8_OK) << kv8_last_error();
    return info;
}

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

TEST(Library, HasTheHeadersVersion) { EXPECT_EQ(kv8_abi_version(), KV8_ABI_VERSION); }

TEST(Library, KeepsOneMessagePerThread) {
    EXPECT_REFUSED(kv8_backend_cpu(nullptr), KV8_INVALID_ARGUMENT, "out is null");
    std::thread([] { EXPECT_STREQ(kv8_last_error(), ""); }).join();
    EXPECT_STREQ(kv8_last_error(), "out is null.");
}

// ---- plug-ins

TEST(Plugin, IsOpenedOnceByWhateverNameOfItsFile) {
    kv8_backend* backend = load("kv8_test_plugin");
    EXPECT_EQ(load("kv8_test_plugin"), backend);
    kv8_backend* again = nullptr;
    ASSERT_EQ(kv8_backend_load((std::string(KV8_TEST_PLUGINS) + "/././libkv8_test_plugin.so").c_str(), &again), KV8_OK)
        << kv8_last_error();
    EXPECT_EQ(again, backend);
    EXPECT_STREQ(kv8_backend_name(backend), "test");
}

TEST(Plugin, IsOpenedOnceByThreadsAtTheSameTime) {
    std::vector<kv8_backend*> got(8);
    std::vector<std::thread> threads;
    for (kv8_backend*& out : got) threads.emplace_back([&out] { out = load("kv8_test_plugin"); });
    for (std::thread& thread : threads) thread.join();
    for (kv8_backend* backend : got) EXPECT_EQ(backend, got[0]);
}

TEST(Plugin, ServesCallsAndKeepsItsMessages) {
    kv8_backend* backend = load("kv8_test_plugin");
    int32_t count = 0;
    ASSERT_EQ(kv8_device_count(backend, &count), KV8_OK);
    EXPECT_EQ(count, 2);
    kv8_device* device = open(backend);
    EXPECT_STREQ(info_of(device).name, "test device");

    uint64_t ptr = 0;
    ASSERT_EQ(kv8_alloc(device, 64, KV8_MEMORY_DEVICE, &ptr), KV8_OK);
    const kv8_span row{ptr, 64};
    kv8_rms_norm_args norm{};
    norm.struct_size = sizeof(norm);
    norm.tokens = norm.heads = 1;
    norm.width = 4;
    norm.x.data = norm.out.data = norm.weight = row;
    ASSERT_EQ(kv8_rms_norm(device, nullptr, &norm), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_rms_norm(device, nullptr, &norm), KV8_OK) << kv8_last_error();
    EXPECT_EQ(reinterpret_cast<float*>(ptr)[3], 2.0f);
    norm.width = 17;
    EXPECT_REFUSED(kv8_rms_norm(device, nullptr, &norm), KV8_BUFFER_TOO_SMALL,
                   "x.data has 64 bytes; its shape needs 68");

    kv8_gate_mul_args silu{};
    silu.struct_size = sizeof(silu);
    silu.tokens = silu.width = 1;
    silu.gate.data = silu.up.data = silu.out.data = row;
    EXPECT_REFUSED(kv8_gate_mul(device, nullptr, &silu), KV8_UNSUPPORTED, "the test plug-in has no such kernel");
    EXPECT_EQ(kv8_free(device, ptr), KV8_OK);

    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_wrap(device, 77, &stream), KV8_OK);
    EXPECT_REFUSED(kv8_stream_sync(device, stream), KV8_DEVICE_ERROR, "stream 77 is stuck");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);  // destroys the stream too, as the leak check sees

    kv8_device_options second = options();
    second.ordinal = 1;
    EXPECT_REFUSED(kv8_device_open(backend, &second, &device), KV8_DEVICE_ERROR,
                   "second device of the test plug-in is broken");
}

TEST(Plugin, LivesBesideTheCpu) {
    kv8_device *cpu_device = open(cpu()), *other = open(load("kv8_test_plugin"));
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(other, &stream), KV8_OK);
    EXPECT_REFUSED(kv8_stream_sync(cpu_device, stream), KV8_INVALID_ARGUMENT, "is not a stream of this device");
    EXPECT_EQ(kv8_stream_sync(other, stream), KV8_OK);
    EXPECT_EQ(kv8_device_close(cpu_device), KV8_OK);
    EXPECT_EQ(kv8_device_close(other), KV8_OK);
}

TEST(Plugin, ThatIsNoFileIsRefusedWithTheLoadersReason) {
    kv8_backend* backend = nullptr;
    EXPECT_REFUSED(kv8_backend_load("/nowhere/libkv8_cuda.so", &backend), KV8_LIBRARY_MISSING,
                   "/nowhere/libkv8_cuda.so cannot be opened: /nowhere/libkv8_cuda.so: cannot open shared object file");
    EXPECT_EQ(backend, nullptr);
}

TEST(Plugin, ThatIsNoLibraryIsRefused) {
    const std::string path = std::string(KV8_TEST_PLUGINS) + "/not-a-library.so";
    std::ofstream(path) << "text";
    kv8_backend* backend = nullptr;
    EXPECT_REFUSED(kv8_backend_load(path.c_str(), &backend), KV8_LIBRARY_MISSING, "file too short");
    unlink(path.c_str());
}

TEST(Plugin, OfAnotherAbiIsRefusedWithBothNumbers) {
    kv8_backend* backend = nullptr;
    EXPECT_REFUSED(kv8_backend_load(plugin("kv8_wrong_abi_plugin").c_str(), &backend), KV8_ABI_MISMATCH,
                   "has ABI version 2; this library needs version 1");
}

TEST(Plugin, WithoutTheEntryIsRefused) {
    kv8_backend* backend = nullptr;
    EXPECT_REFUSED(kv8_backend_load(plugin("kv8_no_symbol_plugin").c_str(), &backend), KV8_ABI_MISMATCH,
                   "exports no kv8_plugin_v1");
}

TEST(Plugin, WithAnIncompleteTableIsRefused) {
    kv8_backend* backend = nullptr;
    EXPECT_REFUSED(kv8_backend_load(plugin("kv8_incomplete_plugin").c_str(), &backend), KV8_ABI_MISMATCH,
                   "table of functions");
}

TEST(Plugin, ThatCannotWorkHereSaysWhy) {
    kv8_backend* backend = nullptr;
    EXPECT_REFUSED(kv8_backend_load(plugin("kv8_no_driver_plugin").c_str(), &backend), KV8_LIBRARY_MISSING,
                   "cannot work here: libtestdriver.so.1 is not installed");
}

TEST(Plugin, NeedsAPath) {
    kv8_backend* backend = nullptr;
    EXPECT_REFUSED(kv8_backend_load(nullptr, &backend), KV8_INVALID_ARGUMENT, "path is null or empty");
    EXPECT_REFUSED(kv8_backend_load("", &backend), KV8_INVALID_ARGUMENT, "path is null or empty");
    EXPECT_REFUSED(kv8_backend_load("x", nullptr), KV8_INVALID_ARGUMENT, "out is null");
}

// ---- devices

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

// ---- streams

TEST(Stream, IsRefusedAfterDestroyAndWhenInvented) {
    kv8_device* device = open(cpu());
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(device, &stream), KV8_OK);
    EXPECT_EQ(kv8_stream_sync(device, stream), KV8_OK);
    EXPECT_EQ(kv8_stream_sync(device, nullptr), KV8_OK);
    ASSERT_EQ(kv8_stream_destroy(device, stream), KV8_OK);
    int invented = 0;
    for (kv8_stream* handle : {stream, reinterpret_cast<kv8_stream*>(&invented)}) {
        EXPECT_REFUSED(kv8_stream_sync(device, handle), KV8_INVALID_ARGUMENT, "is not a stream of this device");
        EXPECT_REFUSED(kv8_stream_destroy(device, handle), KV8_INVALID_ARGUMENT, "is not a stream of this device");
        EXPECT_REFUSED(kv8_fill(device, handle, {0, 0}, 0), KV8_INVALID_ARGUMENT, "is not a stream of this device");
    }
    EXPECT_REFUSED(kv8_stream_destroy(device, nullptr), KV8_INVALID_ARGUMENT, "stream is null");
    EXPECT_REFUSED(kv8_stream_create(device, nullptr), KV8_INVALID_ARGUMENT, "out is null");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Graph, IsRefusedAfterDestroyAndWhenInvented) {
    kv8_backend* backend = load("kv8_test_plugin");
    kv8_device *device = open(backend), *other = open(backend);
    kv8_graph *graph = nullptr, *another = nullptr;
    ASSERT_EQ(kv8_graph_begin(device, nullptr), KV8_OK);
    ASSERT_EQ(kv8_graph_end(device, nullptr, &graph), KV8_OK);
    ASSERT_EQ(kv8_graph_end(device, nullptr, &another), KV8_OK);
    // Each is launched by its own handle.
    for (kv8_graph* each : {graph, another, graph, another}) EXPECT_EQ(kv8_graph_launch(device, nullptr, each), KV8_OK);
    EXPECT_REFUSED(kv8_graph_launch(device, nullptr, graph), KV8_DEVICE_ERROR, "tired of its 3rd launch");
    EXPECT_REFUSED(kv8_graph_launch(other, nullptr, graph), KV8_INVALID_ARGUMENT, "is not a graph of this device");
    EXPECT_EQ(kv8_graph_destroy(device, graph), KV8_OK);
    int invented = 0;
    for (kv8_graph* handle : {graph, reinterpret_cast<kv8_graph*>(&invented)}) {
        EXPECT_REFUSED(kv8_graph_launch(device, nullptr, handle), KV8_INVALID_ARGUMENT,
                       "is not a graph of this device");
        EXPECT_REFUSED(kv8_graph_destroy(device, handle), KV8_INVALID_ARGUMENT, "is not a graph of this device");
    }
    EXPECT_REFUSED(kv8_graph_begin(device, reinterpret_cast<kv8_stream*>(&invented)), KV8_INVALID_ARGUMENT,
                   "is not a stream of this device");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);  // destroys the other, as the leak check sees
    EXPECT_EQ(kv8_device_close(other), KV8_OK);
}

// Destroys a handle while a call with it waits at the gate.
template <class Call, class Destroy, class Refused>
void expect_destroyed_after(Gate& gate, const Call& call, const Destroy& destroy, const Refused& refused) {
    std::thread caller([&] { EXPECT_EQ(call(), KV8_OK) << kv8_last_error(); });
    while (!gate.entered) std::this_thread::yield();
    std::atomic<bool> destroyed{false};
    std::thread destroyer([&] {
        EXPECT_EQ(destroy(), KV8_OK) << kv8_last_error();
        destroyed = true;
        EXPECT_TRUE(gate.left) << "destroyed under a call";
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(destroyed);
    refused();  // at once: the handle is no more
    gate.open = true;
    caller.join();
    destroyer.join();
}

TEST(Stream, IsDestroyedWhenCallsUnderWayHaveDoneWithIt) {
    Gate gate;
    kv8_device* device = open(load("kv8_test_plugin"));
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_wrap(device, gate.address(), &stream), KV8_OK);
    expect_destroyed_after(
        gate, [&] { return kv8_stream_sync(device, stream); }, [&] { return kv8_stream_destroy(device, stream); },
        [&] {
            EXPECT_REFUSED(kv8_fill(device, stream, {0, 0}, 0), KV8_INVALID_ARGUMENT, "is not a stream of this device");
            EXPECT_REFUSED(kv8_stream_destroy(device, stream), KV8_INVALID_ARGUMENT, "is not a stream of this device");
        });
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Graph, IsDestroyedWhenCallsUnderWayHaveDoneWithIt) {
    Gate gate;
    kv8_device* device = open(load("kv8_test_plugin"));
    kv8_stream* stream = nullptr;
    kv8_graph* graph = nullptr;
    ASSERT_EQ(kv8_stream_wrap(device, gate.address(), &stream), KV8_OK);
    ASSERT_EQ(kv8_graph_end(device, nullptr, &graph), KV8_OK);
    expect_destroyed_after(
        gate, [&] { return kv8_graph_launch(device, stream, graph); }, [&] { return kv8_graph_destroy(device, graph); },
        [&] {
            EXPECT_REFUSED(kv8_graph_launch(device, nullptr, graph), KV8_INVALID_ARGUMENT,
                           "is not a graph of this device");
        });
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Stream, OfTheCpuWrapsOnlyZero) {
    kv8_device* device = open(cpu());
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_wrap(device, 0, &stream), KV8_OK);
    EXPECT_EQ(kv8_stream_destroy(device, stream), KV8_OK);
    EXPECT_REFUSED(kv8_stream_wrap(device, 0x1234, &stream), KV8_INVALID_ARGUMENT, "native is 0x1234");
    EXPECT_REFUSED(kv8_stream_wrap(device, 0, nullptr), KV8_INVALID_ARGUMENT, "out is null");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

// ---- memory

TEST(Memory, IsAlignedCountedAndFreed) {
    kv8_device* device = open(cpu());
    std::vector<uint64_t> pointers;
    uint64_t expected = 0;
    for (uint64_t bytes : {uint64_t{1}, uint64_t{63}, uint64_t{4096}, (uint64_t{2} << 20) - 1, uint64_t{2} << 20,
                           (uint64_t{5} << 20) + 3}) {
        for (int32_t kind : {KV8_MEMORY_DEVICE, KV8_MEMORY_HOST}) {
            uint64_t ptr = 0;
            ASSERT_EQ(kv8_alloc(device, bytes, kind, &ptr), KV8_OK) << kv8_last_error();
            EXPECT_EQ(ptr % (bytes >= 2u << 20 ? 2u << 20 : 64u), 0u) << bytes;
            std::memset(reinterpret_cast<void*>(ptr), 1, bytes);
            pointers.push_back(ptr);
            expected += bytes;
        }
    }
    EXPECT_EQ(info_of(device).allocated_bytes, expected);
    ASSERT_EQ(kv8_free(device, pointers[2]), KV8_OK);
    EXPECT_EQ(info_of(device).allocated_bytes, expected - 63);
    EXPECT_REFUSED(kv8_free(device, pointers[2]), KV8_INVALID_ARGUMENT, "is not an allocation of this device");
    EXPECT_REFUSED(kv8_free(device, pointers[0] + 1), KV8_INVALID_ARGUMENT, "is not an allocation of this device");
    EXPECT_REFUSED(kv8_free(device, 0), KV8_INVALID_ARGUMENT, "ptr 0x0 is not an allocation");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);  // frees the rest, as the leak check sees
}

// What the kernel was advised of the range that an address is in: two letters each, as in "rd wr hg".
std::string advice_on(uint64_t ptr) {
    std::ifstream ranges("/proc/self/smaps");
    bool within = false;
    for (std::string line; std::getline(ranges, line);) {
        unsigned long long begin = 0, end = 0;
        if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) == 2) within = begin <= ptr && ptr < end;
        if (within && line.rfind("VmFlags:", 0) == 0) return line;
    }
    return "no range";
}

TEST(Memory, IsOfHugePagesWhereSomeFit) {
    if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage/enabled"))
        GTEST_SKIP() << "this kernel has no transparent huge pages";
    kv8_device* device = open(cpu());
    for (uint64_t bytes : {uint64_t{2} << 20, (uint64_t{4} << 20) + 5}) {
        uint64_t ptr = 0;
        ASSERT_EQ(kv8_alloc(device, bytes, KV8_MEMORY_DEVICE, &ptr), KV8_OK) << kv8_last_error();
        for (uint64_t at = 0; at + (2u << 20) <= bytes; at += 2u << 20)
            EXPECT_NE(advice_on(ptr + at).find(" hg"), std::string::npos)
                << at << " of " << bytes << ": " << advice_on(ptr + at);
    }
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Memory, OfAbsurdSizeIsRefused) {
    kv8_device* device = open(cpu());
    uint64_t ptr = 77;
    for (uint64_t bytes : {UINT64_MAX, uint64_t{1} << 62, info_of(device).memory_bytes + 1})
        EXPECT_REFUSED(kv8_alloc(device, bytes, KV8_MEMORY_DEVICE, &ptr), KV8_OUT_OF_MEMORY,
                       "bytes were asked for; this machine has");
    EXPECT_REFUSED(kv8_alloc(device, 0, KV8_MEMORY_DEVICE, &ptr), KV8_INVALID_ARGUMENT, "bytes is 0");
    EXPECT_REFUSED(kv8_alloc(device, 1, 2, &ptr), KV8_INVALID_ARGUMENT, "kind is 2");
    EXPECT_REFUSED(kv8_alloc(device, 1, -1, &ptr), KV8_INVALID_ARGUMENT, "kind is -1");
    EXPECT_REFUSED(kv8_alloc(device, 1, KV8_MEMORY_DEVICE, nullptr), KV8_INVALID_ARGUMENT, "out is null");
    EXPECT_EQ(ptr, 77u);
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Memory, IsCopiedAndFilledWhole) {
    kv8_device* device = open(cpu(), options(2));
    for (size_t size : {1u, 100u, 32768u, 1000003u}) {
        std::vector<uint8_t> from(size), to(size + 2, 7);
        for (size_t i = 0; i < size; i++) from[i] = static_cast<uint8_t>(i * 31);
        const kv8_span src{reinterpret_cast<uint64_t>(from.data()), size},
            dst{reinterpret_cast<uint64_t>(to.data()) + 1, size};
        ASSERT_EQ(kv8_copy(device, nullptr, dst, src), KV8_OK) << kv8_last_error();
        EXPECT_EQ(std::memcmp(to.data() + 1, from.data(), size), 0);
        ASSERT_EQ(kv8_fill(device, nullptr, dst, 9), KV8_OK) << kv8_last_error();
        for (size_t i = 1; i <= size; i++) ASSERT_EQ(to[i], 9) << i << " of " << size;
        EXPECT_EQ(to.front(), 7);
        EXPECT_EQ(to.back(), 7);
    }
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

// A cast of 64 MiB of float32, and what of it can be seen from outside.
class LongCast {
  public:
    explicit LongCast(kv8_device* device) : device_(device), dst_(kCount) {
        EXPECT_EQ(kv8_alloc(device, kCount * 4, KV8_MEMORY_DEVICE, &src_), KV8_OK) << kv8_last_error();
        std::fill_n(reinterpret_cast<float*>(src_), kCount, 1.0f);
    }

    uint64_t src() const { return src_; }
    kv8_span dst() const { return {reinterpret_cast<uint64_t>(dst_.data()), dst_.size()}; }
    uint8_t at(size_t i) const { return __atomic_load_n(&dst_[i], __ATOMIC_ACQUIRE); }

    std::thread begin() {
        std::thread thread([this] {
            kv8_cast_args args{};
            args.struct_size = sizeof(args);
            args.scale = 1;
            args.src = {src_, kCount * 4};
            args.dst = dst();
            args.dst_dtype = KV8_E4M3FN;
            args.count = kCount;
            EXPECT_EQ(kv8_cast(device_, nullptr, &args), KV8_OK) << kv8_last_error();
        });
        while (at(0) != kOne) std::this_thread::yield();
        return thread;
    }

    static constexpr uint8_t kOne = 0x38;  // as E4M3FN
    static constexpr int64_t kCount = 16 << 20;

  private:
    kv8_device* device_;
    uint64_t src_ = 0;
    std::vector<uint8_t> dst_;
};

TEST(Memory, IsFreedWhenCallsUnderWayHaveDoneWithIt) {
    kv8_device* device = open(cpu());
    LongCast cast(device);
    std::thread caller = cast.begin();
    EXPECT_EQ(kv8_free(device, cast.src()), KV8_OK) << kv8_last_error();
    EXPECT_EQ(cast.at(LongCast::kCount - 1), LongCast::kOne) << "freed while it was read";
    caller.join();
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Memory, IsFilledAndCopiedInTurnWithOtherCalls) {
    kv8_device* device = open(cpu());
    LongCast cast(device);
    std::thread caller = cast.begin();
    EXPECT_EQ(kv8_fill(device, nullptr, cast.dst(), 0), KV8_OK) << kv8_last_error();
    caller.join();
    EXPECT_EQ(cast.at(LongCast::kCount - 1), 0) << "filled while it was written";
    caller = cast.begin();
    std::vector<uint8_t> copy(LongCast::kCount);
    EXPECT_EQ(kv8_copy(device, nullptr, {reinterpret_cast<uint64_t>(copy.data()), copy.size()}, cast.dst()), KV8_OK);
    EXPECT_EQ(copy.back(), LongCast::kOne) << "copied while it was written";
    caller.join();
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Memory, RefusesBadSpans) {
    kv8_device* device = open(cpu());
    std::vector<uint8_t> bytes(64);
    const uint64_t ptr = reinterpret_cast<uint64_t>(bytes.data());
    EXPECT_REFUSED(kv8_copy(device, nullptr, {ptr, 16}, {ptr + 32, 17}), KV8_BUFFER_TOO_SMALL,
                   "dst has 16 bytes; its shape needs 17");
    EXPECT_REFUSED(kv8_copy(device, nullptr, {ptr, 32}, {ptr + 31, 32}), KV8_INVALID_ARGUMENT, "overlap");
    EXPECT_REFUSED(kv8_copy(device, nullptr, {0, 32}, {ptr, 32}), KV8_INVALID_ARGUMENT, "dst.ptr is null");
    EXPECT_REFUSED(kv8_copy(device, nullptr, {ptr, 32}, {0, 32}), KV8_INVALID_ARGUMENT, "src.ptr is null");
    EXPECT_REFUSED(kv8_copy(device, nullptr, {ptr, 32}, {ptr + 32, UINT64_MAX}), KV8_INVALID_ARGUMENT,
                   "beyond the address space");
    EXPECT_REFUSED(kv8_fill(device, nullptr, {0, 1}, 0), KV8_INVALID_ARGUMENT, "dst.ptr is null");
    EXPECT_EQ(kv8_copy(device, nullptr, {0, 0}, {0, 0}), KV8_OK);
    EXPECT_EQ(kv8_fill(device, nullptr, {0, 0}, 0), KV8_OK);
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

}  // namespace
