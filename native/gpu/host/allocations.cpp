#include "gpu/host/allocations.h"

#include "dispatch/error.h"

namespace kv8::gpu {
namespace {

constexpr uint64_t kAlignment = 64, kHugePage = 2u << 20;

uint64_t alignment_of(uint64_t bytes) { return bytes >= kHugePage ? kHugePage : kAlignment; }

uint64_t align_up(uint64_t address, uint64_t alignment) { return (address + alignment - 1) / alignment * alignment; }

}  // namespace

Allocations::~Allocations() {
    for (const auto& [address, allocation] : by_address_)
        quietly([&, a = allocation] { driver_.release(a.base, a.host); });
}

Allocation Allocations::reserve(uint64_t bytes, bool host) {
    const auto take = [&](uint64_t size) { return host ? driver_.allocate_host(size) : driver_.allocate(size); };
    const uint64_t alignment = alignment_of(bytes);
    uint64_t base = take(bytes);
    // Drivers align large memory as asked, but do not promise it.
    if (base % alignment != 0) {
        driver_.release(base, host);
        base = take(bytes + alignment);
    }
    return {base, bytes, host};
}

uint64_t Allocations::allocate(uint64_t bytes, int32_t kind) {
    const uint64_t installed = driver_.traits().memory_bytes;
    if (kind == KV8_MEMORY_DEVICE && bytes > installed)
        refuse(KV8_OUT_OF_MEMORY, "%llu bytes were asked for; this device has %llu.",
               static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(installed));
    if (bytes > UINT64_MAX - kHugePage) throw std::bad_alloc();
    const Allocation allocation = reserve(bytes, kind == KV8_MEMORY_HOST);
    const uint64_t address = align_up(allocation.base, alignment_of(bytes));
    std::lock_guard<std::mutex> lock(turn_);
    try {
        by_address_.emplace(address, allocation);
    } catch (...) {
        quietly([&] { driver_.release(allocation.base, allocation.host); });
        throw;
    }
    total_ += bytes;
    return address;
}

Allocation Allocations::take(uint64_t address) {
    const std::lock_guard<std::mutex> lock(turn_);
    auto found = by_address_.find(address);
    if (found == by_address_.end())
        refuse(KV8_INVALID_ARGUMENT,
               "ptr 0x%llx is not an allocation of this device: it was freed, or never came from kv8_alloc.",
               static_cast<unsigned long long>(address));
    const Allocation allocation = found->second;
    by_address_.erase(found);
    total_ -= allocation.bytes;
    return allocation;
}

uint64_t Allocations::allocated_bytes() const {
    std::lock_guard<std::mutex> lock(turn_);
    return total_;
}

}  // namespace kv8::gpu
