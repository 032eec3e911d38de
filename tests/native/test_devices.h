// The devices that a suite runs on, opened through the public door: the CPU backend once per instruction set that this
// machine can run, or the one device of the plug-in that KV8_TEST_PLUGIN names, an emulated GPU or a real one.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kv8/kv8.h"

namespace kv8_test {

class TestDevice {
  public:
    // Where there is a plug-in, its device; else the CPU with an instruction set, or with null the environment's or the best.
    explicit TestDevice(const char* isa, int threads = 2) {
        const char* plugin = std::getenv("KV8_TEST_PLUGIN");
        kv8_backend* backend = nullptr;
        kv8_device_options options = {};
        options.struct_size = sizeof(options);
        options.threads = plugin != nullptr ? 0 : threads;
        options.isa = plugin != nullptr ? nullptr : isa;
        status_ = plugin != nullptr ? kv8_backend_load(plugin, &backend) : kv8_backend_cpu(&backend);
        if (status_ == KV8_OK) status_ = kv8_device_open(backend, &options, &device_);
        info_.struct_size = sizeof(info_);
        if (status_ == KV8_OK) status_ = kv8_device_get_info(device_, &info_);
        if (status_ != KV8_OK) message_ = kv8_last_error();
        backend_ = kv8_backend_name(backend);
        name_ = is_gpu() ? backend_ + " " + info_.arch : info_.arch;
    }
    ~TestDevice() {
        if (device_ != nullptr) kv8_device_close(device_);
    }
    TestDevice(const TestDevice&) = delete;
    TestDevice& operator=(const TestDevice&) = delete;

    kv8_device* handle() const { return device_; }
    const std::string& name() const { return name_; }
    const kv8_device_info& info() const { return info_; }
    kv8_status status() const { return status_; }
    const std::string& message() const { return message_; }

    // A GPU, real or emulated, reports values that are illegal in its memory at the next synchronization, and the offending
    // elements are skipped; the CPU looks at all of them first and refuses the call.
    bool is_gpu() const { return backend_ != "cpu"; }
    // A processor whose attention multiplies pairs of bfloat16 where queries have 16 bits.
    bool has_pairs() const { return name_ == "avx512_bf16" || name_ == "neon_bf16"; }
    bool is_emulated() const { return backend_ == "emulator"; }
    bool converts(kv8_dtype dtype) const { return info_.native_fp8 >> dtype & 1; }

    // Whether the suites give calls the host's addresses as they are. An emulated GPU could take them, but knows the bounds of
    // its own memory to the byte. KV8_TEST_STAGING=1 stages for every device, so that the copying itself is tested on the CPU.
    bool shares_memory() const {
        static const bool staged = std::getenv("KV8_TEST_STAGING") != nullptr;
        return !is_gpu() && !staged;
    }

    kv8_status sync() const { return kv8_stream_sync(device_, nullptr); }
    // The status of a call together with what only synchronization tells.
    kv8_status finished(kv8_status call) const { return call == KV8_OK ? sync() : call; }

  private:
    kv8_device* device_ = nullptr;
    kv8_device_info info_ = {};
    kv8_status status_ = KV8_OK;
    std::string name_, backend_, message_;
};

// The instruction sets, "scalar" first, which every machine has, or only that of KV8_TEST_ISA, for slow machines; or the plug-in's
// device. A set that the machine lacks is left out, and named on the way; a device asked for that does not open ends the run.
inline const std::vector<std::unique_ptr<TestDevice>>& devices() {
    static const auto* devices = [] {
        auto* list = new std::vector<std::unique_ptr<TestDevice>>;
        if (std::getenv("KV8_TEST_PLUGIN") != nullptr) {
            list->push_back(std::make_unique<TestDevice>(nullptr));
        } else {
            const char* only = std::getenv("KV8_TEST_ISA");
            for (const char* isa : {"scalar", "avx2", "avx512", "avx512_bf16", "neon", "neon_bf16"}) {
                if (only != nullptr && only != std::string(isa)) continue;
                auto device = std::make_unique<TestDevice>(isa);
                if (device->status() == KV8_OK || list->empty()) {
                    list->push_back(std::move(device));
                } else {
                    printf("instruction set %s left out: %s\n", isa, device->message().c_str());
                }
            }
        }
        if (list->empty() || list->front()->status() != KV8_OK) {
            fprintf(stderr, "the device does not open: %s\n",
                    list->empty() ? "KV8_TEST_ISA names no instruction set" : list->front()->message().c_str());
            abort();
        }
        return list;
    }();
    return *devices;
}

// How often a suite repeats itself: fewer times where an emulator takes milliseconds for what a processor does in microseconds.
inline int rounds(int all) { return devices().front()->is_emulated() ? (all + 7) / 8 : all; }

template <class T>
kv8_span span_of(std::vector<T>& values) {
    return {reinterpret_cast<uint64_t>(values.data()), values.size() * sizeof(T)};
}

template <class T>
kv8_span span_of(const std::vector<T>& values) {
    return {reinterpret_cast<uint64_t>(values.data()), values.size() * sizeof(T)};
}

// The seed of this run's random inputs: KV8_TEST_SEED, else a fixed one. Tests print it where they fail.
inline uint64_t seed() {
    const char* given = std::getenv("KV8_TEST_SEED");
    return given != nullptr ? std::strtoull(given, nullptr, 0) : 20240607;
}

inline int bytes_of(kv8_dtype dtype) { return dtype == KV8_F32 ? 4 : dtype == KV8_F16 || dtype == KV8_BF16 ? 2 : 1; }
inline bool is_fp8(kv8_dtype dtype) { return dtype >= KV8_E4M3FN; }

inline const char* name_of(kv8_dtype dtype) {
    static const char* const names[] = {"f32", "f16", "bf16", "e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz"};
    return names[dtype];
}

constexpr kv8_dtype kFp8[] = {KV8_E4M3FN, KV8_E5M2, KV8_E4M3FNUZ, KV8_E5M2FNUZ};
constexpr kv8_dtype kPlain[] = {KV8_F32, KV8_F16, KV8_BF16};
constexpr kv8_dtype kAll[] = {KV8_F32, KV8_F16, KV8_BF16, KV8_E4M3FN, KV8_E5M2, KV8_E4M3FNUZ, KV8_E5M2FNUZ};

}  // namespace kv8_test
