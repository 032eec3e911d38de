// Memory that callers allocated on a device, by address, so that an address that was never given out, or was freed, is
// refused.
#pragma once

#include <mutex>
#include <unordered_map>

#include "gpu/host/driver.h"

namespace kv8::gpu {

struct Allocation {
    uint64_t base;  // as the driver gave it; the caller's address lies at or above it
    uint64_t bytes;
    bool host;
};

class Allocations {
  public:
    explicit Allocations(DriverDevice& driver) : driver_(driver) {}
    ~Allocations();  // frees the rest
    Allocations(const Allocations&) = delete;
    Allocations& operator=(const Allocations&) = delete;

    uint64_t allocate(uint64_t bytes, int32_t kind);  // kind: KV8_MEMORY_*
    Allocation take(uint64_t address);  // out of here, for the caller to give to the driver when no call uses it
    uint64_t allocated_bytes() const;

  private:
    Allocation reserve(uint64_t bytes, bool host);

    DriverDevice& driver_;
    mutable std::mutex turn_;
    std::unordered_map<uint64_t, Allocation> by_address_;
    uint64_t total_ = 0;
};

}  // namespace kv8::gpu
