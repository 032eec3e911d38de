#include "emulator/device_memory.h"

#include <sys/mman.h>

#include <cstring>

#include "dispatch/error.h"
#include "gpu/host/driver.h"

namespace kv8::emulator {

DeviceMemory device_memory;

namespace {

constexpr uint64_t kGuard = 64 << 10;  // at least, between two allocations
constexpr uint64_t kHugePage = 2 << 20;
constexpr uint64_t kPoisonedBytes = 4 << 20;  // the largest allocation that is filled; larger ones stay untouched pages
constexpr int kPoison = 0xFF;

using Number = unsigned long long;

uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

void* map_range(uint64_t bytes) {
    void* range = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED)
        refuse(KV8_OUT_OF_MEMORY, "The emulator cannot reserve %llu bytes of addresses.", static_cast<Number>(bytes));
    return range;
}

}  // namespace

void DeviceMemory::reserve() {
    if (valid_ != nullptr) return;
    uint8_t* valid = static_cast<uint8_t*>(map_range(kRange / kGranule));
    base_ = round_up(reinterpret_cast<uint64_t>(map_range(kRange + kHugePage)), kHugePage);
    valid_ = valid;
}

// The first place after the latest allocation, then from the start; 0 when there is none.
uint64_t DeviceMemory::find_place(uint64_t bytes, uint64_t alignment) {
    for (uint64_t from : {next_, uint64_t{0}}) {
        uint64_t place = round_up(from + kGuard, alignment);
        for (auto next = allocations_.lower_bound(base_ + from); place + bytes + kGuard <= kRange; ++next) {
            if (next == allocations_.end() || base_ + place + bytes + kGuard <= next->first) return base_ + place;
            place = round_up(next->first - base_ + next->second.bytes + kGuard, alignment);
        }
    }
    return 0;
}

void DeviceMemory::set_valid(uint64_t address, uint64_t bytes, bool valid) {
    uint8_t* granules = valid_ + (address - base_) / kGranule;
    std::memset(granules, valid ? kGranule : 0, bytes / kGranule);
    if (bytes % kGranule != 0) granules[bytes / kGranule] = static_cast<uint8_t>(valid ? bytes % kGranule : 0);
}

uint64_t DeviceMemory::allocate(uint64_t bytes, bool host) {
    std::lock_guard<std::mutex> lock(turn_);
    reserve();
    const uint64_t place =
        bytes <= kCapacity - allocated_ ? find_place(bytes, bytes >= kHugePage ? kHugePage : kGranule) : 0;
    if (place == 0)
        refuse(KV8_OUT_OF_MEMORY,
               "out of memory: %llu bytes were asked for; the emulated device has %llu, %llu of them free",
               static_cast<Number>(bytes), static_cast<Number>(kCapacity), static_cast<Number>(kCapacity - allocated_));
    allocations_.emplace(place, Allocation{bytes, host});
    allocated_ += bytes;
    next_ = place - base_ + bytes;
    set_valid(place, bytes, true);
    if (bytes <= kPoisonedBytes) std::memset(reinterpret_cast<void*>(place), kPoison, bytes);
    return place;
}

void DeviceMemory::release(uint64_t address) {
    std::lock_guard<std::mutex> lock(turn_);
    const auto found = allocations_.find(address);
    if (found == allocations_.end())
        refuse(KV8_INTERNAL_ERROR, "0x%llx is no allocation of the emulated device", static_cast<Number>(address));
    const uint64_t bytes = found->second.bytes;
    set_valid(address, bytes, false);
    const uint64_t first_page = round_up(address, kPage), end = (address + bytes) / kPage * kPage;
    if (first_page < end) madvise(reinterpret_cast<void*>(first_page), end - first_page, MADV_DONTNEED);
    allocated_ -= bytes;
    allocations_.erase(found);
}

uint64_t DeviceMemory::free_bytes() const {
    std::lock_guard<std::mutex> lock(turn_);
    return kCapacity - allocated_;
}

// The last allocation that begins at or before an address, or null.
const std::pair<const uint64_t, DeviceMemory::Allocation>* DeviceMemory::before(uint64_t address) const {
    const auto after = allocations_.upper_bound(address);
    return after == allocations_.begin() ? nullptr : &*std::prev(after);
}

gpu::Place DeviceMemory::place_of(uint64_t address) const {
    if (address - base_ >= kRange) return gpu::Place::kPageable;
    std::lock_guard<std::mutex> lock(turn_);
    const auto* found = before(address);
    if (found == nullptr || address - found->first >= found->second.bytes) return gpu::Place::kPageable;
    return found->second.host ? gpu::Place::kPinned : gpu::Place::kDevice;
}

void DeviceMemory::check_range(const char* what, uint64_t address, uint64_t bytes) const {
    if (address - base_ >= kRange) return;
    std::lock_guard<std::mutex> lock(turn_);
    const auto* found = before(address);
    if (found == nullptr || address - found->first > found->second.bytes ||
        bytes > found->second.bytes - (address - found->first))
        refuse(KV8_INTERNAL_ERROR, "%s of %llu bytes at 0x%llx is not inside an allocation of the emulated device",
               what, static_cast<Number>(bytes), static_cast<Number>(address));
}

void DeviceMemory::explain(uint64_t address, uint32_t bytes, const char* verb, Site site) const {
    const auto at = static_cast<Number>(address);
    if (address < kPage) fail(*running, site, "%s %u bytes at a null pointer (0x%llx)", verb, bytes, at);
    if (address % bytes != 0)
        fail(*running, site, "%s %u bytes at 0x%llx, which is not a multiple of %u", verb, bytes, at, bytes);
    uint64_t base = 0, held = 0;
    {
        std::lock_guard<std::mutex> lock(turn_);
        if (const auto* found = before(address)) base = found->first, held = found->second.bytes;
    }
    if (base == 0) fail(*running, site, "%s %u bytes at 0x%llx, where nothing is allocated", verb, bytes, at);
    fail(*running, site, "%s %u bytes at 0x%llx, outside of what is allocated: byte %llu of an allocation of %llu",
         verb, bytes, at, static_cast<Number>(address - base), static_cast<Number>(held));
}

}  // namespace kv8::emulator
