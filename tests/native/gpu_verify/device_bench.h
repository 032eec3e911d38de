// What the measurements stand on: a device's memory, and a clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <random>
#include <stdexcept>
#include <vector>

#include "test_devices.h"

namespace kv8_verify {

using kv8_test::TestDevice;

// A failure ends the measurements, with the library's message.
inline void require(kv8_status status) {
    if (status != KV8_OK) throw std::runtime_error(kv8_last_error());
}

// Device memory, freed at the end.
class Buffer {
  public:
    Buffer(const TestDevice& device, uint64_t bytes) : device_(device), bytes_(bytes) {
        require(kv8_alloc(device.handle(), bytes, KV8_MEMORY_DEVICE, &ptr_));
    }
    ~Buffer() { kv8_free(device_.handle(), ptr_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    uint64_t bytes() const { return bytes_; }
    kv8_span span() const { return {ptr_, bytes_}; }
    kv8_span part(uint64_t offset, uint64_t bytes) const { return {ptr_ + offset, bytes}; }

    template <class T>
    void upload(const std::vector<T>& values) const {
        require(kv8_copy(device_.handle(), nullptr, part(0, values.size() * sizeof(T)), kv8_test::span_of(values)));
    }

    // Random numbers of about 1 in size, of bfloat16, float32 or E4M3FN. Made once on the host, then doubled on the device.
    void fill_with_numbers(kv8_dtype dtype) const {
        const size_t size = size_t(kv8_test::bytes_of(dtype));
        std::vector<uint8_t> bytes(std::min<uint64_t>(bytes_, 8 << 20));
        std::mt19937 random(1);
        for (uint8_t& byte : bytes) byte = uint8_t(random());
        for (size_t i = size - 1; i < bytes.size(); i += size)  // where the sign is, and most of the exponent
            bytes[i] = uint8_t(size == 1 ? (bytes[i] & 0x87) | 0x38 : (bytes[i] & 0x81) | 0x3E);
        upload(bytes);
        for (uint64_t done = bytes.size(); done < bytes_;) {
            const uint64_t more = std::min(done, bytes_ - done);
            require(kv8_copy(device_.handle(), nullptr, part(done, more), part(0, more)));
            done += more;
        }
        require(device_.sync());
    }

  private:
    const TestDevice& device_;
    uint64_t ptr_ = 0;
    const uint64_t bytes_;
};

// How long a call takes on the device when many follow one another: the median over runs of so many calls that starting and
// waiting for them does not count.
struct Clock {
    double run_seconds = 0.02;
    int runs = 5;

    // call(i) starts the i-th call.
    template <class Call>
    double microseconds(const TestDevice& device, const Call& call) const {
        int64_t next = 0;
        const auto seconds_of = [&](int64_t calls) {
            const auto start = std::chrono::steady_clock::now();
            for (int64_t i = 0; i < calls; i++) require(call(next++));
            require(device.sync());
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        };
        seconds_of(1);  // loads the kernel
        const double once = seconds_of(1);
        const int64_t calls = std::max<int64_t>(1, std::min<int64_t>(2000, int64_t(run_seconds / once)));
        std::vector<double> seconds;
        for (int run = 0; run < runs; run++) seconds.push_back(seconds_of(calls) / double(calls));
        std::nth_element(seconds.begin(), seconds.begin() + runs / 2, seconds.end());
        return 1e6 * seconds[size_t(runs / 2)];
    }
};

}  // namespace kv8_verify
