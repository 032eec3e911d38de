// The real CUDA and ROCm plug-ins on stub drivers (stubs/stub.h): everything of them but the kernels' own work.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>

#include "refusals.h"
#include "stubs/stub.h"

namespace kv8_test {

struct Vendor {
    const char* name;      // of the test
    const char* backend;   // of the plug-in
    const char* plugin;    // its file
    const char* variable;  // of the environment, which names the driver library
    const char* stub;      // that library
    const char* arch;
    const char* driver;
    const char* unknown_arch;
};

inline const Vendor kCuda{"Cuda",          "cuda",  KV8_TEST_CUDA_PLUGIN, "KV8_CUDA_LIBRARY",
                          "kv8_cuda_stub", "sm_90", "CUDA 13.1",          "sm_75"};
inline const Vendor kRocm{"Rocm",    "rocm",   KV8_TEST_ROCM_PLUGIN, "KV8_HIP_LIBRARY", "kv8_hip_stub", "gfx942",
                          "HIP 7.0", "gfx1030"};
inline const Vendor kRocm5{"Rocm5",   "rocm",   KV8_TEST_ROCM_PLUGIN, "KV8_HIP_LIBRARY", "kv8_rocm5_stub", "gfx942",
                           "HIP 5.7", "gfx1030"};

inline std::string library(const char* name) { return std::string(KV8_TEST_PLUGINS) + "/lib" + name + ".so"; }

// A plug-in looks for its driver once; under another name it is another plug-in.
class PluginCopy {
  public:
    explicit PluginCopy(const char* plugin) {
        static int copies = 0;
        path_ = testing::TempDir() + "/kv8_plugin_" + std::to_string(getpid()) + "_" + std::to_string(copies++) + ".so";
        std::ofstream(path_, std::ios::binary) << std::ifstream(plugin, std::ios::binary).rdbuf();
    }
    ~PluginCopy() { unlink(path_.c_str()); }
    PluginCopy(const PluginCopy&) = delete;
    PluginCopy& operator=(const PluginCopy&) = delete;

    const char* path() const { return path_.c_str(); }

  private:
    std::string path_;
};

// The vendor's plug-in, opened with its stub in place of the driver.
struct OpenPlugin {
    const PluginCopy file;
    kv8_backend* backend = nullptr;

    explicit OpenPlugin(const Vendor& vendor) : file(vendor.plugin) {
        setenv(vendor.variable, library(vendor.stub).c_str(), 1);
        EXPECT_EQ(kv8_backend_load(file.path(), &backend), KV8_OK) << kv8_last_error();
        unsetenv(vendor.variable);
    }
};

inline const OpenPlugin& plugin_of(const Vendor& vendor) {
    static std::map<std::string, std::unique_ptr<OpenPlugin>> opened;
    std::unique_ptr<OpenPlugin>& plugin = opened[vendor.name];
    if (plugin == nullptr) plugin = std::make_unique<OpenPlugin>(vendor);
    return *plugin;
}

inline Stub& stub_of(const Vendor& vendor) {
    void* opened = dlopen(library(vendor.stub).c_str(), RTLD_NOW | RTLD_LOCAL);
    auto get = reinterpret_cast<Stub* (*)()>(dlsym(opened, "kv8_stub"));
    return *get();
}

// A test on one vendor's plug-in, which leaves nothing behind.
class GpuDriver : public testing::TestWithParam<Vendor> {
  protected:
    kv8_backend* const backend = plugin_of(GetParam()).backend;
    Stub& stub = stub_of(GetParam());
    kv8_device* device = nullptr;

    void SetUp() override {
        stub.failures.clear();
        stub.calls.clear();
        stub.launches.clear();
        stub.broken_captures = stub.calls_without_device = 0;
        ASSERT_TRUE(stub.is_empty());
    }

    void TearDown() override {
        if (device != nullptr) {
            EXPECT_EQ(kv8_device_close(device), KV8_OK) << kv8_last_error();
        }
        stub.capturing.clear();
        EXPECT_TRUE(stub.is_empty());
        EXPECT_TRUE(stub.is_thread_as_before());
        EXPECT_EQ(stub.calls_without_device, 0);
        EXPECT_EQ(stub.broken_captures, 0);
    }

    bool is_cuda() const { return std::string(GetParam().backend) == "cuda"; }
    const char* either(const char* cuda, const char* hip) const { return is_cuda() ? cuda : hip; }

    kv8_status open() {
        kv8_device_options options{};
        options.struct_size = sizeof(options);
        return kv8_device_open(backend, &options, &device);
    }

    kv8_span allocate(uint64_t bytes, int32_t kind = KV8_MEMORY_DEVICE) {
        uint64_t ptr = 0;
        EXPECT_EQ(kv8_alloc(device, bytes, kind, &ptr), KV8_OK) << kv8_last_error();
        return {ptr, bytes};
    }

    kv8_device_info info() {
        kv8_device_info told{};
        told.struct_size = sizeof(told);
        EXPECT_EQ(kv8_device_get_info(device, &told), KV8_OK) << kv8_last_error();
        return told;
    }
};

inline std::string name_of_vendor(const testing::TestParamInfo<Vendor>& vendor) { return vendor.param.name; }

}  // namespace kv8_test
