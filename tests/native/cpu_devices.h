// The CPU backend once per instruction set that this machine can run, opened through the public door.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kv8/kv8.h"

namespace kv8_test {

class CpuDevice {
  public:
    CpuDevice(const char* isa, int threads) : isa_(isa) {
        kv8_backend* backend = nullptr;
        kv8_device_options options = {};
        options.struct_size = sizeof(options);
        options.threads = threads;
        options.isa = isa;
        status_ = kv8_backend_cpu(&backend);
        if (status_ == KV8_OK) status_ = kv8_device_open(backend, &options, &device_);
        if (status_ != KV8_OK) message_ = kv8_last_error();
    }
    ~CpuDevice() {
        if (device_ != nullptr) kv8_device_close(device_);
    }
    CpuDevice(const CpuDevice&) = delete;
    CpuDevice& operator=(const CpuDevice&) = delete;

    kv8_device* handle() const { return device_; }
    const std::string& isa() const { return isa_; }
    kv8_status status() const { return status_; }
    const std::string& message() const { return message_; }

  private:
    std::string isa_;
    kv8_device* device_ = nullptr;
    kv8_status status_ = KV8_OK;
    std::string message_;
};

// "scalar" first, which every machine has; a set that the machine lacks is left out, and named on the way.
inline const std::vector<std::unique_ptr<CpuDevice>>& cpu_devices() {
    static const auto* devices = [] {
        auto* list = new std::vector<std::unique_ptr<CpuDevice>>;
        for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
            auto device = std::make_unique<CpuDevice>(isa, 2);
            if (device->status() == KV8_OK) {
                list->push_back(std::move(device));
            } else {
                printf("instruction set %s left out: %s\n", isa, device->message().c_str());
            }
        }
        if (list->empty() || list->front()->isa() != "scalar") {
            fprintf(stderr, "the CPU backend does not open with isa \"scalar\"\n");
            abort();
        }
        return list;
    }();
    return *devices;
}

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
