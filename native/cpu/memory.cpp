#include "cpu/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/host.h"
#include "dispatch/error.h"

namespace kv8::cpu {
namespace {

constexpr uint64_t kAlignment = 64, kHugePage = 2u << 20;

}  // namespace

Memory::~Memory() {
    for (const auto& allocation : sizes_) ::free(reinterpret_cast<void*>(allocation.first));
}

uint64_t Memory::allocate(uint64_t bytes) {
    std::lock_guard<std::mutex> lock(turn_);
    // Linux would promise more than there is and end the process when it is touched.
    const uint64_t installed = host_memory().total;
    if (bytes > installed || total_ > installed - bytes)
        refuse(KV8_OUT_OF_MEMORY,
               "%llu bytes were asked for; this machine has %llu for this process, and this device holds %llu of them.",
               static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(installed),
               static_cast<unsigned long long>(total_));
    const bool huge = bytes >= kHugePage;
    void* memory = nullptr;
    if (posix_memalign(&memory, huge ? kHugePage : kAlignment, bytes) != 0)
        refuse(KV8_OUT_OF_MEMORY, "The system has no %llu bytes left; this device holds %llu.",
               static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(total_));
    // Advice only: without huge pages the memory works as well, just with more TLB misses.
    if (huge) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
    const uint64_t ptr = reinterpret_cast<uint64_t>(memory);
    try {
        sizes_.emplace(ptr, bytes);
    } catch (...) {
        ::free(memory);
        throw;
    }
    total_ += bytes;
    return ptr;
}

void Memory::release(uint64_t ptr) {
    std::lock_guard<std::mutex> lock(turn_);
    auto found = sizes_.find(ptr);
    if (found == sizes_.end())
        refuse(KV8_INVALID_ARGUMENT,
               "ptr 0x%llx is not an allocation of this device: it was freed, or never came from kv8_alloc.",
               static_cast<unsigned long long>(ptr));
    total_ -= found->second;
    sizes_.erase(found);
    ::free(reinterpret_cast<void*>(ptr));
}

uint64_t Memory::allocated_bytes() const {
    std::lock_guard<std::mutex> lock(turn_);
    return total_;
}

WorkerScratch::~WorkerScratch() { ::free(base_); }

void WorkerScratch::reserve(int workers, uint64_t bytes_each) {
    const uint64_t stride = (bytes_each + 127) / 128 * 128, needed = stride * static_cast<uint64_t>(workers);
    if (needed > capacity_) {
        void* grown = nullptr;
        if (posix_memalign(&grown, 128, needed) != 0)
            refuse(KV8_OUT_OF_MEMORY, "The system has no %llu bytes left for the kernels' scratch.",
                   static_cast<unsigned long long>(needed));
        ::free(base_);
        base_ = grown;
        capacity_ = needed;
    }
    stride_ = stride;
}

}  // namespace kv8::cpu
