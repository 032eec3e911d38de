// A ring of pinned buffers through which small host data reaches a device in a stream's order, without a wait unless
// all of the ring is still on its way.
#pragma once

#include <array>
#include <mutex>

#include "gpu/host/driver.h"

namespace kv8::gpu {

class StagingRing {
  public:
    static constexpr int kBuffers = 4;  // steps that the host may be ahead of the device

    explicit StagingRing(DriverDevice& driver) : driver_(driver) {}
    ~StagingRing();
    StagingRing(const StagingRing&) = delete;
    StagingRing& operator=(const StagingRing&) = delete;

    void upload(Stream stream, uint64_t to, const void* from, size_t bytes);

  private:
    struct Buffer {
        uint64_t address = 0;
        uint64_t capacity = 0;
        Event event = 0;  // of the copy that reads it
    };

    void grow(Buffer& buffer, uint64_t bytes);

    DriverDevice& driver_;
    std::mutex turn_;
    std::array<Buffer, kBuffers> buffers_;
    int next_ = 0;
};

}  // namespace kv8::gpu
