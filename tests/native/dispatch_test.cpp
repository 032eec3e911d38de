// The library, and plug-ins of it: those that work, and what is said of those that do not.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "host_devices.h"

namespace {

using kv8_test::cpu;
using kv8_test::info_of;
using kv8_test::load;
using kv8_test::open;
using kv8_test::options;
using kv8_test::plugin;

TEST(Library, HasTheHeadersVersion) { EXPECT_EQ(kv8_abi_version(), KV8_ABI_VERSION); }

TEST(Library, KeepsOneMessagePerThread) {
    EXPECT_REFUSED(kv8_backend_cpu(nullptr), KV8_INVALID_ARGUMENT, "out is null");
    std::thread([] { EXPECT_STREQ(kv8_last_error(), ""); }).join();
    EXPECT_STREQ(kv8_last_error(), "out is null.");
}

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

}  // namespace
