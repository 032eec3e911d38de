// The emulated device's memory: one range of addresses, in which allocations lie far apart and no address is soon given out
// again. An access inside the range must lie inside an allocation, to the byte; other addresses are the host's own memory.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "emulator/runtime.h"

namespace kv8::gpu {

enum class Place;  // gpu/host/driver.h

}  // namespace kv8::gpu

namespace kv8::emulator {

class DeviceMemory {
  public:
    static constexpr uint64_t kCapacity = 8ull << 30;  // of what may be allocated at a time

    // 64-byte aligned, from 2 MiB up 2 MiB aligned. Throws Refusal.
    uint64_t allocate(uint64_t bytes, bool host);
    void release(uint64_t address);

    uint64_t free_bytes() const;
    gpu::Place place_of(uint64_t address) const;
    // Throws Refusal where `bytes` bytes begin among the device's addresses but do not lie in one allocation.
    void check_range(const char* what, uint64_t address, uint64_t bytes) const;

    // An access of a kernel, naturally aligned.
    void check(const void* at, uint32_t bytes, const char* verb, Site site) const {
        const uint64_t address = reinterpret_cast<uint64_t>(at), offset = address - base_;
        const bool legal = address % bytes == 0 && address >= kPage &&
                           (offset >= kRange || offset % kGranule + bytes <= valid_[offset / kGranule]);
        if (__builtin_expect(!legal, 0)) explain(address, bytes, verb, site);
    }

  private:
    struct Allocation {
        uint64_t bytes;
        bool host;
    };

    static constexpr uint64_t kRange = 64ull << 30, kGranule = 64, kPage = 4096;

    void reserve();
    uint64_t find_place(uint64_t bytes, uint64_t alignment);
    void set_valid(uint64_t address, uint64_t bytes, bool valid);
    const std::pair<const uint64_t, Allocation>* before(uint64_t address) const;
    [[noreturn]] void explain(uint64_t address, uint32_t bytes, const char* verb, Site site) const;

    mutable std::mutex turn_;
    uint64_t base_ = ~0ull << 47;  // where nothing is, until the range is reserved
    uint8_t* valid_ = nullptr;     // of each granule, how many of its bytes are allocated
    std::map<uint64_t, Allocation> allocations_;
    uint64_t allocated_ = 0;
    uint64_t next_ = 0;  // offset after the latest allocation
};

extern DeviceMemory device_memory;

}  // namespace kv8::emulator
