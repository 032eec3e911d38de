// Gigabytes of zeros of which only what is touched takes memory, for offsets that 32 bits do not hold.
#pragma once

#include <sys/mman.h>

#include <new>

#include "kv8/kv8.h"

namespace kv8_test {

class SparseMemory {
  public:
    explicit SparseMemory(uint64_t bytes) : bytes_(bytes) {
        at_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at_ == MAP_FAILED) throw std::bad_alloc();
    }
    ~SparseMemory() { munmap(at_, bytes_); }
    SparseMemory(const SparseMemory&) = delete;
    SparseMemory& operator=(const SparseMemory&) = delete;

    kv8_span span() const { return {reinterpret_cast<uint64_t>(at_), bytes_}; }

  private:
    void* at_;
    uint64_t bytes_;
};

}  // namespace kv8_test
